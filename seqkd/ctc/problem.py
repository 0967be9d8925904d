"""What a native backend computes: CTC of every pass, distillation and consistency, from logits, in one go.

Letters: P passes, B utterances, T frames, C classes, S labels of the longest target, Q = 1 or P teachers,
U slots of the occupancy.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Problem:
    """One batch and the terms that are wanted of it. All lengths and labels have been checked.

    Per utterance, over valid frames t, with p = softmax(z) and lp = log p::

        ctc[p, b]      = -log p(target | zₚ)
        kd[p, b]       = Σ_t Σ_c (T^τ − pₚ^τ)²  ("squared")  or  τ² Σ_t KL(T^τ ‖ pₚ^τ)  ("kl")
        consistency[b] = mean over pairs i < j of Σ_t ½ Σ_c (pᵢ − pⱼ)(lpᵢ − lpⱼ)

    Attributes:
        logits: (P, B, T, C), any floating dtype, any strides.
        teacher: (Q, B, T, C) logits without gradient, or None.
        targets: (B, S) int64 on the device of the logits; S ≥ 1, padded with anything inside [0, C).
        input_lengths: (B,) int64 on the host.
        target_lengths: (B,) int64 on the host.
        blank: class of the blank.
        ctc: whether the CTC term is wanted.
        distance: "none", "squared" or "kl".
        temperature: τ of the distillation term.
        nonblank: distil only frames whose teacher argmax is not the blank.
        consistency: "none", "attached" (the gradient of the value above) or "detached" (the gradient
            ½ (pᵢ − pⱼ) with respect to zᵢ, the opposite with respect to zⱼ).
        gradient: whether a gradient will be asked for; without, nothing is saved for it.
        check_labels: whether a label that is blank or outside [0, C) is an error; if not, or where finding out
            would wait for the GPU, it makes its utterance's CTC NaN.
        composed: CTC alone, by torch's operator, for which the logits are log-probabilities.
    """

    logits: Tensor
    teacher: Tensor | None
    targets: Tensor
    input_lengths: Tensor
    target_lengths: Tensor
    blank: int
    ctc: bool
    distance: str
    temperature: float
    nonblank: bool
    consistency: str
    gradient: bool
    check_labels: bool = False
    composed: bool = False

    @property
    def shape(self) -> torch.Size:
        """(P, B, T, C)."""
        return self.logits.shape

    @property
    def real(self) -> torch.dtype:
        """What is computed and saved: float64 for float64 logits, else float32."""
        return torch.promote_types(self.logits.dtype, torch.float32)

    @property
    def compares(self) -> bool:
        """Whether a term that compares distributions is wanted: distillation or consistency."""
        return self.distance != "none" or self.consistency != "none"

    @property
    def row_values(self) -> int:
        """R, how many numbers are kept of each frame for the gradient (what they mean is the backend's business)."""
        passes = self.shape[0]
        teachers = 0 if self.teacher is None else len(self.teacher)
        return 4 * passes + 2 * teachers + passes * (passes - 1)

    @property
    def dense_occupancy(self) -> bool:
        """Whether slot u of the occupancy is class u, because there are no more classes than states worth keeping."""
        return self.composed or self.shape[3] <= self.targets.shape[1] + 1

    @property
    def slots(self) -> int:
        """U: C if dense, else S + 1: slot 0 the blank, slot 1 + s the label at position s."""
        return self.shape[3] if self.dense_occupancy else self.targets.shape[1] + 1

    def empty_terms(self) -> "Terms":
        """Tensors of the right shapes for a backend to fill; all but ``occupancy`` hold zeros."""
        passes, batch, frames, _ = self.shape
        frames = frames if self.gradient else 0
        return Terms(
            ctc=self.targets.new_zeros((passes, batch), dtype=self.real),
            kd=self.targets.new_zeros((passes, batch), dtype=self.real),
            consistency=self.targets.new_zeros((batch,), dtype=self.real),
            rows=self.targets.new_zeros((self.row_values, batch, frames), dtype=self.real),
            occupancy=self.targets.new_empty((passes, batch, frames if self.ctc else 0, self.slots), dtype=self.real),
        )


class Terms(NamedTuple):
    """What a backend's forward gives.

    Attributes:
        ctc: (P, B), at least 0; inf for a target that cannot be aligned (its gradient is zero), NaN for NaN logits.
        kd: (P, B).
        consistency: (B,).
        rows: (R, B, T) numbers kept of each frame; (R, B, 0) if no gradient is wanted.
        occupancy: (P, B, T, U) expected number of times that each slot is emitted at each frame: CTC's
            gradient is softmax minus this, scattered onto classes. 0 beyond the input length, and for a target
            that cannot be aligned. (P, B, 0, U) if no gradient or no CTC is wanted.
    """

    ctc: Tensor
    kd: Tensor
    consistency: Tensor
    rows: Tensor
    occupancy: Tensor
