"""Consistency: passes over one batch, under different dropout masks or views, are to agree.

Letters: P passes, B items, T frames or target positions, C classes.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs


class Consistency(Term):
    """Mean over pairs of passes of Σ_t ½ [KL(pᵢ ‖ pⱼ) + KL(pⱼ ‖ pᵢ)], over valid frames or positions. 0 for one pass.

    Args:
        detach: stop the gradient through the first distribution of each KL: CR-CTC's form, whose gradient is ½ (pᵢ −
            pⱼ) a frame. False (default) is R-Drop's.
        **options: ``weight``, ``layer``: see :class:`Term`.

    Papers: R-Drop, NeurIPS 2021, arXiv 2106.14448, which **adds** what is averaged over passes here: its weights are
    twice these; CR-CTC, ICLR 2025, arXiv 2410.05101; Cons-KD, IEEE Access 2024, 10.1109/access.2024.3457859.
    """

    kernel = "consistency"
    passes = 2

    def __init__(self, *, detach: bool = False, **options: object) -> None:
        super().__init__(**options)
        self.detach = bool(detach)

    def forward(self, student: Outputs, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        pairs = list(combinations(student.log_probs, 2))
        if not pairs:
            return student.log_probs.new_zeros(student.logits.shape[1])
        return sum(symmetric_kl(p, q, detach=self.detach).sum(-1) for p, q in pairs) / len(pairs)


def symmetric_kl(log_p: Tensor, log_q: Tensor, *, detach: bool = False) -> Tensor:
    """½ [KL(p ‖ q) + KL(q ‖ p)] = ½ Σ_c (p − q)(log p − log q).

    Args:
        log_p: (..., C) log-probabilities; a class that is -inf in both contributes nothing.
        log_q: (..., C).
        detach: stop the gradient through p and q. With log p and log q from a log-softmax, this is the
            gradient of ½ [KL(sg q ‖ p) + KL(sg p ‖ q)], that is ½ (p − q) with respect to p's logits.

    Returns:
        (...), exactly 0 where p = q.
    """
    p, q = log_p.exp(), log_q.exp()
    if detach:
        p, q = p.detach(), q.detach()
    ratio = (log_p - log_q).masked_fill((p == 0) & (q == 0), 0.0)
    return 0.5 * torch.sum((p - q) * ratio, -1)
