"""Intermediate-layer CTC distillation: inner layers of the student learn from transcript and teacher too.

Letters: K intermediate layers, B utterances, T frames, C classes, S labels of the longest target.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from seqkd.ctc.arguments import IntSequence, check_logits
from seqkd.losses.base import CtcBatch, DistillationLoss, check_distance, combine, frame_distance


def inter_ctc_kd_loss(
    student_logits: Tensor,
    inter_logits: Tensor | Sequence[Tensor],
    teacher_logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    blank: int = 0,
    kd_weight: float,
    inter_kd_weight: float,
    inter_ctc_weight: float,
    ctc_weight: float = 1.0,
    distance: str = "squared",
    temperature: float = 1.0,
    labelled: IntSequence | None = None,
    zero_infinity: bool = False,
    reduction: str = "mean",
) -> DistillationLoss:
    """CTC and frame distillation, on the last layer and, averaged, on K intermediate CTC heads.

    Args:
        student_logits: (B, T, C) of the last layer.
        inter_logits: K tensors (B, T, C), or one (K, B, T, C), K ≥ 1.
        teacher_logits: (B, T, C) of the teacher's last layer; gets no gradient.
        targets: (B, S) padded with anything, or 1-D with all targets joined.
        input_lengths: (B,) valid frames.
        target_lengths: (B,) labels.
        blank: class of the blank.
        kd_weight: weight of distillation on the last layer. A weight of 0 removes its term.
        inter_kd_weight: weight of distillation averaged over intermediate layers.
        inter_ctc_weight: weight of CTC averaged over intermediate layers.
        ctc_weight: weight of CTC on the last layer.
        distance: "squared" (default) or "kl", as in :func:`seqkd.losses.cons_kd_loss`.
        temperature: τ of both distributions.
        labelled: (B,) bool, None for all; where False, the utterance has no CTC terms.
        zero_infinity: as in :func:`seqkd.losses.ctc_loss`.
        reduction: "none" gives (B,), "sum" adds utterances up, "mean" divides all terms by B.

    Returns:
        The total and its unweighted terms ``ctc``, ``kd``, ``inter_ctc``, ``inter_kd``.

    Raises:
        ValueError: shapes that disagree, a length or label out of range, an unknown option, a negative
            weight.

    Papers: Inter-KD, SLT 2022, arXiv 2211.15075; intermediate CTC, ICASSP 2021, arXiv 2102.03216. Inter-KD's
    exact weighting is not reproduced: this follows its abstract ("additionally transfers the teacher's
    knowledge to the intermediate CTC layers").
    """
    check_logits("student_logits", student_logits, "BTC")
    check_distance(distance, temperature)
    if len(inter_logits) == 0:
        raise ValueError("inter_logits must hold at least one tensor (B, T, C)")
    for layer in inter_logits:
        if layer.shape != student_logits.shape:
            raise ValueError(
                f"inter_logits {tuple(layer.shape)} and student_logits {tuple(student_logits.shape)} "
                "must have the same (B, T, C)"
            )
    last, inner = (
        CtcBatch.of(
            logits,
            targets,
            input_lengths,
            target_lengths,
            blank=blank,
            labelled=labelled,
            zero_infinity=zero_infinity,
        )
        for logits in (student_logits[None], torch.stack(tuple(inter_logits)))
    )

    def kd(batch: CtcBatch) -> Tensor:
        distances = frame_distance(batch.teacher(teacher_logits), batch.log_probs, distance, temperature)
        return distances.masked_fill(~batch.mask, 0.0).sum(-1).mean(0)

    return combine(
        reduction,
        last.log_probs,
        ctc=(ctc_weight, last.ctc),
        kd=(kd_weight, lambda: kd(last)),
        inter_ctc=(inter_ctc_weight, inner.ctc),
        inter_kd=(inter_kd_weight, lambda: kd(inner)),
    )
