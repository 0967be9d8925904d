"""Long alignments without a compiler: what bits.h does, with Python's integers as words of any length.

A column of the table of distances is two integers, one bit a row: where the distance rises by one from row to row, and
where it falls (Myers, JACM 1999, in the form of Hyyrö 2003), so that Python's own time is spent per column and not per
cell. The table is of both sequences turned round: row i and column j stand for the last i tokens of the reference and
the last j of the hypothesis. Then the cells on paths with the fewest errors are gone over from the first one, (N, M),
counting the fewest substitutions so far; they are few, but where a text repeats itself.

Legend: N reference tokens (rows), M hypothesis tokens (columns).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from seqkd.scoring.words import DELETION, INSERTION, MATCH, SUBSTITUTION


class _Columns:
    """The steps of least distance from each cell, column by column from the last; made anew, a stretch at a time."""

    def __init__(self, ref: Sequence[int], hyp: Sequence[int]) -> None:
        self.all_rows = (1 << len(ref)) - 1
        places: dict[int, list[int]] = {}
        for row, token in enumerate(reversed(ref)):
            places.setdefault(token, []).append(row)
        self.masks = {token: sum(1 << row for row in rows) for token, rows in places.items()}
        self.hyp = hyp[::-1]
        self.stretch = max(1, math.isqrt(len(hyp)))
        self.states = []
        state = (self.all_rows, 0)
        for column, token in enumerate(self.hyp):
            if column % self.stretch == 0:
                self.states.append(state)
            state = self._advance(token, *state)[:2]

    def _advance(self, token: int, up: int, down: int) -> tuple[int, int, int, int, int]:
        """One column further: where the next rises and falls, matches, steps on, steps to the side."""
        equal = self.masks.get(token, 0)
        zero = ((((equal & up) + up) ^ up) | equal | down) & self.all_rows
        side = (down | ~(zero | up)) & self.all_rows
        falls = zero & up
        shifted, falls = (side << 1 | 1) & self.all_rows, (falls << 1) & self.all_rows
        up = (falls | ~(zero | shifted)) & self.all_rows
        return up, zero & shifted, equal, (equal | ~zero) & self.all_rows, side

    def backwards(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield of columns M to 1 and 0: where deletions, matches, matches or substitutions, insertions are best."""
        while self.states:
            begin, state = self.stretch * (len(self.states) - 1), self.states.pop()
            made = []
            for token in self.hyp[begin : begin + self.stretch]:
                up, down, *steps = self._advance(token, *state)
                state = up, down
                made.append((up, *steps))
            yield from reversed(made)
        yield self.all_rows, 0, 0, 0


def align_long(ref: Sequence[int], hyp: Sequence[int]) -> np.ndarray:
    """Return (K,) operations with the fewest errors and, among those, fewest substitutions.

    Args:
        ref: (N,) tokens by number, at least one.
        hyp: (M,) those of the hypothesis, at least one.
    """
    n = len(ref)
    across: dict[int, int] = {}  # fewest substitutions of the steps into this column, by row
    side: dict[int, int] = {n: 0}
    noted: list[tuple[np.ndarray, np.ndarray]] = []  # by column from M: rows, descending, and the steps to them
    for up, equal, on, right in _Columns(ref, hyp).backwards():
        rows, steps, next_across, next_side = [], [], {}, {}
        entered = sorted(across.keys() | side.keys())
        row = value = None  # the cell above, if a deletion is best there
        while entered or value is not None:
            if value is None or row == 0:
                if not entered:
                    break
                row, down = entered.pop(), None
            else:
                row, down = row - 1, value
                if entered and entered[-1] == row:
                    entered.pop()
            best, step = across.get(row), MATCH
            for other, cost in ((INSERTION, side.get(row)), (DELETION, down)):
                if cost is not None and (best is None or cost < best):
                    best, step = cost, other
            rows.append(row)
            steps.append(step)
            value = None
            if row == 0:
                next_side[0] = best
                continue
            if on >> (row - 1) & 1:
                next_across[row - 1] = best + 1 - (equal >> (row - 1) & 1)
            if right >> (row - 1) & 1:
                next_side[row] = best
            if up >> (row - 1) & 1:
                value = best
        noted.append((np.array(rows, np.int32), np.array(steps, np.uint8)))
        across, side = next_across, next_side
    return _trace(ref, hyp, noted)


def _trace(ref: Sequence[int], hyp: Sequence[int], noted: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Read the noted steps back from the last cell, which is the end of both."""
    n, m = len(ref), len(hyp)
    ops, i, j = [], 0, 0
    while i < n or j < m:
        rows, steps = noted[m - j]
        op = int(steps[np.searchsorted(-rows, -i)])
        if op == MATCH and ref[n - 1 - i] != hyp[m - 1 - j]:
            op = SUBSTITUTION
        ops.append(op)
        i += op != INSERTION
        j += op != DELETION
    return np.array(ops[::-1], np.uint8)
