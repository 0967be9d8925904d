"""Where words begin and end in the sound around the frames in which a CTC model spells them.

A CTC model emits a unit in one frame or two, anywhere within the unit ("spikes"), so the frames of a word show
that it was spoken there, not how long it lasted. Each word is widened to the sound around it (Chosen: an
energy rule; the literature rather trains less peaky models, as in Huang et al. 2024, arXiv:2406.02560, which an
exported model is not):

- where a pause lies between two words, the first lasts until it begins and the second starts when it ends;
- where none does, both meet at the quietest moment between their frames;
- the first word starts after the last pause before it, and the last one ends at the next pause.

A pause is `PAUSE` seconds or more (at an edge of the recording, any time) below the level a quarter of the way, in
decibels, from the recording's quiet frames (10th percentile) to its loud ones (95th), smoothed over `SMOOTH` frames:
stop consonants are silent for less. ``tests/bench/export.md`` says how far off times are on speech whose word times
are known.

Letters: T feature frames, F feature bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from seqkd.deploy.words import Word

PAUSE = 0.2  # seconds
QUIET = 0.25  # of the way from the 10th to the 95th percentile
SMOOTH = 9  # feature frames


@dataclass(frozen=True)
class Sound:
    """How loud a piece is: ``level`` (T,) in natural logarithms of power, a frame every ``shift`` seconds."""

    level: np.ndarray
    shift: float

    @classmethod
    def of(cls, features: Tensor, shift: float) -> Sound:
        """Level of log-mel energies (T, F)."""
        power = features.double().exp().sum(1).numpy()
        # Ends are repeated, so that they are not quieter for being ends.
        padded = np.pad(power, SMOOTH // 2, mode="edge")
        return cls(np.log(np.convolve(padded, np.full(SMOOTH, 1 / SMOOTH), mode="valid")), shift)

    def pauses(self) -> list[tuple[float, float]]:
        """Begin and end of each pause, in seconds."""
        quiet, loud = np.percentile(self.level, [10, 95])
        below = np.concatenate([[False], self.level < quiet + QUIET * (loud - quiet), [False]])
        edges = np.flatnonzero(np.diff(below.astype(np.int8))).reshape(-1, 2)
        return [
            (begin * self.shift, end * self.shift)
            for begin, end in edges.tolist()
            if begin == 0 or end == len(self.level) or (end - begin) * self.shift >= PAUSE - 1e-9
        ]

    def quietest(self, begin: float, end: float) -> float:
        """The quietest moment from ``begin`` to ``end``, or the middle if no frame has its centre between them."""
        first, last = int(np.ceil(begin / self.shift - 0.5)), int(np.floor(end / self.shift - 0.5))
        first, last = max(first, 0), min(last, len(self.level) - 1)
        if last < first:
            return (begin + end) / 2
        return (first + int(np.argmin(self.level[first : last + 1])) + 0.5) * self.shift


def widen(words: Sequence[Word], sound: Sound) -> list[Word]:
    """Give each word the sound around it; times are seconds of the piece, and words stay in order, apart.

    No word gets shorter.
    """
    if not words:
        return []
    pauses = sound.pauses()
    length = len(sound.level) * sound.shift
    starts, ends = [w.start for w in words], [min(w.end, length) for w in words]
    if not _inside(pauses, starts[0]):
        starts[0] = max((end for _, end in pauses if end <= starts[0]), default=0.0)
    if not _inside(pauses, ends[-1]):
        ends[-1] = min((begin for begin, _ in pauses if begin >= ends[-1]), default=length)
    for left in range(len(words) - 1):
        gap = ends[left], starts[left + 1]
        between = [(max(b, gap[0]), min(e, gap[1])) for b, e in pauses if b < gap[1] and e > gap[0]]
        if between:
            ends[left], starts[left + 1] = between[0][0], between[-1][1]
        else:
            ends[left] = starts[left + 1] = sound.quietest(*gap)
    return [replace(word, start=start, end=end) for word, start, end in zip(words, starts, ends, strict=True)]


def _inside(pauses: Sequence[tuple[float, float]], moment: float) -> bool:
    return any(begin < moment < end for begin, end in pauses)
