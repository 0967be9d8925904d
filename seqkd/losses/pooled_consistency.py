"""Consistency that forgives some frames: passes are to agree on what stands about a frame, not on when exactly.

Letters: P passes, B items, T frames, C classes, W frames of a window.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from seqkd.errors import ConfigError
from seqkd.losses.consistency import symmetric_kl
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs


class PooledConsistency(Term):
    """Mean over pairs of passes of Σ_t ½ [KL(qᵢ ‖ qⱼ) + KL(qⱼ ‖ qᵢ)], where q is p averaged over the frames about t.

    Half and more of what passes disagree on is the frame of a unit, and giving no unit is the cheapest agreement; a
    spike that is a frame or two late costs little here. Windows overlap, one about each valid frame, so that no edge
    between two of them punishes what another forgives; they end where the item ends. A window of 1 is `Consistency`.
    0 for one pass.

    Args:
        window: W, frames that are averaged; odd, 5 by default.
        detach: as `Consistency`'s: stop the gradient through the first distribution of each KL.
        **options: ``weight``, ``layer``: see :class:`Term`.

    Our own variant of CR-CTC, ICLR 2025, arXiv 2410.05101, and Cons-KD, IEEE Access 2024, 10.1109/access.2024.3457859.
    """

    passes = 2

    def __init__(self, *, window: int = 5, detach: bool = False, **options: object) -> None:
        super().__init__(**options)
        if isinstance(window, bool) or not isinstance(window, int) or window < 1 or window % 2 == 0:
            raise ConfigError(f"window is {window!r}; expected an odd number of frames, such as 5")
        self.window, self.detach = window, bool(detach)

    def forward(self, student: Outputs, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        if len(student.logits) < 2:
            return student.log_probs.new_zeros(student.logits.shape[1])
        pooled = self.pooled(student)  # (P, B, T, C)
        pairs = list(combinations(pooled, 2))
        distances = [symmetric_kl(p, q, detach=self.detach).masked_fill(~student.mask, 0.0) for p, q in pairs]
        return sum(distance.sum(-1) for distance in distances) / len(pairs)

    def pooled(self, student: Outputs) -> Tensor:
        """Return the logarithms (P, B, T, C) of the averaged probabilities."""
        if self.window == 1:
            return student.log_probs
        valid = student.mask[..., None]  # (B, T, 1)
        total = self.summed(student.log_probs.exp().masked_fill(~valid, 0.0))
        count = self.summed(valid.to(total.dtype)).clamp_min(1.0)
        return (total / count).clamp_min(torch.finfo(total.dtype).tiny).log()

    def summed(self, x: Tensor) -> Tensor:
        """Sum values (..., T, C) over the window about each frame."""
        frames, half = x.shape[-2], self.window // 2
        padded = functional.pad(x, (0, 0, half, half))
        return sum(padded[..., k : k + frames, :] for k in range(self.window))
