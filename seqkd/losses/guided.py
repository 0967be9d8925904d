"""Guided CTC: spike where the teacher spikes.

Letters: B utterances, T frames, C classes, S labels of the longest target.
"""

from torch import Tensor

from seqkd.ctc.arguments import IntSequence, check_choice, check_logits
from seqkd.losses.base import CtcBatch, DistillationLoss, combine

VARIANTS = ("posterior", "log")


def guided_ctc_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    blank: int = 0,
    kd_weight: float,
    ctc_weight: float = 1.0,
    variant: str = "posterior",
    labelled: IntSequence | None = None,
    zero_infinity: bool = False,
    reduction: str = "mean",
) -> DistillationLoss:
    """CTC, and the student's posterior of the teacher's best class on each frame where that is not the blank.

    With k_t the teacher's argmax, and t over valid frames where k_t ≠ blank, the ``kd`` term is

    - "posterior" (default): −Σ_t p_S(k_t | t), the masked posterior that the paper describes. It is negative,
      and never below minus the number of spikes;
    - "log": −Σ_t log p_S(k_t | t), the cross-entropy, which pulls hard on spikes the student misses.

    Args:
        student_logits: (B, T, C).
        teacher_logits: (B, T, C); gets no gradient.
        targets: (B, S) padded with anything, or 1-D with all targets joined.
        input_lengths: (B,) valid frames.
        target_lengths: (B,) labels.
        blank: class of the blank.
        kd_weight: weight of the guiding term; 0 removes it.
        ctc_weight: weight of the CTC term; 0 removes it.
        variant: "posterior" or "log".
        labelled: (B,) bool, None for all; where False, the utterance has no CTC term.
        zero_infinity: as in :func:`seqkd.losses.ctc_loss`.
        reduction: "none" gives (B,), "sum" adds utterances up, "mean" divides all terms by B.

    Returns:
        The total and its unweighted terms ``ctc`` and ``kd``.

    Raises:
        ValueError: shapes that disagree, a length or label out of range, an unknown option, a negative
            weight.

    Paper: Kurata and Audhkhasi, Interspeech 2019, arXiv 1904.08311. The scale (a sum over frames beside CTC)
    is this toolkit's convention; the paper's exact weighting is not reproduced.
    """
    check_logits("student_logits", student_logits, "BTC")
    check_choice("variant", variant, VARIANTS)
    batch = CtcBatch.of(
        student_logits[None],
        targets,
        input_lengths,
        target_lengths,
        blank=blank,
        labelled=labelled,
        zero_infinity=zero_infinity,
    )

    def guide() -> Tensor:
        best = batch.teacher(teacher_logits).argmax(-1)  # (B, T)
        spikes = batch.mask & (best != blank)
        scores = batch.log_probs[0].gather(-1, best[..., None])[..., 0]  # (B, T)
        scores = scores.exp() if variant == "posterior" else scores
        return -scores.masked_fill(~spikes, 0.0).sum(-1)

    return combine(reduction, batch.log_probs, ctc=(ctc_weight, batch.ctc), kd=(kd_weight, guide))
