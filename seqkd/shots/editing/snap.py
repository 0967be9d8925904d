"""Cuts moved onto beats, in the order they have, with no shot emptied and none made too short.

A model that looks at seconds leaves a cut half a second of freedom, and an editor cuts on the beat. Every cut has a
few places it could go: beats near it, its own frame, and a frame that is sure to leave all shots their length. Of all
ways to place all cuts the cheapest is taken, by dynamic programming, so that where cuts crowd they share the beats.

What a way costs, in order of weight: (1) shots shorter than the minimum, (2) the distance that cuts move, where a cut
off the grid pays ``reach`` extra and so goes to a beat that is nearer than that.

Legend: N cuts (N + 1 shots), K places of a cut; positions and lengths in frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seqkd.errors import DataError

_NEAR = 6  # beats to either side of a cut that are tried


def snap(
    cuts: Sequence[int], frames: int, grids: Sequence[Sequence[int]] = (), *, minimum: int = 1, reach: int | None = None
) -> list[int]:
    """Move cuts onto a grid.

    Args:
        cuts: (N,) where the model would cut, ascending.
        frames: Length of the song; every cut stays inside of it.
        grids: Positions to prefer, the best first: downbeats, then beats. None at all leaves every cut on its frame.
        minimum: Length that every shot should have; kept wherever the shots fit into the song at all with it.
        reach: A cut farther than this from the grid keeps its frame. By default the median step of the grid.

    Returns:
        (N,) strictly ascending, between 1 and ``frames`` - 1.

    Raises:
        DataError: Cuts are not in order, or there are more shots than frames.
    """
    wanted = np.asarray(cuts, np.int64)
    count = len(wanted)
    if not count:
        return []
    if (np.diff(wanted) < 0).any():
        raise DataError("Cuts are not in order; expected ascending frames.")
    if count + 1 > frames:
        raise DataError(f"{count + 1} shots do not fit into {frames} frames; expected one frame a shot, at least.")
    # The minimum that all shots together can have.
    minimum = max(1, min(int(minimum), frames // (count + 1)))
    sure = spread(wanted, frames, minimum)
    lines = [np.unique(np.asarray(grid, np.int64)) for grid in grids]
    lines = [line[(line > 0) & (line < frames)] for line in lines]
    lines = [line for line in lines if len(line)]
    steps = [min(median_step(line) if reach is None else reach, frames) for line in lines]
    before: np.ndarray | None = None
    places: list[np.ndarray] = []
    ways: list[np.ndarray] = []
    for number in range(count):
        here, costs = _places(int(wanted[number]), int(sure[number]), lines, steps, frames)
        if before is None:
            best, way = _step(np.zeros(1, np.int64), np.zeros(1, np.int64), here, minimum)
        else:
            best, way = _step(places[-1], before, here, minimum)
        before = best + costs
        places.append(here)
        ways.append(way)
    assert before is not None
    before = before + _shortfall(frames - places[-1], minimum)
    chosen = int(before.argmin())
    result = []
    for here, way in zip(reversed(places), reversed(ways), strict=True):
        result.append(int(here[chosen]))
        chosen = int(way[chosen])
    return result[::-1]


def spread(cuts: np.ndarray, frames: int, minimum: int) -> np.ndarray:
    """(N,) cuts moved as little as two sweeps need, so that every shot has the minimum; the shots must fit with it."""
    steps = minimum * np.arange(1, len(cuts) + 1)
    # From the left p_i ≥ p_{i−1} + minimum, a running maximum once the steps are taken off; then from the right.
    pushed = np.maximum.accumulate(np.maximum(cuts, steps) - steps) + steps
    room = frames - minimum * np.arange(len(cuts), 0, -1)
    return np.minimum(pushed, room)


def median_step(grid: np.ndarray) -> int:
    """Typical distance of the grid's neighbours; of a grid of one position, as far as anything goes."""
    return int(np.median(np.diff(grid))) if len(grid) > 1 else int(np.iinfo(np.int32).max)


def _places(
    cut: int, sure: int, lines: list[np.ndarray], steps: list[int], frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """(K,) ascending places of a cut, and (K,) what each costs."""
    costs: dict[int, int] = {}
    extra = 0
    for line, step in zip(lines, steps, strict=True):
        for around in {cut, sure}:
            middle = int(np.searchsorted(line, around))
            for place in line[max(0, middle - _NEAR) : middle + _NEAR].tolist():
                if abs(place - cut) <= step:
                    costs.setdefault(place, extra + abs(place - cut))
        extra += step
    for place in {min(max(cut, 1), frames - 1), sure}:
        costs.setdefault(place, extra + abs(place - cut))
    here = np.array(sorted(costs), np.int64)
    return here, np.array([costs[place] for place in here.tolist()], np.int64)


def _shortfall(lengths: np.ndarray, minimum: int) -> np.ndarray:
    """What shots of these lengths cost: nothing, or very much, or too much for any way where one would be empty."""
    return np.where(lengths >= minimum, 0, np.where(lengths > 0, 1 << 40, 1 << 56))


def _step(before: np.ndarray, costs: np.ndarray, here: np.ndarray, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    """(K,) the least cost of the cuts before each place, and (K,) which of their places it comes from."""
    totals = costs[:, None] + _shortfall(here[None, :] - before[:, None], minimum)  # (K before, K here)
    return totals.min(0), totals.argmin(0)
