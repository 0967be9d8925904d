"""Cross-entropy with the target of each position.

Letters: P passes, B items, T target positions (1 for a classifier), C classes.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.losses.objective import Term
from seqkd.losses.outputs import IGNORE, Labels, Outputs
from seqkd.settings import share


class CrossEntropy(Term):
    """Σ −log P_y over valid positions, averaged over passes, from the log-softmax that other terms share.

    Args:
        smoothing: ε of uniform label smoothing, from 0 to 1. `seqkd.losses.LabelSmoothing` is the same in less memory,
            for an objective of that term alone.
        **options: ``weight``, ``layer``: see :class:`Term`.
    """

    def __init__(self, *, smoothing: float = 0.0, **options: object) -> None:
        super().__init__(**options)
        self.smoothing = share(smoothing=smoothing)

    def forward(self, student: Outputs, other: None, labels: Labels) -> Tensor:
        """(B,) nats."""
        targets = labels.positions(student.logits.shape[2])  # (B, T)
        valid = student.mask & (targets != IGNORE)
        places = targets.clamp(min=0).expand(student.logits.shape[:3])[..., None]
        losses = -student.log_probs.gather(-1, places)[..., 0]  # (P, B, T)
        if self.smoothing:
            losses = (1 - self.smoothing) * losses - self.smoothing * student.log_probs.mean(-1)
        return losses.masked_fill(~valid, 0.0).sum(-1).mean(0)
