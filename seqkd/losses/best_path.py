"""CTC on the transcript that the teacher writes: its collapsed greedy path.

Letters: B utterances, T frames, C classes, S labels of the longest target, U labels of the longest path.
"""

from dataclasses import replace

import torch
from torch import Tensor

from seqkd.ctc.arguments import IntSequence, check_logits
from seqkd.losses.base import CtcBatch, DistillationLoss, combine


def best_path_ctc_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    blank: int = 0,
    kd_weight: float,
    ctc_weight: float = 1.0,
    labelled: IntSequence | None = None,
    zero_infinity: bool = False,
    reduction: str = "mean",
) -> DistillationLoss:
    """CTC on the reference, and CTC on the teacher's greedy transcript (teacher-1-best).

    The second sums over all alignments, so it does not mind where the teacher spikes; the teacher's length
    fits the student's frames by construction. Reading its length waits for the GPU once.

    Args:
        student_logits: (B, T, C).
        teacher_logits: (B, T, C); gets no gradient.
        targets: (B, S) padded with anything, or 1-D with all targets joined.
        input_lengths: (B,) valid frames.
        target_lengths: (B,) labels.
        blank: class of the blank.
        kd_weight: weight of CTC on the teacher's transcript; 0 removes it.
        ctc_weight: weight of CTC on the reference; 0 removes it.
        labelled: (B,) bool, None for all; where False, the utterance has no CTC term on the reference.
        zero_infinity: as in :func:`seqkd.losses.ctc_loss`.
        reduction: "none" gives (B,), "sum" adds utterances up, "mean" divides all terms by B.

    Returns:
        The total and its unweighted terms ``ctc`` and ``kd``.

    Raises:
        ValueError: shapes that disagree, a length or label out of range, an unknown option, a negative
            weight.

    The idea is Kim and Rush's sequence-level distillation (EMNLP 2016, arXiv 1606.07947) with N = 1; see
    :func:`seqkd.losses.nbest_ctc_loss` for more hypotheses.
    """
    check_logits("student_logits", student_logits, "BTC")
    batch = CtcBatch.of(
        student_logits[None],
        targets,
        input_lengths,
        target_lengths,
        blank=blank,
        labelled=labelled,
        zero_infinity=zero_infinity,
    )

    def kd() -> Tensor:
        paths, lengths = collapse(batch.teacher(teacher_logits).argmax(-1), batch.mask, blank)
        return replace(batch, targets=paths, target_lengths=lengths.cpu(), labelled=None).ctc()

    return combine(reduction, batch.log_probs, ctc=(ctc_weight, batch.ctc), kd=(kd_weight, kd))


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
