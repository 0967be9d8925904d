"""When each recognised word was spoken, and how sure the model is of it.

Letters: T' encoder frames, C classes, S units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqkd.ctc.alignment import forced_alignment
from seqkd.decoding.confidence import token_confidences, word_confidences


@dataclass(frozen=True)
class Word:
    """A word, its ``start`` and ``end`` in seconds of the recording, and its ``confidence``, 0 to 1."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class FrameTimes:
    """Where encoder frames lie in time: ``shift`` seconds apart, the first with its centre at ``centre``."""

    shift: float
    centre: float

    def start(self, frame: int) -> float:
        """Seconds at which a frame begins, half-way to the centre of the one before; 0 for the first."""
        return max(0.0, self.centre + (frame - 0.5) * self.shift)


def timed_words(
    logits: Tensor,
    tokens: Sequence[int],
    decode: Callable[[Sequence[int]], str],
    times: FrameTimes,
    *,
    blank: int = 0,
) -> list[Word]:
    """Words of a decoded sequence with times and confidences.

    A word lasts from the first frame of its first unit to the last frame of its last one, on the most probable
    alignment of all units: `seqkd.deploy.boundaries.widen` finds the sound around these frames.

    Args:
        logits: (T', C) of one utterance, without padding.
        tokens: S units, decoded from ``logits`` by any search.
        decode: turns units into text; the word a unit belongs to is the last one of the text up to it.
        times: of the T' frames.
        blank: index of the blank.
    """
    if not tokens:
        return []
    path = forced_alignment(
        logits[None],
        torch.tensor([list(tokens)]),
        torch.tensor([len(logits)]),
        torch.tensor([len(tokens)]),
        blank=blank,
    )
    sure = word_confidences(tokens, token_confidences(logits, tokens, blank=blank), decode)
    texts = decode(tokens).split()
    first: list[int | None] = [None] * len(texts)
    last = [0] * len(texts)
    before = ""
    for position, (begin, end) in enumerate(unit_spans(path[0], blank)):
        so_far = decode(tokens[: position + 1]).strip()
        word = len(so_far.split()) - 1
        if 0 <= word < len(texts) and so_far != before:  # a bare word boundary has no sound
            first[word] = begin if first[word] is None else first[word]
            last[word] = end
        before = so_far
    return [
        Word(text, times.start(begin), times.start(end), confidence)
        for text, begin, end, confidence in zip(texts, first, last, sure, strict=True)
        if begin is not None
    ]


def unit_spans(path: Tensor, blank: int = 0) -> list[tuple[int, int]]:
    """First frame, and the one after the last, of each unit on an alignment path (T',) of classes."""
    labels, counts = torch.unique_consecutive(path, return_counts=True)
    ends = counts.cumsum(0)
    return [
        (end - count, end)
        for label, count, end in zip(labels.tolist(), counts.tolist(), ends.tolist(), strict=True)
        if label != blank
    ]
