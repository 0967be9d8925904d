"""A teacher's frames on the student's clock.

Letters: T frames of the teacher, T' frames of the student, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.teachers.external.vocabulary import FLOOR

RULES = ("spike", "mean", "pick")
MOST_OFF = 3  # frames of the slower clock by which the two may differ at the end: windows and paddings of encoders
_TINY = 1e-9  # frames: 70 * 8.5 / 60 and the like must not be a little less than whole


@dataclass(frozen=True)
class AtRate:
    """Posteriors on the student's clock.

    Attributes:
        log_probs: (T', C).
        lost: units of the greedy transcript that the teacher gives at its own rate and not at this one.
    """

    log_probs: Tensor
    lost: int


def to_rate(
    log_probs: Tensor,
    *,
    teacher_shift_ms: float,
    student_shift_ms: float,
    frames: int,
    blank: int = 0,
    rule: str = "spike",
    utterance: str | None = None,
) -> AtRate:
    """Bring posteriors to the student's frame rate; the ratio need not be whole.

    A frame of the teacher lies under the student's frame in which its middle falls, one after the student's end
    under the last. A slower teacher's frame is repeated, which CTC merges again. Where the teacher ends early, the
    student's frames are blank (log 1, and -30 nats for the others). Works on the CPU.

    Args:
        log_probs: (T, C) log-probabilities.
        teacher_shift_ms: time between frames of the teacher.
        student_shift_ms: time between frames of the student.
        frames: T'.
        blank: class of the blank.
        rule: what becomes of several frames under one. "spike", the default: the one with the least blank is
            taken, so that a lone spike survives wherever it falls; of two spikes one is lost. "mean": their mean
            probability; no mass is lost, but a spike may sink below the blank. "pick": the one at the middle of the
            student's frame; spikes of the others are lost.
        utterance: its id, for the sentence of an error.

    Returns:
        The posteriors, and how many units of the greedy transcript did not survive: spikes that share a frame,
        and repeated units whose blank in between is gone.

    Raises:
        ConfigError: no such rule, a shift that is not positive, or ends more than 3 frames of the slower clock apart.

    Chosen: the rules and the 3 frames.
    """
    if rule not in RULES:
        raise ConfigError(f"the rule for frame rates is {rule!r}; expected one of {', '.join(RULES)}")
    for name, shift in (("teacher", teacher_shift_ms), ("student", student_shift_ms)):
        if not (math.isfinite(shift) and shift > 0):
            raise ConfigError(f"the {name}'s frame shift is {shift} ms; expected more than 0")
    theirs, ours = len(log_probs) * teacher_shift_ms, frames * student_shift_ms
    said = "one utterance" if utterance is None else f"utterance {utterance!r}"
    if abs(theirs - ours) > MOST_OFF * max(teacher_shift_ms, student_shift_ms) + 1e-6:
        raise ConfigError(
            f"the teacher gives {len(log_probs)} frames of {teacher_shift_ms:g} ms ({theirs / 1000:.2f} s) and the "
            f"student {frames} of {student_shift_ms:g} ms ({ours / 1000:.2f} s) for {said}; they may differ by "
            f"{MOST_OFF} frames of the slower, check the teacher's frame shift"
        )
    found = log_probs.new_full((frames, log_probs.shape[1]), FLOOR)
    found[:, blank] = 0.0
    ratio = teacher_shift_ms / student_shift_ms
    if ratio > 1 or rule == "pick":
        middles = ((_count(frames) + 0.5) / ratio + _TINY).long()  # (T',) the frame under each middle
        there = middles < len(log_probs)
        found[there] = log_probs[middles[there]]
    elif frames and len(log_probs):
        under = ((_count(len(log_probs)) + 0.5) * ratio + _TINY).long().clamp_max(frames - 1)  # (T,)
        there = torch.zeros(frames, dtype=torch.bool).index_fill_(0, under, True)
        found[there] = (_spikes if rule == "spike" else _means)(log_probs, under, frames, blank)[there]
    lost = len(_collapsed(log_probs, blank)) - len(_collapsed(found, blank))
    return AtRate(found, max(0, lost))


def _count(frames: int) -> Tensor:
    return torch.arange(frames, dtype=torch.float64)


def _spikes(log_probs: Tensor, under: Tensor, frames: int, blank: int) -> Tensor:
    """(T', C): of the frames with the same ``under``, the first with the least blank."""
    blanks = log_probs[:, blank]
    least = blanks.new_full((frames,), torch.inf).scatter_reduce(0, under, blanks, "amin")
    candidates = torch.where(blanks == least[under], torch.arange(len(blanks)), len(blanks))
    first = torch.full((frames,), len(blanks)).scatter_reduce(0, under, candidates, "amin")
    return log_probs[first.clamp_max(len(blanks) - 1)]


def _means(log_probs: Tensor, under: Tensor, frames: int, blank: int) -> Tensor:
    """(T', C): log of the mean probability of the frames with the same ``under``."""
    sums = torch.zeros(frames, log_probs.shape[1], dtype=torch.float64).index_add_(0, under, log_probs.double().exp())
    mean = sums / under.bincount(minlength=frames).clamp_min(1)[:, None]
    return mean.log().clamp_min(FLOOR).to(log_probs)


def _collapsed(log_probs: Tensor, blank: int) -> list[int]:
    path = torch.unique_consecutive(log_probs.argmax(-1))
    return path[path != blank].tolist()
