"""The sequence of greatest expected worth, of all with a number of shots: against a list of all sequences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqkd.shots.editing.decision import count_shots, decide


def worth(sequence: tuple[int, ...], value: np.ndarray, cuts: np.ndarray, least: int, short: float) -> float:
    """By its definition, with what spreads cuts where seconds are alike."""
    total = float(value[np.arange(len(sequence)), list(sequence)].sum())
    golden = (5**0.5 - 1) / 2
    for t in range(1, len(sequence)):
        if sequence[t] != sequence[t - 1]:
            total += cuts[t] + 1e-3 * (golden * t % 1)
    return total - short * sum(len(list(run)) == least for _, run in itertools.groupby(sequence))


def all_sequences(frames: int, classes: int, least: int) -> list[tuple[int, ...]]:
    return [
        sequence
        for sequence in itertools.product(range(classes), repeat=frames)
        if min(len(list(run)) for _, run in itertools.groupby(sequence)) >= least
    ]


@pytest.mark.parametrize("least", [1, 2, 3])
@pytest.mark.parametrize("short", [0.0, 0.15])
def test_the_best_of_all_at_its_number_of_shots(least: int, short: float) -> None:
    """Where a price leads to the number: nothing with as many shots is worth more; else nearly nothing."""
    rng = np.random.default_rng(least)
    exact = total = 0
    for _ in range(8):
        value, cuts = rng.dirichlet(np.ones(3), 7), rng.uniform(0, 0.6, 7)
        listed = {seq: worth(seq, value, cuts, least, short) for seq in all_sequences(7, 3, least)}
        for shots in range(1, 7 // least + 1):
            found = tuple(decide(value, cuts, shots, least=least, short=short))
            best = max(v for seq, v in listed.items() if count_shots(np.array(seq)) == shots)
            assert count_shots(np.array(found)) == shots
            assert listed[found] <= best + 1e-9
            assert listed[found] > best - 0.9
            exact += listed[found] > best - 1e-9
            total += 1
    assert exact >= 0.7 * total


@settings(max_examples=60, deadline=None)
@example(frames=41, classes=2, shots=15, least=1, alike=0, seed=0)
@given(
    frames=st.integers(1, 80),
    classes=st.integers(2, 8),
    shots=st.integers(1, 90),
    least=st.integers(1, 9),
    alike=st.sampled_from([0, 1, 2]),
    seed=st.integers(0, 9),
)
def test_any_number_of_shots_there_is_room_for(
    frames: int, classes: int, shots: int, least: int, alike: int, seed: int
) -> None:
    """Whether seconds differ, are alike, or certain."""
    rng = np.random.default_rng(seed)
    value = rng.dirichlet(np.ones(classes), frames)
    value = (value, np.tile(value[:1], (frames, 1)), np.eye(classes)[np.full(frames, 1)])[alike]
    found = decide(value, np.full(frames, 0.3), shots, least=least, short=0.1)
    runs = [len(list(run)) for _, run in itertools.groupby(found)]
    assert min(runs) >= min(least, frames)
    room = max(1, frames // min(least, frames))
    if shots <= max(1, room // 2) or least == 1:
        # Of two classes, a shot that is put into another makes two cuts: one fewer may be as near as it gets.
        wanted = max(1, min(shots, room))
        assert wanted - (classes == 2) <= len(runs) <= wanted
    else:
        assert len(runs) <= min(shots, room)


def test_cuts_spread_where_seconds_are_alike() -> None:
    """No price tells them apart: not all cuts at one end."""
    found = decide(np.tile([0.4, 0.35, 0.25], (300, 1)), np.full(300, 0.3), 60)
    cuts = np.flatnonzero(np.diff(found))
    assert count_shots(found) == 60
    assert np.histogram(cuts, bins=6, range=(0, 300))[0].min() >= 6


def test_cuts_go_where_they_are_probable() -> None:
    cuts = np.zeros(100)
    cuts[[20, 50, 51, 80]] = 0.5, 0.5, 0.4, 0.5
    value = np.random.default_rng(0).dirichlet(np.full(4, 50.0), 100)
    assert set(np.flatnonzero(np.diff(decide(value, cuts, 4))) + 1) <= {19, 20, 50, 51, 80}


def test_a_long_song_is_soon_cut() -> None:
    value = np.random.default_rng(0).dirichlet(np.ones(8), 3600)
    for least, shots in ((1, 1000), (300, 8)):
        found = decide(value, np.full(3600, 0.3), shots, least=least, short=0.1)
        assert count_shots(found) == shots
        assert min(len(list(run)) for _, run in itertools.groupby(found)) >= least
