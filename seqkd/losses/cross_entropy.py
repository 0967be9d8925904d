"""Cross-entropy with the target of each position.

Letters: P passes, B items, T target positions (1 for a classifier), C classes.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.losses.objective import Term
from seqkd.losses.outputs import IGNORE, Labels, Outputs
from seqkd.settings import share


class CrossEntropy(Term):
    """Σ_t Σ_c −w_c ỹ_c log P_c over valid positions, averaged over passes, from the log-softmax that others share.

    ỹ is the one-hot target, smoothed, and mixed where MixUp has mixed the input: share · y + (1 − share) · y'. It is
    linear in ỹ. w are the labels' class weights, 1 without any. Sums divided by the number of positions, never by the
    sum of the weights, so that a mixture has the weight of its parts: torch's value for probability targets, which is
    Σ w_y / N times the one that it gives for indices.

    Args:
        smoothing: ε of uniform label smoothing, from 0 to 1. `seqkd.losses.LabelSmoothing` is the same in less memory,
            for an objective of that term alone.
        **options: ``weight``, ``layer``: see :class:`Term`.
    """

    def __init__(self, *, smoothing: float = 0.0, **options: object) -> None:
        super().__init__(**options)
        self.smoothing = share(smoothing=smoothing)

    def forward(self, student: Outputs, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,) in nats."""
        targets = labels.positions(student.logits.shape[2])  # (B, T)
        valid = student.mask & (targets != IGNORE)
        log_probs = student.log_probs  # (P, B, T, C)
        if labels.class_weights is not None:
            log_probs = log_probs * labels.class_weights.to(log_probs)
        losses = _picked(log_probs, targets)  # (P, B, T)
        if labels.mixed is not None:
            other_losses = _picked(log_probs, labels.mixed[:, : targets.shape[1]])
            part = labels.share.to(losses)[:, None]
            losses = part * losses + (1 - part) * other_losses
        if self.smoothing:
            losses = (1 - self.smoothing) * losses - self.smoothing * log_probs.mean(-1)
        return losses.masked_fill(~valid, 0.0).sum(-1).mean(0)


def _picked(log_probs: Tensor, targets: Tensor) -> Tensor:
    """Return −log P of targets (B, T): (P, B, T)."""
    return -log_probs.gather(-1, targets.clamp(min=0).expand(log_probs.shape[:3])[..., None])[..., 0]
