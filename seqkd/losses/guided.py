"""Guided CTC: spike where the teacher spikes.

Letters: P passes, B utterances, T frames, C classes, S labels of the longest target.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.ctc.arguments import IntSequence
from seqkd.losses.base import DistillationLoss, check_teacher
from seqkd.losses.beside_ctc import beside_ctc
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.settings import one_of

VARIANTS = ("posterior", "log")


class Guided(Term):
    """The student's posterior of the teacher's best class on each frame where that is not the blank.

    With k_t the teacher's argmax, and t over valid frames where k_t ≠ blank, averaged over passes:

    - "posterior" (default): −Σ_t p_S(k_t | t), the masked posterior that the paper describes. It is negative,
      and never below minus the number of spikes;
    - "log": −Σ_t log p_S(k_t | t), the cross-entropy, which pulls hard on spikes the student misses.

    Args:
        variant: "posterior" or "log".
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`.

    Paper: Kurata and Audhkhasi, Interspeech 2019, arXiv 1904.08311. The scale (a sum over frames beside CTC)
    is this toolkit's convention; the paper's exact weighting is not reproduced.
    """

    source = "teacher"

    def __init__(self, *, variant: str = "posterior", **options: object) -> None:
        super().__init__(**options)
        self.variant = one_of(VARIANTS, variant=variant)

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        check_teacher(teacher.logits, student.logits)
        best = teacher.log_probs.argmax(-1).expand(student.logits.shape[:3])  # (P, B, T)
        spikes = student.mask & (best != labels.blank)
        scores = student.log_probs.gather(-1, best[..., None])[..., 0]
        scores = scores.exp() if self.variant == "posterior" else scores
        return -scores.masked_fill(~spikes, 0.0).sum(-1).mean(0)


def guided_ctc_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    kd_weight: float,
    variant: str = "posterior",
    **options: object,
) -> DistillationLoss:
    """Guided CTC: ctc_weight · CTC + kd_weight · kd, so that the student spikes where the teacher does.

    With k_t the teacher's best class, and t over the frames where that is not the blank, kd = −Σ_t p_S(k_t | t)
    ("posterior"), the masked posterior that the paper describes, or −Σ_t log p_S(k_t | t) ("log"), the cross-entropy,
    which pulls hard on spikes that the student misses.

    Args:
        student_logits: (B, T, C), in any floating dtype.
        teacher_logits: (B, T, C) of the teacher; gets no gradient.
        targets: (B, S) labels padded with anything, or 1-D with all targets joined.
        input_lengths: (B,) valid frames; what stands in padded frames changes nothing.
        target_lengths: (B,) labels.
        kd_weight: weight of ``kd``; 0 removes it.
        variant: "posterior" (default) or "log".
        **options: ``ctc_weight`` (1: weight of CTC on ``targets``; 0 removes it), ``blank`` (0: class of the blank),
            ``labelled`` (None; or (B,) bool, False for an utterance without a transcript, whose CTC is 0),
            ``zero_infinity`` (False: a target that cannot be aligned gives inf; True: 0), ``reduction`` ("mean" divides
            all terms by B; "sum" adds utterances up; "none" gives (B,)).

    Returns:
        The total and its unweighted terms ``ctc`` and ``kd``, which for "posterior" is negative, never below minus the
        number of spikes; float64 for float64 logits, else float32.

    Raises:
        ValueError: shapes that disagree, a length or label out of range (the utterance is named), an unknown
            reduction, a weight that is negative or not finite.
        ConfigError: another variant.

    Paper: Kurata and Audhkhasi, guiding CTC posterior spike timings, Interspeech 2019, arXiv 1904.08311. Chosen: the
    scale, a sum over frames beside CTC; the paper's exact weighting is not reproduced.
    """
    kd = Guided(variant=variant)
    return beside_ctc(
        kd, student_logits, teacher_logits, targets, input_lengths, target_lengths, kd_weight=kd_weight, **options
    )
