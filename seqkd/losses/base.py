"""What every distillation objective shares: its result, its reduction, its frame-level distances.

Letters: P passes, B utterances, T frames, C classes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqkd.ctc.arguments import REDUCTIONS, IntSequence, check_choice, check_logits, check_targets
from seqkd.ctc.frames import frame_mask, masked_log_softmax
from seqkd.ctc.loss import ctc_from_log_probs

__all__ = [
    "DISTANCES",
    "CtcBatch",
    "DistillationLoss",
    "check_distance",
    "combine",
    "frame_distance",
    "frame_mask",
    "kl_divergence",
    "masked_log_softmax",
]

DISTANCES = ("squared", "kl")


@dataclass(frozen=True)
class DistillationLoss:
    """An objective and what it is made of.

    Attributes:
        total: the weighted sum to call ``backward`` on: a scalar, or for reduction "none" (B,), of losses per token
            (B, S).
        terms: each term by name, **unweighted**, in the shape of ``total``. A term whose weight is 0 or whose
            input was not given is absent: it was not computed.
    """

    total: Tensor
    terms: dict[str, Tensor]


def combine(reduction: str, like: Tensor, **terms: tuple[float, Callable[[], Tensor]]) -> DistillationLoss:
    """Weigh, reduce and add up the terms of an objective.

    Args:
        reduction: "none" gives (B,), "sum" adds utterances up, "mean" divides that sum by B, for all terms
            alike, so that they keep one scale.
        like: (..., B, T, C) logits or log-probabilities: give the total its shape and type (at least float32)
            where no term is left.
        **terms: name = (weight, function that computes the unweighted (B,) losses). The function of a term
            with weight 0 is never called, so not even a NaN can come from it.

    Returns:
        The weighted sum and the unweighted terms.

    Raises:
        ValueError: an unknown reduction, or a weight that is negative or not finite.
    """
    check_choice("reduction", reduction, REDUCTIONS)
    for name, (weight, _) in terms.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"{name}_weight must be finite and not negative, got {weight}")
    values = {name: _reduce(term(), reduction) for name, (weight, term) in terms.items() if weight != 0}
    zero = _reduce(like.new_zeros(like.shape[-3], dtype=torch.promote_types(like.dtype, torch.float32)), reduction)
    return DistillationLoss(sum((terms[name][0] * value for name, value in values.items()), zero), values)


def _reduce(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    return losses.sum() / (max(len(losses), 1) if reduction == "mean" else 1)


@dataclass(frozen=True)
class CtcBatch:
    """A batch that has been checked, and the student's log-probabilities, which all terms share.

    Attributes:
        log_probs: (P, B, T, C), uniform on padded frames.
        mask: (B, T) bool, True for a valid frame.
        targets: (B, S) on the device of ``log_probs``.
        input_lengths: (B,) on the host.
        target_lengths: (B,) on the host; 0 for an utterance without a transcript.
        labelled: (B,) bool or None for all.
        blank: class of the blank.
        zero_infinity: as in :func:`seqkd.ctc.ctc_loss`.
        backend: of the CTC term: "auto", "torch" or "reference".
    """

    log_probs: Tensor
    mask: Tensor
    targets: Tensor
    input_lengths: Tensor
    target_lengths: Tensor
    labelled: IntSequence | None
    blank: int
    zero_infinity: bool
    backend: str = "auto"

    @classmethod
    def of(
        cls,
        logits: Tensor,
        targets: IntSequence,
        input_lengths: IntSequence,
        target_lengths: IntSequence,
        *,
        blank: int,
        labelled: IntSequence | None,
        zero_infinity: bool,
        backend: str = "auto",
    ) -> "CtcBatch":
        """Check the arguments of an objective; ``logits`` are (P, B, T, C)."""
        targets, input_lengths, target_lengths = check_targets(
            logits, targets, input_lengths, target_lengths, blank=blank, labelled=labelled
        )
        mask = frame_mask(input_lengths, logits.shape[2], logits.device)
        return cls(
            masked_log_softmax(logits, mask),
            mask,
            targets,
            input_lengths,
            target_lengths,
            labelled,
            blank,
            zero_infinity,
            backend,
        )

    def ctc(self) -> Tensor:
        """(B,) CTC averaged over passes, 0 for utterances without a transcript."""
        passes = self.log_probs.shape[0]
        losses = ctc_from_log_probs(
            self.log_probs.flatten(0, 1),
            self.targets.repeat(passes, 1),
            self.input_lengths.repeat(passes),
            self.target_lengths.repeat(passes),
            blank=self.blank,
            zero_infinity=self.zero_infinity,
            backend=self.backend,
        )
        return labelled_only(losses.unflatten(0, self.log_probs.shape[:2]), self.labelled).mean(0)

    def teacher(self, logits: Tensor) -> Tensor:
        """(B, T, C) log-probabilities of the teacher, or (P, B, T, C), without gradient.

        Raises:
            ValueError: the shape differs from the student's: another batch, frame rate or vocabulary.
        """
        check_teacher(logits, self.log_probs)
        return masked_log_softmax(logits.detach(), self.mask)


def labelled_only(losses: Tensor, labelled: IntSequence | None) -> Tensor:
    """CTC losses (P, B), 0 for utterances without a transcript; ``labelled`` (B,) bool or None for all."""
    if labelled is None:
        return losses
    return losses.masked_fill(~torch.as_tensor(labelled, dtype=torch.bool, device=losses.device), 0.0)


def check_teacher(teacher: Tensor, student: Tensor) -> None:
    """Raise ValueError unless the teacher's logits (B, T, C) or (P, B, T, C) fit the student's (P, B, T, C)."""
    check_logits("teacher_logits", teacher, "PBTC" if teacher.ndim == 4 else "BTC")
    expected = tuple(student.shape[-teacher.ndim :])
    if tuple(teacher.shape) != expected:
        raise ValueError(
            f"teacher_logits {tuple(teacher.shape)} and student_logits {expected} must have the same "
            "(B, T, C): one batch, one frame rate, one vocabulary"
        )


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q), summed over classes.

    Args:
        log_p: (..., C) log-probabilities; -inf is allowed and counts as 0·log 0 = 0.
        log_q: (..., C).

    Returns:
        (...).
    """
    p = log_p.exp()
    return (p * (log_p - log_q).masked_fill(p == 0, 0.0)).sum(-1)


