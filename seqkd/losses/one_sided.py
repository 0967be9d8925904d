"""One-sided consistency: of two passes, the one that was given more of its input teaches the other.

Letters: P passes, B items, T frames, C classes.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from seqkd.losses.base import kl_divergence
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.settings import one_of


class OneSidedConsistency(Term):
    """Mean over pairs of passes of Σ_t KL(sg p_more ‖ p_less), over valid frames. 0 for one pass.

    p_more is the pass of which less was masked (``Outputs.hidden``), and gets no gradient; the other's, with respect to
    its logits, is p_less − p_more a frame. Two passes that pull at each other meet where both find it cheapest, at the
    blank; here the one that could not see cannot pull the one that could. Where as much was masked of both, nobody
    teaches and the value is 0. Without knowledge of masks, as under dropout alone, the first pass teaches the others.
    Its scale is that of `Consistency`, which is half the sum of both directions.

    Args:
        by: what is compared: "utterance" (default), the share masked of the whole item; or "frame", that of each frame,
            so that each pass may teach where the other is masked.
        **options: ``weight``, ``layer``: see :class:`Term`.

    Raises:
        ConfigError: another ``by``.

    Needs (P, B, T, C) logits of P passes and, for masks, ``Outputs.hidden`` (P, B, T): the share of each frame's input
    that was masked, from 0 to 1. Returns (B,) in nats.

    Our own variant of CR-CTC, ICLR 2025, arXiv 2410.05101, and Cons-KD, IEEE Access 2024, 10.1109/access.2024.3457859.
    """

    passes = 2

    def __init__(self, *, by: str = "utterance", **options: object) -> None:
        super().__init__(**options)
        self.by = one_of(("utterance", "frame"), by=by)

    def forward(self, student: Outputs, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        log_probs = student.log_probs  # (P, B, T, C)
        pairs = list(combinations(range(len(log_probs)), 2))
        if not pairs:
            return log_probs.new_zeros(log_probs.shape[1])
        masked = self.masked(student)  # (P, B, T)
        total = log_probs.new_zeros(log_probs.shape[1])
        for one, two in pairs:
            for teacher, learner in ((one, two), (two, one)):
                teaches = student.mask & (masked[teacher] < masked[learner])  # (B, T)
                distance = kl_divergence(log_probs[teacher].detach(), log_probs[learner])
                total = total + distance.masked_fill(~teaches, 0.0).sum(-1)
        return total / len(pairs)

    def masked(self, student: Outputs) -> Tensor:
        """Return how much was masked, (P, B, T): of a frame's input, or of the item's, the same in all its frames."""
        passes, _, frames, _ = student.logits.shape
        if student.hidden is None:
            return torch.arange(passes, device=student.logits.device)[:, None, None].expand(-1, *student.mask.shape)
        hidden = student.hidden.masked_fill(~student.mask, 0.0)
        return hidden if self.by == "frame" else hidden.sum(-1, keepdim=True).expand(-1, -1, frames)
