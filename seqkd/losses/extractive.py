"""Extractive distillation: the teacher's probabilities without the uniform part that a high temperature adds to them.

Letters: P passes, B items, T frames or target positions, C classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqkd.losses.base import check_teacher
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.losses.tokens import dot
from seqkd.settings import less_than, more_than, one_of

FLOORS = ("min", "quantile")


class ExtractiveKd(Term):
    """Σ_t CE(p̃, softmax(z_S / τ_S)) over valid frames or positions, averaged over passes.

    With the teacher's p = softmax(z_T / τ_T) and its floor m = min_c p, the target is what rises above the floor::

        p̃ = (p − m) / (1 − u),   u = C m,   so that   CE(p, q) = (1 − u) CE(p̃, q) + u CE(1/C, q)

    The gradient for the student's logits is weight / τ_S · (softmax(z_S / τ_S) − p̃): the teacher's temperature, the
    student's and the weight are three free factors, which ordinary distillation ties as τ, τ and τ². As τ_T grows, p
    becomes uniform and u goes to 1, but p̃ goes to (z − min z) / Σ (z − min z), which still ranks the classes.

    Notes, as means over valid frames: ``uniformity`` H(p) / log C, and ``floor`` u. Beside CTC, whose labels are not
    one a frame, also ``uniformity_blank`` and ``uniformity_nonblank``, of the frames whose teacher argmax is the blank
    and of the others (0 where a batch has none).

    Args:
        temperature: τ_T of the teacher.
        student_temperature: τ_S.
        floor: "min" (default), or "quantile" where one unlikely class among hundreds would set m: then p̃ is
            max(p − m, 0), renormalised, and u = Σ_c min(p, m).
        quantile: which one m is for "quantile", from 0 to less than 1: the least probability that is not below this
            share of the C − 1 others. 0 is "min".
        extract: False trains CE(p, softmax(z_S / τ_S)) with the factors as free: the control without extraction.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`.

    Where no class rises above m, as with a uniform teacher, the target is p.

    Paper: WACV 2022, 10.1109/wacv51458.2022.00142. Established by its abstract: the softmax temperature entangles the
    teacher's probability, the student's probability and the weight; they are separated, and the uniformity of the
    teacher's probability is analysed. The paper's exact form is not public. Chosen: the formula of p̃, and τ_S = 1.
    """

    source = "teacher"

    def __init__(
        self,
        *,
        temperature: float = 4.0,
        student_temperature: float = 1.0,
        floor: str = "min",
        quantile: float = 0.1,
        extract: bool = True,
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.temperature = more_than(0, temperature=temperature)
        self.student_temperature = more_than(0, student_temperature=student_temperature)
        self.floor, self.quantile = one_of(FLOORS, floor=floor), less_than(0, 1, quantile=quantile)
        self.extract = bool(extract)

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,) in nats."""
        check_teacher(teacher.logits, student.logits)
        theirs = teacher.tempered(self.temperature)  # (1 or P, B, T, C), uniform on padded frames
        targets, floor = extracted(theirs, self.quantile if self.floor == "quantile" else 0.0)
        self._note(theirs, floor, student.mask, teacher, labels)
        ours = student.tempered(self.student_temperature)
        losses = -dot(targets if self.extract else theirs.exp(), ours)  # (P, B, T)
        return losses.masked_fill(~student.mask, 0.0).sum(-1).mean(0)

    def _note(self, log_probs: Tensor, floor: Tensor, valid: Tensor, teacher: Outputs, labels: Labels) -> None:
        uniformity = torch.special.entr(log_probs.exp()).sum(-1) / math.log(max(log_probs.shape[-1], 2))
        self.note(uniformity=_mean(uniformity, valid), floor=_mean(floor, valid))
        if labels.targets.shape[1] != log_probs.shape[2]:
            blank = teacher.logits.argmax(-1) == labels.blank
            self.note(
                uniformity_blank=_mean(uniformity, valid & blank), uniformity_nonblank=_mean(uniformity, valid & ~blank)
            )


def extracted(log_probs: Tensor, quantile: float = 0.0) -> tuple[Tensor, Tensor]:
    """The target of :class:`ExtractiveKd`, and how much was taken away.

    Args:
        log_probs: (..., C), the teacher's at its temperature; -inf is allowed.
        quantile: which one the floor is; 0 is the minimum.

    Returns:
        p̃ (..., C) and u (...).
    """
    rank = 1 + math.floor(quantile * (log_probs.shape[-1] - 1))
    floor = log_probs.kthvalue(rank, -1, keepdim=True).values
    probs = log_probs.exp()
    # p − m = p (1 − m / p) in logarithms: near a uniform teacher, p and m differ in their last digits alone.
    above = (log_probs - floor.clamp(min=torch.finfo(log_probs.dtype).min)).clamp(min=0.0)
    # Divided by the largest p first: with many classes p times this may be too small for float32.
    risen = (log_probs - log_probs.amax(-1, keepdim=True)).exp() * -torch.expm1(-above)
    total = risen.sum(-1, keepdim=True)
    targets = torch.where(total > 0, risen / total.where(total > 0, torch.ones_like(total)), probs)
    return targets, probs.minimum(floor.exp()).sum(-1)


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """Of (P, B, T), over the frames of (B, T) or (P, B, T) that are valid, without waiting for a GPU."""
    valid = valid.expand_as(values)
    return values.masked_fill(~valid, 0.0).sum() / valid.sum().clamp(min=1)
