"""Intermediate-layer CTC distillation: inner layers of the student learn from transcript and teacher too.

No term of its own: CTC and frame distillation, named a second time with ``layer``.

Letters: K intermediate layers, B utterances, T frames, C classes, S labels of the longest target.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqkd.ctc.arguments import IntSequence, check_logits
from seqkd.losses.base import DistillationLoss, check_distance
from seqkd.losses.beside_ctc import of_tensors
from seqkd.losses.ctc import Ctc
from seqkd.losses.frame_kd import FrameKd
from seqkd.losses.outputs import FINAL


def inter_ctc_kd_loss(
    student_logits: Tensor,
    inter_logits: Tensor | Sequence[Tensor],
    teacher_logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    kd_weight: float,
    inter_kd_weight: float,
    inter_ctc_weight: float,
    ctc_weight: float = 1.0,
    distance: str = "squared",
    temperature: float = 1.0,
    blank: int = 0,
    labelled: IntSequence | None = None,
    zero_infinity: bool = False,
    reduction: str = "mean",
) -> DistillationLoss:
    """CTC and frame distillation, on the last layer and, averaged, on K intermediate CTC heads.

    Args:
        student_logits: (B, T, C) of the last layer.
        inter_logits: K tensors (B, T, C), or one (K, B, T, C), K ≥ 1.
        teacher_logits: (B, T, C) of the teacher's last layer; gets no gradient.
        targets, input_lengths, target_lengths: and the other arguments as of :func:`seqkd.losses.beside_ctc`.
        kd_weight: weight of distillation on the last layer. A weight of 0 removes its term.
        inter_kd_weight: weight of distillation averaged over intermediate layers.
        inter_ctc_weight: weight of CTC averaged over intermediate layers.
        ctc_weight: weight of CTC on the last layer.
        distance: "squared" (default) or "kl", as in :class:`seqkd.losses.FrameKd`.
        temperature: τ of both distributions.
        blank: class of the blank.
        labelled: (B,) bool, None for all; where False, the utterance has no CTC terms.
        zero_infinity: as in :func:`seqkd.ctc.ctc_loss`.
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
    ctc, kd = {"zero_infinity": zero_infinity}, {"distance": distance, "temperature": temperature, "other_layer": FINAL}
    terms = {
        "ctc": (Ctc(**ctc), ctc_weight),
        "kd": (FrameKd(**kd), kd_weight),
        "inter_ctc": (Ctc(**ctc, layer="inner"), inter_ctc_weight),
        "inter_kd": (FrameKd(**kd, layer="inner"), inter_kd_weight),
    }
    return of_tensors(
        terms,
        student_logits[None],
        {"teacher": teacher_logits},
        targets,
        input_lengths,
        target_lengths,
        blank=blank,
        labelled=labelled,
        reduction=reduction,
        layers={"inner": torch.stack(tuple(inter_logits))},  # as passes, which are averaged
    )
