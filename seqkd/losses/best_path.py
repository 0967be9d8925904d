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
    """CTC, and :class:`BestPath` as ``kd``; arguments as of :func:`seqkd.losses.beside_ctc`."""
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
