"""Adaptive label smoothing beside CTC: on the frames where the units of the transcript are.

Letters: P passes, B utterances, T frames, C classes.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.ctc.alignment import forced_alignment
from seqkd.losses.label_smoothing import AdaptiveSmoothing
from seqkd.losses.outputs import IGNORE, Labels, Outputs


class AlignedSmoothing(AdaptiveSmoothing):
    """:class:`AdaptiveSmoothing` at the frames of the student's own forced alignment that are not blank.

    The frames of the blank, which are sure and many, would drive the amount of smoothing to 1. Of the first pass alone.
    Notes the mean amount of smoothing, ``alpha``, and the means ``hard`` and ``soft``.
    """

    def forward(self, student: Outputs, past: Outputs | None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        logits = student.logits[0]  # (B, T, C)
        lengths = labels.lengths
        if labels.labelled is not None:
            lengths = lengths.where(labels.labelled.to(lengths.device), 0)
        path = forced_alignment(logits, labels.targets, student.lengths, lengths, blank=labels.blank)
        spikes = path.masked_fill(path == labels.blank, IGNORE)
        return self.smoothed(logits, spikes, None if past is None else past.logits).sum(-1)
