"""CTC on the transcript that the teacher writes: its collapsed greedy path.

Letters: P passes, B utterances, T frames, C classes, S labels of the longest target, U labels of the longest path.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqkd.ctc.arguments import IntSequence
from seqkd.losses.base import DistillationLoss, check_teacher
from seqkd.losses.beside_ctc import beside_ctc
from seqkd.losses.ctc import Ctc
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs


class BestPath(Term):
    """CTC on the teacher's greedy transcript (teacher-1-best), averaged over passes.

    It sums over all alignments, so it does not matter where the teacher spikes; the transcript fits the student's
    frames by construction. Reading its length waits for the GPU once.

    Args:
        zero_infinity: as in :class:`seqkd.losses.Ctc`.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`.

    The idea is Kim and Rush's sequence-level distillation (EMNLP 2016, arXiv 1606.07947) with N = 1; see
    :class:`seqkd.losses.NBest` for more hypotheses.
    """

    source = "teacher"

    def __init__(self, *, zero_infinity: bool = False, **options: object) -> None:
        super().__init__(**options)
        self.ctc = Ctc(zero_infinity=zero_infinity)

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,) in nats."""
        check_teacher(teacher.logits, student.logits)
        best = teacher.log_probs[0].argmax(-1)  # (B, T)
        paths, lengths = collapse(best, student.mask, labels.blank)
        return self.ctc(student, None, Labels(paths, lengths.cpu(), None, labels.blank))


def best_path_ctc_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    kd_weight: float,
    **options: object,
) -> DistillationLoss:
    """CTC on the transcript, and CTC on the one that the teacher writes: ctc_weight · CTC(y) + kd_weight · CTC(ŷ).

    ŷ is the teacher's best class on each frame, repeats merged and blanks dropped (its greedy transcript). The sum over
    all alignments does not ask where the teacher spikes.

    Args:
        student_logits: (B, T, C), in any floating dtype.
        teacher_logits: (B, T, C) of the teacher; gets no gradient.
        targets: (B, S) labels padded with anything, or 1-D with all targets joined.
        input_lengths: (B,) valid frames; what stands in padded frames changes nothing.
        target_lengths: (B,) labels.
        kd_weight: weight of CTC on the teacher's transcript; 0 removes it.
        **options: ``ctc_weight`` (1: weight of CTC on ``targets``; 0 removes it), ``blank`` (0: class of the blank),
            ``labelled`` (None; or (B,) bool, False for an utterance without a transcript, whose CTC is 0),
            ``zero_infinity`` (False: a target that cannot be aligned gives inf; True: 0), ``reduction`` ("mean" divides
            all terms by B; "sum" adds utterances up; "none" gives (B,)).

    Returns:
        The total and its unweighted terms ``ctc`` and ``kd``, both in nats; float64 for float64 logits, else float32.

    Raises:
        ValueError: shapes that disagree, a length or label out of range (the utterance is named), an unknown
            reduction, a weight that is negative or not finite.

    Paper: Kim and Rush, sequence-level knowledge distillation, EMNLP 2016, arXiv 1606.07947, with N = 1. Chosen: CTC in
    the place of its attention model.
    """
    kd = BestPath(zero_infinity=bool(options.get("zero_infinity", False)))
    return beside_ctc(
        kd, student_logits, teacher_logits, targets, input_lengths, target_lengths, kd_weight=kd_weight, **options
    )


def collapse(paths: Tensor, mask: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """Merge repeats, then drop blanks.

    Args:
        paths: (B, T) a class for each frame.
        mask: (B, T) bool, True for a valid frame.
        blank: class of the blank.

    Returns:
        ``(labels (B, U) padded with blank, lengths (B,))``, U = T on the device of ``paths``.
    """
    keep = mask & (paths != blank)
    keep[:, 1:] &= paths[:, 1:] != paths[:, :-1]
    order = keep.int().argsort(dim=1, descending=True, stable=True)
    lengths = keep.sum(1)
    padding = torch.arange(paths.shape[1], device=paths.device) >= lengths[:, None]
    return paths.gather(1, order).masked_fill(padding, blank), lengths
