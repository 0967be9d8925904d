"""Cuts on beats: in order, none lost, no shot too short, and each on the nearest beat where there is room."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqkd.errors import DataError
from seqkd.shots.editing.snap import snap, spread


@st.composite
def songs(draw: st.DrawFn) -> tuple[list[int], int, list[list[int]], int]:
    """Cuts, the song's length, its grids, and the least length of a shot."""
    frames = draw(st.integers(1, 400))
    inside = st.integers(0, frames)  # a model's last cut may fall on the very end
    cuts = sorted(draw(st.lists(inside, max_size=min(frames - 1, 25))))
    grids = draw(st.lists(st.lists(inside, max_size=60), max_size=2))
    return cuts, frames, grids, draw(st.integers(0, 60))


@given(song=songs())
def test_whatever_the_song(song: tuple[list[int], int, list[list[int]], int]) -> None:
    cuts, frames, grids, minimum = song
    found = snap(cuts, frames, grids, minimum=minimum)
    assert len(found) == len(cuts)
    ends = [0, *found, frames]
    lengths = [end - start for start, end in itertools.pairwise(ends)]
    assert min(lengths) >= 1
    # The minimum holds wherever that many shots of it fit into the song at all.
    if (len(cuts) + 1) * minimum <= frames:
        assert min(lengths) >= minimum
    assert found == snap(cuts, frames, grids, minimum=minimum)


@given(
    gaps=st.lists(st.integers(45, 90), min_size=1, max_size=20),
    phase=st.integers(0, 11),
    step=st.integers(5, 12),
)
def test_cuts_with_room_go_to_their_nearest_beats(gaps: list[int], phase: int, step: int) -> None:
    cuts = np.cumsum(gaps).tolist()
    frames = cuts[-1] + 60
    beats = list(range(phase, frames, step))
    found = snap(cuts, frames, [beats], minimum=20)
    for cut, place in zip(cuts, found, strict=True):
        assert place in beats
        assert abs(place - cut) == min(abs(beat - cut) for beat in beats)


@given(cuts=st.lists(st.integers(1, 39), unique=True, min_size=1, max_size=3).map(sorted), step=st.integers(2, 9))
def test_no_other_way_onto_the_beats_is_shorter(cuts: list[int], step: int) -> None:
    """Against all ways to place the cuts, where beats abound and reach is no matter."""
    frames, beats = 40, list(range(1, 40, step))
    if len(cuts) > len(beats):
        return
    found = snap(cuts, frames, [beats], minimum=1, reach=1000)
    ways = itertools.combinations(beats, len(cuts))
    least = min(sum(abs(a - b) for a, b in zip(way, cuts, strict=True)) for way in ways)
    assert set(found) <= set(beats)
    assert sum(abs(a - b) for a, b in zip(found, cuts, strict=True)) == least


def test_crowded_cuts_share_the_beats_in_order() -> None:
    assert snap([98, 100, 102], 300, [[50, 75, 100, 125, 150]], minimum=10) == [75, 100, 125]


def test_a_cut_far_from_any_beat_keeps_its_frame() -> None:
    """As in a silent bridge: the beats end at 100 and begin again at 400."""
    beats = [*range(0, 101, 12), *range(400, 500, 12)]
    assert snap([250], 500, [beats]) == [250]
    assert snap([105, 250, 395], 500, [beats]) == [96, 250, 400]


def test_downbeats_first_then_beats() -> None:
    downbeats, beats = [0, 48, 96, 144], list(range(0, 192, 12))
    # A cut goes to the downbeat, however near a beat is; of three with two downbeats to share, one takes a beat.
    assert snap([59], 192, [downbeats, beats]) == [48]
    assert snap([50, 61, 95], 192, [downbeats, beats], minimum=12) == [48, 60, 96]


def test_on_frames_only_the_minimum_moves_a_cut() -> None:
    assert snap([10, 30, 60], 100) == [10, 30, 60]
    assert snap([3, 30, 99], 100, minimum=5) == [5, 30, 95]


def test_spread_is_the_least_change_that_lengths_allow() -> None:
    assert spread(np.array([1, 1, 1]), 40, 10).tolist() == [10, 20, 30]
    assert spread(np.array([15, 25]), 60, 10).tolist() == [15, 25]
    assert spread(np.array([58, 59]), 60, 10).tolist() == [40, 50]


def test_impossible_cuts() -> None:
    assert snap([], 10) == []
    with pytest.raises(DataError, match=r"^4 shots do not fit into 3 frames; expected one frame a shot, at least\.$"):
        snap([0, 1, 2], 3)
    with pytest.raises(DataError, match=r"^Cuts are not in order; expected ascending frames\.$"):
        snap([5, 4], 30)


@pytest.mark.parametrize(("reach", "found"), [(6, 55), (5, 55), (4, 52)])
def test_a_downbeat_within_reach_is_preferred_to_a_nearer_beat(reach: int, found: int) -> None:
    assert snap([50], 100, [[55], [52]], minimum=1, reach=reach) == [found]


@pytest.mark.parametrize(("reach", "found"), [(6, 55), (5, 50)])
def test_a_cut_that_is_not_nearer_than_the_reach_keeps_its_frame(reach: int, found: int) -> None:
    assert snap([50], 100, [[55]], minimum=1, reach=reach) == [found]


def test_reach_is_the_step_of_a_grid_of_two_and_anything_of_one() -> None:
    assert snap([60], 300, [[10, 30]], minimum=1) == [60]
    assert snap([45], 300, [[10, 30]], minimum=1) == [30]
    assert snap([60], 300, [[30]], minimum=1) == [30]
