"""R-Drop for models that predict targets one by one: two dropout masks, one opinion.

Letters: P passes, B sentences, S target positions, C classes, N valid positions.
"""

from itertools import combinations

from torch import Tensor

from seqkd.ctc.arguments import check_logits
from seqkd.losses.base import DistillationLoss
from seqkd.losses.consistency import symmetric_kl
from seqkd.losses.tokens import ValidPositions, check_share


def r_drop_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    consistency_weight: float,
    hard_weight: float = 1.0,
    smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> DistillationLoss:
    """Cross-entropy, and agreement between passes over one batch under different dropout masks.

    With passes i = 1..P, at each valid position::

        total = hard_weight        · 1/P Σᵢ CE(pᵢ, y)
              + consistency_weight · mean over pairs i < j of ½ [KL(pᵢ‖pⱼ) + KL(pⱼ‖pᵢ)]

    Args:
        logits: (P, B, S, C), P at least 2.
        targets: (B, S) classes.
        consistency_weight: weight of the agreement; 0 removes it. The paper **adds** the cross-entropy of its two
            passes where this averages passes, as all of this toolkit does: its weight (5 for translation) is
            twice this one.
        hard_weight: weight of cross-entropy; 0 removes it, to put the consistency term beside another loss.
        smoothing: ε of uniform label smoothing within ``hard``.
        ignore_index: positions with this target take part in nothing, whatever the logits hold there.
        reduction: "mean" averages over valid positions, "sum" adds them up, "none" gives (B, S), 0 where not
            valid.

    Returns:
        The total and its unweighted terms ``hard`` and ``consistency``. Float64 for float64 logits, else float32.

    Raises:
        ValueError: shapes or types that do not fit, a single pass, a target out of range, an unknown reduction,
            a weight that is negative or not finite.

    Paper: Liang et al., R-Drop, NeurIPS 2021, arXiv 2106.14448. Chosen: passes are averaged.
    """
    check_logits("logits", logits, "PBSC")
    if len(logits) < 2:
        raise ValueError(f"logits must have at least 2 passes to compare, got shape {tuple(logits.shape)}")
    check_share("smoothing", smoothing)
    tokens = ValidPositions.of(logits[0], targets, ignore_index=ignore_index, reduction=reduction)
    passes = [tokens.log_softmax(z) for z in logits]  # P of (N, C)

    def hard() -> Tensor:
        return sum(_smoothed_cross_entropy(tokens, log_probs, smoothing) for log_probs in passes) / len(passes)

    def consistency() -> Tensor:
        pairs = list(combinations(passes, 2))
        return sum(symmetric_kl(p, q) for p, q in pairs) / len(pairs)

    return tokens.weigh(hard=(hard_weight, hard), consistency=(consistency_weight, consistency))


def _smoothed_cross_entropy(tokens: ValidPositions, log_probs: Tensor, smoothing: float) -> Tensor:
    hard = tokens.cross_entropy(log_probs)
    return hard if smoothing == 0 else (1 - smoothing) * hard - smoothing * log_probs.mean(-1)
