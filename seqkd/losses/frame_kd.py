"""Distillation frame by frame, or position by position: the student's distribution is drawn to the teacher's.

Letters: P passes, B items, T frames or target positions, C classes.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.losses.base import DISTANCES, check_teacher, kl_divergence
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.settings import more_than, one_of

SELECTIONS = ("all", "nonblank")


class FrameKd(Term):
    """Σ_t D(p_T, p_S) over valid frames or positions, averaged over passes.

    D is Σ_c (p_T^τ − p_S^τ)² ("squared") or τ² KL(p_T^τ ‖ p_S^τ) ("kl"), p^τ = softmax(z / τ). Sums over classes and
    frames, so that it has the scale of a CTC term beside it.

    Args:
        distance: "squared" (default: the softmax-level distance of the group that made Cons-KD) or "kl".
        temperature: τ of both.
        select: "all" frames, or those whose teacher argmax is not the blank ("nonblank").
        per_class: divide by the number of classes, as ``KLDivLoss()`` without "batchmean" does in some author code
            (Tf-KD's), whose published weights are for that.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`.

    Papers: Hinton et al., arXiv 1503.02531; on CTC frames, Senior et al., ASRU 2015.
    """

    source = "teacher"
    kernel = "kd"

    def __init__(
        self,
        *,
        distance: str = "squared",
        temperature: float = 1.0,
        select: str = "all",
        per_class: bool = False,
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.distance, self.select = one_of(DISTANCES, distance=distance), one_of(SELECTIONS, select=select)
        self.temperature, self.per_class = more_than(0, temperature=temperature), bool(per_class)

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        check_teacher(teacher.logits, student.logits)
        valid = student.mask
        if self.select == "nonblank":
            valid = valid & (teacher.logits.argmax(-1) != labels.blank)
        distances = frame_distance(teacher, student, self.distance, self.temperature)  # (P, B, T)
        losses = distances.masked_fill(~valid, 0.0).sum(-1).mean(0)
        return losses / student.logits.shape[-1] if self.per_class else losses


def frame_distance(teacher: Outputs, student: Outputs, distance: str, temperature: float) -> Tensor:
    """Return the distance (P, B, T), "squared" or "kl", as in :class:`FrameKd`.

    The teacher has one pass for all, or one each.
    """
    theirs, ours = teacher.tempered(temperature), student.tempered(temperature)
    if distance == "squared":
        return (theirs.exp() - ours.exp()).square().sum(-1)
    return temperature**2 * kl_divergence(theirs, ours)
