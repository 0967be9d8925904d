"""Fewest errors between words with times, and between one reference and several streams.

Values of a table are errors * 2^32 + substitutions, so that one number compares both, in this order.

Legend: N reference words, M hypothesis words; K streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqkd.errors import DataError

ERROR = 1 << 32
_FAR = 1 << 60
_MOST = 1 << 26  # cells of the table of several streams: 0.5 GiB each of three


@dataclass(frozen=True)
class TimedWords:
    """Words in order.

    Attributes:
        ids: (N,) words by number.
        spans: (N, 2) from when to when each may be aligned with another, or None where times do not matter.
    """

    ids: np.ndarray
    spans: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)


def _across(word: int, span: np.ndarray | None, hypothesis: TimedWords) -> np.ndarray:
    """(M,) what the alignment of a reference word with each hypothesis word costs: nothing, an error, or too much."""
    cost = np.where(hypothesis.ids == word, 0, ERROR + 1)
    if span is not None and hypothesis.spans is not None:
        together = (span[0] < hypothesis.spans[:, 1]) & (span[1] > hypothesis.spans[:, 0])
        cost = np.where(together, cost, _FAR)
    return cost


def distance(reference: TimedWords, hypothesis: TimedWords) -> int:
    """Return the least value; words are aligned only if their times overlap."""
    return int(streams(([reference]), [hypothesis])[0])


def streams(utterances: Sequence[TimedWords], hypotheses: Sequence[TimedWords]) -> tuple[int, list[int]]:
    """Assign each utterance, in their order, to a stream so that there are fewest errors (ORC).

    The table has a cell for every combination of places in the K streams (Sklyar et al., ICASSP 2022; von Neumann et
    al., ICASSP 2023): its size is the product of their lengths.

    Returns:
        The least value, and the stream of each utterance.

    Raises:
        DataError: that would be too large.
    """
    shape = tuple(len(stream) + 1 for stream in hypotheses)
    cells = int(np.prod(shape, dtype=float))
    if cells * (len(utterances) if len(shape) > 1 else 1) > 64 * _MOST or cells > _MOST:
        lengths = " x ".join(str(size - 1) for size in shape)
        raise DataError(f"streams of {lengths} words are too long for this measure; score shorter sessions.")
    table = sum(np.arange(size).reshape([-1 if k == axis else 1 for k in range(len(shape))])
                for axis, size in enumerate(shape)) * np.int64(ERROR)  # fmt: skip
    table = np.broadcast_to(table, shape).copy()
    origins: list[tuple[np.ndarray, list[np.ndarray]]] = []
    several = len(shape) > 1
    for utterance in utterances:
        best, chosen = None, None
        moves = []
        for axis, stream in enumerate(hypotheses):
            updated, start = _update(table, axis, utterance, stream, several)
            moves.append(start)
            if best is None:
                best, chosen = updated, np.zeros(shape, np.uint8) if several else None
            else:
                better = updated < best
                best = np.where(better, updated, best)
                chosen[better] = axis
        table = best
        if several:
            origins.append((chosen, moves))
    at = [size - 1 for size in shape]
    value = int(table[tuple(at)])
    assigned = [0] * len(utterances)
    for number in range(len(origins) - 1, -1, -1):
        chosen, moves = origins[number]
        axis = int(chosen[tuple(at)])
        assigned[number] = axis
        at[axis] = int(moves[axis][tuple(at)])
    return value, assigned


def _update(
    table: np.ndarray, axis: int, utterance: TimedWords, stream: TimedWords, trace: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Align an utterance along one axis; returns the new table and, if asked for, where each cell's path came in."""
    row = np.moveaxis(table, axis, 0)
    size = [-1] + [1] * (row.ndim - 1)
    ahead = (np.arange(row.shape[0]) * ERROR).reshape(size)
    row = row - ahead  # less the insertions along the row, so that going on costs nothing
    start = np.broadcast_to(np.arange(row.shape[0], dtype=np.int32).reshape(size), row.shape) if trace else None
    for index, word in enumerate(utterance.ids.tolist()):
        across = _across(word, None if utterance.spans is None else utterance.spans[index], stream).reshape(size)
        best = row + ERROR
        diagonal = row[:-1] + across - ERROR
        if trace:
            came = start.copy()
            better = diagonal <= best[1:]
            came[1:] = np.where(better, start[:-1], start[1:])
        np.minimum(best[1:], diagonal, out=best[1:])
        lowest = np.minimum.accumulate(best, axis=0)
        if trace:
            places = np.where(best == lowest, np.arange(row.shape[0]).reshape(size), 0)
            start = np.take_along_axis(came, np.maximum.accumulate(places, axis=0), axis=0)
        row = lowest
    if trace and not len(utterance):
        start = start.copy()
    return np.moveaxis(row + ahead, 0, axis), np.moveaxis(start, 0, axis) if trace else None