def frame_distance(
    teacher_log_probs: Tensor, student_log_probs: Tensor, distance: str, temperature: float = 1.0
) -> Tensor:
    """How far each student frame is from the teacher's, summed over classes.

    "squared" is Σ_c (p_T^τ − p_S^τ)², the softmax-level squared error; "kl" is τ²·KL(p_T^τ ‖ p_S^τ),
    where p^τ = softmax(z / τ).

    Args:
        teacher_log_probs: (..., C) at temperature 1.
        student_log_probs: (..., C) at temperature 1.
        distance: "squared" or "kl".
        temperature: τ.

    Returns:
        (...).
    """
    teacher, student = _temper(teacher_log_probs, temperature), _temper(student_log_probs, temperature)
    if distance == "squared":
        return (teacher.exp() - student.exp()).square().sum(-1)
    return temperature**2 * kl_divergence(teacher, student)


def _temper(log_probs: Tensor, temperature: float) -> Tensor:
    # softmax(log p / τ) = softmax(z / τ): the logits are not needed again.
    return log_probs if temperature == 1 else (log_probs / temperature).log_softmax(-1)


def check_distance(distance: str, temperature: float) -> None:
    """Raise ValueError for an unknown distance or a temperature that is not positive."""
    check_choice("distance", distance, DISTANCES)
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be finite and positive, got {temperature}")
