"""The teacher protocol, and what must agree between a teacher and its student.

Letters: B batch, T feature frames, T' output frames, F feature bins, C classes.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.nn import functional

from seqkd.data.features import FeatureSettings
from seqkd.errors import ConfigError


class Teacher(Protocol):
    """Frozen, in eval mode, never given a gradient."""

    classes: int
    frame_shift_ms: float
    tokenizer_hash: str
    features: FeatureSettings
    fill: Tensor  # (F,) its input where a mask hides something

    def logits(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, F) and lengths (B,) to logits (B, T', C), blank 0, and their lengths (B,)."""
        ...


def check_compatible(
    teacher: Teacher, *, classes: int, frame_shift_ms: float, tokenizer_hash: str, features: FeatureSettings
) -> None:
    """Raise ConfigError when teacher and student do not share units, features or frame rate; both sides are named."""
    if teacher.classes != classes:
        raise ConfigError(
            f"the teacher has {teacher.classes} output classes and the student {classes}; "
            "frame-level distillation needs one tokenizer for both"
        )
    if teacher.tokenizer_hash != tokenizer_hash:
        raise ConfigError(
            f"teacher and student both have {classes} classes but different tokenizers "
            f"({teacher.tokenizer_hash} and {tokenizer_hash}); train both with one tokens.directory"
        )
    if abs(teacher.frame_shift_ms - frame_shift_ms) > 1e-6:
        raise ConfigError(
            f"the teacher has a frame every {teacher.frame_shift_ms:g} ms and the student every {frame_shift_ms:g} ms; "
            "choose encoders with the same subsampling"
        )
    if teacher.features != features:
        raise ConfigError(
            f"the teacher was trained on {teacher.features} and the student takes {features}; "
            "set features= to what the teacher was trained on"
        )


def align_frames(logits: Tensor, lengths: Tensor, frames: int, student_lengths: Tensor) -> tuple[Tensor, int]:
    """Bring teacher logits (B, T', C) to the student's ``frames``; return them and how many utterances were off by one.

    Encoders may round up or down, so a difference of one frame is cut off or filled by repeating the last frame.
    More than one means different clocks and raises ConfigError.
    """
    difference = lengths - student_lengths
    worst = int(difference.abs().max()) if len(lengths) else 0
    if worst > 1:
        row = int(difference.abs().argmax())
        raise ConfigError(
            f"the teacher gives {int(lengths[row])} frames and the student {int(student_lengths[row])} for one "
            f"utterance (row {row} of the batch); a difference of at most 1 can be aligned"
        )
    if worst == 0 and logits.shape[1] == frames:
        return logits, 0
    if logits.shape[1] < frames:
        logits = functional.pad(logits, (0, 0, 0, frames - logits.shape[1]))
    logits = logits[:, :frames]
    short = (difference == -1).nonzero()[:, 0]
    if len(short):
        logits = logits.clone()
        last = student_lengths[short] - 1
        logits[short, last] = logits[short, last - 1]
    return logits, int((difference != 0).sum())
