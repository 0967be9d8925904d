"""Delayed distillation: the student may be some frames later than the teacher.

Letters: B utterances, T frames, C classes, S labels of the longest target, K delays.
"""

import torch
from torch import Tensor

from seqkd.ctc.arguments import IntSequence, check_choice, check_logits
from seqkd.losses.base import CtcBatch, DistillationLoss, check_distance, combine, frame_distance

MATCHES = ("min", "mean", "softmin")


def delayed_kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    max_delay: int,
    match: str = "min",
    blank: int = 0,
    kd_weight: float,
    ctc_weight: float = 1.0,
    distance: str = "kl",
    temperature: float = 1.0,
    labelled: IntSequence | None = None,
    zero_infinity: bool = False,
    reduction: str = "mean",
) -> DistillationLoss:
    """CTC, and the teacher's frame t matched with the student's frame t + k, over delays k = 0..max_delay.

    For an utterance of L frames, D_k = L/(L−k) · Σ_{t < L−k} D(p_T[t], p_S[t+k]): the factor keeps every
    delay on the scale of a sum over L frames, else the largest delay would win by having the fewest. Delays
    of L or more are left out. The ``kd`` term is min_k D_k (default), their mean, or −log mean_k exp(−D_k)
    ("softmin").

    Args:
        student_logits: (B, T, C).
        teacher_logits: (B, T, C); gets no gradient.
        targets: (B, S) padded with anything, or 1-D with all targets joined.
        input_lengths: (B,) valid frames.
        target_lengths: (B,) labels.
        max_delay: largest delay, in frames of the logits. 0 is :func:`seqkd.losses.ctc_kd_loss`.
        match: "min", "mean" or "softmin", per utterance.
        blank: class of the blank.
        kd_weight: weight of the distillation term; 0 removes it.
        ctc_weight: weight of the CTC term; 0 removes it.
        distance: D, "kl" (default) or "squared", as in :func:`seqkd.losses.cons_kd_loss`.
        temperature: τ of both distributions in D.
        labelled: (B,) bool, None for all; where False, the utterance has no CTC term.
        zero_infinity: as in :func:`seqkd.losses.ctc_loss`.
        reduction: "none" gives (B,), "sum" adds utterances up, "mean" divides all terms by B.

    Returns:
        The total and its unweighted terms ``ctc`` and ``kd``.

    Raises:
        ValueError: shapes that disagree, a length or label out of range, an unknown option, a negative weight
            or delay.

    Paper: Delayed-KD, Interspeech 2025, arXiv 2505.22069 (a range of delays relative to a non-streaming
    teacher). The paper's exact form is not reproduced: one delay per utterance and the factor are choices
    made here.
    """
    check_logits("student_logits", student_logits, "BTC")
    check_distance(distance, temperature)
    check_choice("match", match, MATCHES)
    if max_delay < 0:
        raise ValueError(f"max_delay must not be negative, got {max_delay}")
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
        teacher, student = batch.teacher(teacher_logits), batch.log_probs[0]  # (B, T, C)
        lengths = batch.mask.sum(1)  # (B,)
        frames = student.shape[1]
        delayed = []
        for k in range(min(max_delay, max(frames - 1, 0)) + 1):
            distances = frame_distance(teacher[:, : frames - k], student[:, k:], distance, temperature)
            total = distances.masked_fill(~batch.mask[:, k:], 0.0).sum(-1)
            delayed.append(total * lengths / (lengths - k).clamp(min=1))
        delays = torch.arange(len(delayed), device=lengths.device)[:, None]
        allowed = (delays < lengths) | (delays == 0)  # (K, B)
        return _match(torch.stack(delayed), allowed, match)

    return combine(reduction, batch.log_probs, ctc=(ctc_weight, batch.ctc), kd=(kd_weight, kd))


def _match(delayed: Tensor, allowed: Tensor, match: str) -> Tensor:
    """One distance (B,) from those at each delay (K, B); delay 0 is always allowed."""
    if match == "min":
        return delayed.masked_fill(~allowed, torch.inf).min(0).values
    count = allowed.sum(0)
    if match == "mean":
        return delayed.masked_fill(~allowed, 0.0).sum(0) / count
    return count.to(delayed).log() - (-delayed).masked_fill(~allowed, -torch.inf).logsumexp(0)
