"""A pace that an editor asks for: how many shots, and where the last cut falls, so that shots last that long.

Shots are whole, songs are not whole numbers of shots: of 82 s at a pace of 15 s five shots last 16.4 s each and six
13.7 s. From ten shots on rounding costs less than ``TOLERANCE``. Of fewer, the last cut is placed so that the shots
before it have the pace, and the last one, which the end of the song ends and no cut, is longer or shorter than they
are.

Legend: T frames (seconds), C shot classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqkd.shots.editing.decision import decide
from seqkd.shots.editing.snap import snap
from seqkd.shots.editing.timecode import FrameRate

TOLERANCE = 0.05  # of the pace, by which the mean may miss it
_AIM = 0.8 * TOLERANCE  # where the last cut is sought, so that a frame's rounding stays within
_TRIED = 6  # seconds for the last cut, the most probable ones, of which the best is taken


@dataclass(frozen=True)
class PacePlan:
    """How a pace is kept.

    Attributes:
        shots: How many.
        first: Earliest time (s) of the last cut, or None where it may be anywhere.
        latest: Latest time (s) of the last cut; of no use where ``first`` is None.
    """

    shots: int
    first: float | None = None
    latest: float = 0.0


def plan_pace(duration: float, pace: float, min_shot: float = 0.0) -> PacePlan:
    """Return how many shots a song has at a pace, and where its last cut falls.

    Args:
        duration: Of the song, in seconds.
        pace: Seconds that shots last on average; at least ``min_shot``.
        min_shot: Seconds that every shot lasts, the last one, too.
    """
    exact = duration / pace
    below = max(1, math.floor(exact))
    counts = sorted((below, below + 1), key=lambda count: abs(exact / count - 1))
    if abs(exact / counts[0] - 1) <= TOLERANCE:
        return PacePlan(counts[0])
    for count in counts:
        first, latest = ((count - 1) * pace * (1 + sign * _AIM) for sign in (-1, 1))
        latest = min(latest, duration - min_shot)
        if count > 1 and latest > first:
            return PacePlan(count, first, latest)
        if count == 1:
            break
    return PacePlan(1)  # a second shot would be shorter than the least


def last_apart(plan: PacePlan | None, ends: Sequence[int], rate: FrameRate) -> str:
    """Return a sentence on the last shot where its length is none of the pace's; ``ends`` are frames, from 0 on."""
    if plan is None or plan.first is None or len(ends) < 3:
        return ""
    before = float(rate.seconds(ends[-2])) / (len(ends) - 2)
    return (
        f"The pace is that of the shots that a cut ends ({before:.1f} s on average); the song ends the last one after "
        f"{float(rate.seconds(ends[-1] - ends[-2])):.1f} s."
    )


def decide_paced(value: np.ndarray, cuts: np.ndarray, plan: PacePlan, *, least: int, short: float) -> np.ndarray:
    """Return the sequence (T,) of greatest expected worth that keeps to a plan; see `seqkd.shots.editing.decision`.

    Args:
        value: (T, C) what each shot is worth in each second.
        cuts: (T,) what a cut before each second is worth.
        plan: How many shots, and where the last cut is.
        least: Seconds that every shot lasts.
        short: What a shot of no more than ``least`` seconds costs.
    """
    if plan.first is None:
        return decide(value, cuts, plan.shots, least=least, short=short)
    frames = len(value)
    seconds = np.arange(math.ceil(plan.first), math.floor(plan.latest) + 1)
    if not len(seconds):  # between two seconds; where cuts are put onto frames, this one is put right
        seconds = np.array([round((plan.first + plan.latest) / 2)])
    seconds = np.unique(np.clip(seconds, min(plan.shots - 1, frames - 1), frames - 1))
    best, found = -np.inf, None
    for last in seconds[np.argsort(-cuts[seconds], kind="stable")[:_TRIED]]:
        head = decide(value[:last], cuts[:last], plan.shots - 1, least=least, short=short)
        rest = value[last:].sum(0)
        rest[head[-1]] = -np.inf
        changes = np.flatnonzero(np.diff(head)) + 1
        worth = value[np.arange(last), head].sum() + rest.max() + cuts[changes].sum() + cuts[last]
        if worth > best:
            best, found = worth, np.r_[head, np.full(frames - last, int(rest.argmax()))]
    assert found is not None
    return found


def snap_paced(
    places: Sequence[int], frames: int, grids: Sequence[Sequence[int]], plan: PacePlan | None, rate: FrameRate,
    *, minimum: int,
) -> list[int]:  # fmt: skip
    """Return cuts moved onto a grid as `snap` does, the last one within the times that a plan has for it.

    Args:
        places: Frames of the cuts, ascending.
        frames: Length of the song.
        grids: Positions to prefer, the best first.
        plan: How a pace is kept, or None where none was asked for.
        rate: Frames a second.
        minimum: Frames that every shot should have.
    """
    if plan is None or plan.first is None or len(places) + 1 != plan.shots:
        return snap(places, frames, grids, minimum=minimum)
    low, high = math.ceil(plan.first * rate.fps), math.floor(plan.latest * rate.fps)
    high = max(len(places), min(high, frames - minimum))  # songs end within a frame
    low = max(len(places), min(low, high))
    wanted = min(max(places[-1], low), high)
    near = next((inside for grid in grids if (inside := [place for place in grid if low <= place <= high])), [wanted])
    last = min(near, key=lambda place: abs(place - wanted))
    before = [min(place, last - 1) for place in places[:-1]]
    return [*snap(before, last, grids, minimum=minimum), last]
