"""Adaptive label smoothing beside CTC: on the frames where the units of the transcript are.

Letters: P passes, B utterances, T frames, C classes.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.ctc.alignment import forced_alignment
from seqkd.ctc.frames import frame_mask
from seqkd.losses.label_smoothing import AdaptiveSmoothing
from seqkd.losses.outputs import IGNORE, Labels, Outputs


class AlignedSmoothing(AdaptiveSmoothing):
    """:class:`AdaptiveSmoothing` at the frames of the student's own forced alignment that are not blank.

    The frames of the blank, which are sure and many, would drive the amount of smoothing to 1. Of the first pass alone.
    An utterance without a transcript, or with fewer frames than its transcript takes, has no such frames: it counts 0.
    Notes the mean amount of smoothing, ``alpha``, and the means ``hard`` and ``soft``.

    Args:
        **options: ``prior``, ``ema_decay``, ``cap`` and ``backend`` of :class:`AdaptiveSmoothing`; ``weight``,
            ``layer``, ``other_layer``: see :class:`Term`.

    Raises:
        ConfigError: a setting out of range; in an `Objective`, mixed labels or class weights.

    Paper: adaptive label smoothing, EMNLP 2022, arXiv 2210.13459, which is of models that give target tokens. Chosen:
    where its positions are beside CTC.
    """

    def forward(self, student: Outputs, past: Outputs | None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        logits = student.logits[0]  # (B, T, C)
        lengths = alignable(labels, student.lengths)
        path = forced_alignment(logits, labels.targets, student.lengths, lengths, blank=labels.blank)
        spikes = path.masked_fill(path == labels.blank, IGNORE)
        return self.smoothed(logits, spikes, None if past is None else past.logits).sum(-1)


def alignable(labels: Labels, frames: Tensor) -> Tensor:
    """The lengths of transcripts (B,), 0 of one that does not fit its frames (B,): a frame a unit, and a blank between
    two that are equal.
    """
    lengths, targets = labels.counts, labels.targets
    pairs = (targets[:, 1:] == targets[:, :-1]) & frame_mask(lengths - 1, max(targets.shape[1] - 1, 0), targets.device)
    needed = lengths.to(targets.device) + pairs.sum(1)
    return lengths.where((needed <= frames.to(targets.device)).to(lengths.device), 0)
