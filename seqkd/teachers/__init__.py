"""Teachers: anything that turns features into CTC logits and stays frozen."""

from seqkd.teachers.base import Teacher, align_frames, check_compatible
from seqkd.teachers.checkpoint import CheckpointTeacher
from seqkd.teachers.ensemble import EnsembleTeacher

__all__ = ["CheckpointTeacher", "EnsembleTeacher", "Teacher", "align_frames", "check_compatible"]
