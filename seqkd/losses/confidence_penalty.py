"""The confidence penalty: a price on low entropy.

Letters: P passes, B sentences, S target positions, C classes.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.losses.base import DistillationLoss
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.losses.tokens import ValidPositions, dot


class ConfidencePenalty(Term):
    """−Σ H(P) over valid positions or frames, averaged over passes: never above 0.

    Args:
        **options: ``weight``, β, ``layer``: see :class:`Term`.

    Paper: see :func:`confidence_penalty_loss`.
    """

    def forward(self, student: Outputs, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        negative = dot(student.log_probs.exp(), student.log_probs)  # (P, B, T)
        return negative.masked_fill(~student.mask, 0.0).sum(-1).mean(0)


def confidence_penalty_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    penalty_weight: float = 0.1,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> DistillationLoss:
    """Cross-entropy and a price on confidence: −log P_y − β H(P).

    Args:
        logits: (B, S, C).
        targets: (B, S).
        penalty_weight: β; 0 removes the term. The paper uses 0.1 for images and 2.0 for translation.
        ignore_index: as in :func:`adaptive_label_smoothing_loss`.
        reduction: "mean" over valid positions, "sum", or "none" (B, S).

    Returns:
        The total and its unweighted terms ``hard`` and ``penalty`` = −H(P) = Σ_c P log P, never above 0.

    Raises:
        ValueError: shapes or types that do not fit, a target out of range, an unknown reduction, a weight that
            is negative or not finite.

    Paper: Pereyra et al., ICLR 2017 workshop, arXiv 1701.06548 (without its annealing and threshold).
    """
    tokens = ValidPositions.of(logits, targets, ignore_index=ignore_index, reduction=reduction)
    log_probs = tokens.log_softmax(logits)  # (N, C)
    return tokens.weigh(
        hard=(1.0, lambda: tokens.cross_entropy(log_probs)),
        penalty=(penalty_weight, lambda: dot(log_probs.exp(), log_probs)),
    )
