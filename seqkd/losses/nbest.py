"""Sequence-level distillation: CTC on the teacher's N best hypotheses.

Letters: B utterances, T frames, C classes, S labels of the longest target, N hypotheses, U labels of the
longest hypothesis.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from seqkd.ctc.arguments import IntSequence, check_logits, check_targets
from seqkd.losses.base import CtcBatch, DistillationLoss, combine


def nbest_ctc_loss(
    student_logits: Tensor,
    hypotheses: Tensor,
    hypothesis_lengths: Tensor,
    hypothesis_scores: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    blank: int = 0,
    kd_weight: float,
    ctc_weight: float = 1.0,
    temperature: float = 1.0,
    labelled: IntSequence | None = None,
    zero_infinity: bool = False,
    reduction: str = "mean",
) -> DistillationLoss:
    """CTC on the reference, and CTC on the teacher's hypotheses, weighed by what the teacher thinks of them.

    The ``kd`` term is Σ_n w_n · CTC(student, h_n), w = softmax(scores / temperature) over the utterance's own
    hypotheses: the cross-entropy between teacher and student over sequences, restricted to the N best.

    Args:
        student_logits: (B, T, C).
        hypotheses: (B, N, U) labels, padded with anything.
        hypothesis_lengths: (B, N) labels of each.
        hypothesis_scores: (B, N) log-probabilities (any additive constant per utterance); -inf where an
            utterance has fewer than N hypotheses. Gets no gradient. An utterance without any has a ``kd`` of
            0. Keep it on the CPU: on the GPU it costs a synchronisation.
        targets: (B, S) padded with anything, or 1-D with all targets joined.
        input_lengths: (B,) valid frames.
        target_lengths: (B,) labels.
        blank: class of the blank.
        kd_weight: weight of the hypotheses' term; 0 removes it.
        ctc_weight: weight of CTC on the reference; 0 removes it.
        temperature: flattens (> 1) or sharpens (< 1) the weights.
        labelled: (B,) bool, None for all; where False, the utterance has no CTC term on the reference.
        zero_infinity: as in :func:`seqkd.losses.ctc_loss`; for hypotheses too.
        reduction: "none" gives (B,), "sum" adds utterances up, "mean" divides all terms by B.

    Returns:
        The total and its unweighted terms ``ctc`` and ``kd``.

    Raises:
        ValueError: shapes that disagree, a length or label out of range (hypothesis and utterance are named),
            an unknown option, a negative weight.

    Papers: Takashima, Li and Kawai, "An investigation of a knowledge distillation method for CTC acoustic
    models", ICASSP 2018, and "Investigation of sequence-level knowledge distillation methods for CTC acoustic
    models", ICASSP 2019. Their exact weighting against the reference is not reproduced.
    """
    check_logits("student_logits", student_logits, "BTC")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be finite and positive, got {temperature}")
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
        scores = hypothesis_scores.detach().cpu()
        shapes = (tuple(hypotheses.shape[:2]), tuple(hypothesis_lengths.shape), tuple(scores.shape))
        if hypotheses.dim() != 3 or len(set(shapes)) != 1 or len(scores) != len(student_logits):
            raise ValueError(
                f"hypotheses {tuple(hypotheses.shape)}, their lengths {shapes[1]} and scores {shapes[2]} "
                f"must be (B, N, U), (B, N), (B, N) with B = {len(student_logits)}"
            )
        weights = (scores.double() / temperature).softmax(1).nan_to_num(0.0)  # (B, N), all -inf gives 0
        losses = [
            weight.to(batch.log_probs) * _on_hypothesis(batch, n, hypotheses, hypothesis_lengths, weight > 0)
            for n, weight in enumerate(weights.unbind(1))
        ]
        return torch.stack(losses).sum(0)

    return combine(reduction, batch.log_probs, ctc=(ctc_weight, batch.ctc), kd=(kd_weight, kd))


def _on_hypothesis(batch: CtcBatch, n: int, hypotheses: Tensor, lengths: Tensor, present: Tensor) -> Tensor:
    """(B,) CTC on the n-th hypothesis, 0 where it is absent."""
    try:
        targets, _, target_lengths = check_targets(
            batch.log_probs,
            hypotheses[:, n],
            batch.input_lengths,
            lengths[:, n],
            blank=batch.blank,
            labelled=present,
        )
    except ValueError as error:
        raise ValueError(f"hypothesis {n}, {error}") from None
    return replace(batch, targets=targets, target_lengths=target_lengths, labelled=present).ctc()
