"""Cross-entropy with the target of each position.

Letters: P passes, B items, T target positions (1 for a classifier), C classes.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.losses.gold import class_weighted, gold_positions, mixed_in, picked
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
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

    Raises:
        ConfigError: labels that are not one a position, as beside CTC.
        ValueError: a target that is no class.
    """

    def __init__(self, *, smoothing: float = 0.0, **options: object) -> None:
        super().__init__(**options)
        self.smoothing = share(smoothing=smoothing)

    def forward(self, student: Outputs, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,) in nats."""
        targets, valid = gold_positions(labels, student, "CrossEntropy")  # (B, T)
        log_probs = class_weighted(student.log_probs, labels)  # (P, B, T, C)
        losses = mixed_in(lambda of: -picked(log_probs, of), targets, labels)  # (P, B, T)
        if self.smoothing:
            losses = (1 - self.smoothing) * losses - self.smoothing * log_probs.mean(-1)
        return losses.masked_fill(~valid, 0.0).sum(-1).mean(0)
