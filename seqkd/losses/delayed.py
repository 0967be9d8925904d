"""Delayed distillation: the student may be some frames later than the teacher.

Letters: P passes, B utterances, T frames, C classes, S labels of the longest target, K delays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqkd.ctc.arguments import IntSequence
from seqkd.losses.base import DISTANCES, DistillationLoss, check_teacher, kl_divergence
from seqkd.losses.beside_ctc import beside_ctc
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.settings import at_least, more_than, one_of

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
        self.max_delay, self.match = at_least(0, max_delay=max_delay), one_of(MATCHES, match=match)
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
    """CTC, and :class:`Delayed` as ``kd``; arguments as of :func:`seqkd.losses.beside_ctc`."""
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
