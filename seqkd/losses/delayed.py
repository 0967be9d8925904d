"""Delayed distillation: the student may be some frames later than the teacher.

Letters: P passes, B utterances, T frames, C classes, S labels of the longest target, K delays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqkd.ctc.arguments import IntSequence
from seqkd.losses.base import DISTANCES, DistillationLoss, check_teacher, kl_divergence, whole
from seqkd.losses.beside_ctc import beside_ctc
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.settings import more_than, one_of

MATCHES = ("min", "mean", "softmin")


class Delayed(Term):
    """The teacher's frame t matched with the student's frame t + k, over delays k = 0 … ``max_delay``.

    For an utterance of L frames, D_k = L/(L−k) · Σ_{t < L−k} D(p_T[t], p_S[t+k]): the factor keeps every
    delay on the scale of a sum over L frames, else the largest delay would win by having the fewest. Delays
    of L or more are left out. The term is min_k D_k (default), their mean, or −log mean_k exp(−D_k) ("softmin"),
    for each utterance and pass, averaged over passes.

    Args:
        max_delay: largest delay, in frames of the logits. 0 is :class:`seqkd.losses.FrameKd`.
        match: "min", "mean" or "softmin".
        distance: D, "kl" (default) or "squared", as in :class:`seqkd.losses.FrameKd`.
        temperature: τ of both distributions in D.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`.

    Paper: Delayed-KD, Interspeech 2025, arXiv 2505.22069 (a range of delays relative to a non-streaming
    teacher). The paper's exact form is not reproduced: one delay per utterance and the factor are choices
    made here.
    """

    source = "teacher"

    def __init__(
        self,
        *,
        max_delay: int = 4,
        match: str = "min",
        distance: str = "kl",
        temperature: float = 1.0,
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.max_delay, self.match = whole(0, max_delay=max_delay), one_of(MATCHES, match=match)
        self.distance, self.temperature = one_of(DISTANCES, distance=distance), more_than(0, temperature=temperature)

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        check_teacher(teacher.logits, student.logits)
        theirs, ours = teacher.tempered(self.temperature), student.tempered(self.temperature)  # (1 or P, B, T, C)
        lengths, frames = student.mask.sum(1), ours.shape[2]  # (B,)
        delayed = []
        for k in range(min(self.max_delay, max(frames - 1, 0)) + 1):
            distances = self.distances(theirs[:, :, : frames - k], ours[:, :, k:])  # (P, B, T - k)
            total = distances.masked_fill(~student.mask[:, k:], 0.0).sum(-1)
            delayed.append(total * lengths / (lengths - k).clamp(min=1))
        delays = torch.arange(len(delayed), device=lengths.device)[:, None]
        allowed = ((delays < lengths) | (delays == 0))[:, None]  # (K, 1, B)
        return _match(torch.stack(delayed), allowed, self.match).mean(0)

    def distances(self, theirs: Tensor, ours: Tensor) -> Tensor:
        """Return the distance (..., T) of tempered log-probabilities (..., T, C)."""
        if self.distance == "squared":
            return (theirs.exp() - ours.exp()).square().sum(-1)
        return self.temperature**2 * kl_divergence(theirs, ours)


def delayed_kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    max_delay: int,
    kd_weight: float,
    match: str = "min",
    distance: str = "kl",
    temperature: float = 1.0,
    **options: object,
) -> DistillationLoss:
    """CTC, and the teacher's frame t matched with the student's t + k: ctc_weight · CTC + kd_weight · kd.

    For an utterance of L frames D_k = L/(L−k) · Σ_{t < L−k} D(p_T[t], p_S[t+k]), k = 0 … ``max_delay``, less than L. kd
    is min_k D_k, their mean, or −log mean_k exp(−D_k).

    Args:
        student_logits: (B, T, C), in any floating dtype.
        teacher_logits: (B, T, C) of the teacher; gets no gradient.
        targets: (B, S) labels padded with anything, or 1-D with all targets joined.
        input_lengths: (B,) valid frames; what stands in padded frames changes nothing.
        target_lengths: (B,) labels.
        max_delay: greatest delay in frames of the logits, a whole number from 0, which is frame distillation.
        kd_weight: weight of ``kd``; 0 removes it.
        match: "min" (default), "mean" or "softmin".
        distance: D: "kl" (default), τ² KL(p_T^τ ‖ p_S^τ), or "squared", Σ_c (p_T^τ − p_S^τ)².
        temperature: τ of both, 1 by default.
        **options: ``ctc_weight`` (1: weight of CTC on ``targets``; 0 removes it), ``blank`` (0: class of the blank),
            ``labelled`` (None; or (B,) bool, False for an utterance without a transcript, whose CTC is 0),
            ``zero_infinity`` (False: a target that cannot be aligned gives inf; True: 0), ``reduction`` ("mean" divides
            all terms by B; "sum" adds utterances up; "none" gives (B,)).

    Returns:
        The total and its unweighted terms ``ctc`` and ``kd``, never below 0; float64 for float64 logits, else float32.

    Raises:
        ValueError: shapes that disagree, a length or label out of range (the utterance is named), an unknown
            reduction, a weight that is negative or not finite.
        ConfigError: a delay, match, distance or temperature that cannot be.

    Paper: Delayed-KD, Interspeech 2025, arXiv 2505.22069 (a range of delays relative to a teacher that does not
    stream). Chosen: one delay an utterance, and the factor, which keeps all delays on the scale of L frames; the
    paper's exact form is not reproduced.
    """
    kd = Delayed(max_delay=max_delay, match=match, distance=distance, temperature=temperature)
    return beside_ctc(
        kd, student_logits, teacher_logits, targets, input_lengths, target_lengths, kd_weight=kd_weight, **options
    )


def _match(delayed: Tensor, allowed: Tensor, match: str) -> Tensor:
    """One distance (P, B) from those at each delay (K, P, B); delay 0 is always allowed."""
    if match == "min":
        return delayed.masked_fill(~allowed, torch.inf).min(0).values
    count = allowed.sum(0)
    if match == "mean":
        return delayed.masked_fill(~allowed, 0.0).sum(0) / count
    return count.to(delayed).log() - (-delayed).masked_fill(~allowed, -torch.inf).logsumexp(0)
