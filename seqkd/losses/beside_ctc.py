"""Public functions on tensors, from terms: CTC on the transcript and one other term.

Letters: P passes, B utterances, T frames, C classes, S labels of the longest target.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seqkd.ctc.arguments import IntSequence, check_logits, check_targets, shape_targets
from seqkd.losses.base import DistillationLoss
from seqkd.losses.ctc import Ctc
from seqkd.losses.objective import Term, weigh
from seqkd.losses.outputs import Labels, Outputs


def beside_ctc(
    kd: Term,
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    kd_weight: float,
    ctc_weight: float = 1.0,
    blank: int = 0,
    labelled: IntSequence | None = None,
    zero_infinity: bool = False,
    reduction: str = "mean",
) -> DistillationLoss:
    """``ctc_weight`` · CTC + ``kd_weight`` · ``kd``, for student logits (B, T, C) of one pass.

    Args:
        kd: the term beside CTC.
        student_logits: (B, T, C).
        teacher_logits: (B, T, C), or None for no teacher; gets no gradient.
        targets: (B, S) padded with anything, or 1-D with all targets joined.
        input_lengths: (B,) valid frames.
        target_lengths: (B,) labels.
        kd_weight: weight of ``kd``; 0 removes it.
        ctc_weight: weight of CTC; 0 removes it.
        blank: class of the blank.
        labelled: (B,) bool, None for all; where False, the utterance has no CTC term.
        zero_infinity: as in :func:`seqkd.ctc.ctc_loss`.
        reduction: "none" gives (B,), "sum" adds utterances up, "mean" divides all terms by B.

    Returns:
        The total and its unweighted terms ``ctc`` and ``kd``.

    Raises:
        ValueError: shapes that disagree, a length or label out of range (the utterance is named), an unknown
            reduction, a weight that is negative or not finite.
    """
    check_logits("student_logits", student_logits, "BTC")
    return of_tensors(
        {"ctc": (Ctc(zero_infinity=zero_infinity), ctc_weight), "kd": (kd, kd_weight)},
        student_logits[None],
        {} if teacher_logits is None else {"teacher": teacher_logits},
        targets,
        input_lengths,
        target_lengths,
        blank=blank,
        labelled=labelled,
        reduction=reduction,
    )


def of_tensors(
    terms: Mapping[str, tuple[Term, float]],
    logits: Tensor,
    others: Mapping[str, Tensor],
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    blank: int,
    labelled: IntSequence | None,
    reduction: str,
    layers: Mapping[str, Tensor] | None = None,
    checked: bool = False,
) -> DistillationLoss:
    """Weigh terms of tensors: ``logits`` (P, B, T, C), and of ``layers`` by name; ``others`` (B, T, C) or (P, B, T, C).

    ``checked`` means that the caller has checked lengths and labels.
    """
    form = shape_targets if checked else check_targets
    targets, frames, lengths = form(logits, targets, input_lengths, target_lengths, blank=blank, labelled=labelled)
    if labelled is not None:
        labelled = torch.as_tensor(labelled, dtype=torch.bool)
    made = {name: Outputs(one if one.ndim == 4 else one[None], frames) for name, one in others.items()}
    inner = {name: Outputs(one, frames) for name, one in (layers or {}).items()}
    student = Outputs(logits, frames, inner)
    return weigh(terms, student, made, Labels(targets, lengths, labelled, blank), reduction)
