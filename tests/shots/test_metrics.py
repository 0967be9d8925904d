"""Measures of shot sequences, in closed form and against brute force."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.errors import DataError
from seqkd.shots.data import Shot, shots_of
from seqkd.shots.measures import ASC, DS, MEASURES, summary
from seqkd.shots.metrics import match_cuts, score_song
from seqkd.statistics.bootstrap import estimate
from seqkd.statistics.calibration import Calibration
from seqkd.statistics.table import Table

CU, MCU, MS, MLS, LS, XLS, ADS, MIS = range(8)
SEQUENCE = st.lists(st.integers(0, 7), min_size=1, max_size=14)


def count(true: list[int], found: list[int], **more: object) -> dict[str, np.ndarray]:
    """What one song adds to the sums."""
    return score_song(shots_of(true), np.array(found), frames=len(true), **more)


def score(true: list[int], found: list[int], **more: object) -> SimpleNamespace:
    """Every measure of one song."""
    return SimpleNamespace(**summary(count(true, found, **more)))


def test_a_song_by_hand() -> None:
    true = [CU, CU, CU, LS, LS, ADS, ADS, ADS, ADS, MS]
    said = [CU, CU, MS, MS, LS, ADS, ADS, LS, ADS, ADS]
    found = score(true, said)
    assert found.asc == pytest.approx(0.6)  # seconds 2, 3, 7 and 9 are wrong
    # Trends: same same wider same aside same same same aside; same wider same wider aside same aside aside same.
    assert found.tsc_ac == pytest.approx(3 / 9)
    # Changes at 3, 5, 9; at 2, 4, 5, 7, 8.
    assert found.trend_change == pytest.approx(3 / 9)
    # True shots of 3, 2, 4, 1 s; those of 2 (CU), 2 (MS, which comes first), 2 (ADS), 2 (ADS) s overlap them most.
    assert found.dst_ac == pytest.approx((1 + 0 + 2 + 1) / 4)
    assert found.ds == pytest.approx(10 / 6)
    # CU MS LS ADS LS ADS to CU LS ADS MS: drop MS, keep LS ADS, drop LS, ADS to MS.
    assert found.segment_edit_distance == pytest.approx(3 / 4)
    # Drop one MS, keep CU CU . MS→LS? fewest edits of the frames: see the alignment with brute force below.
    assert found.asc_edit >= found.asc
    # F1: CU 4/5, LS 2·1/(2+2), ADS 2·3/(4+4), MS 0.
    assert found.macro_f1 == pytest.approx((4 / 5 + 1 / 2 + 3 / 4 + 0) / 4)
    # True lengths 3 2 4 1, said 2 2 1 2 1 2: means of sorted quantiles.
    cdf = np.cumsum([1 / 4 - 2 / 6, 1 / 4 - 4 / 6, 1 / 4, 1 / 4])
    assert found.length_distance == pytest.approx(np.abs(cdf).sum())
    assert math.isnan(found.mean_nll) and math.isnan(found.ece) and math.isnan(found.beat_accuracy)


def test_the_trend_knows_sizes() -> None:
    """Wider is wider by however much; audience and instruments have no size."""
    assert score([CU, LS, CU, ADS, MIS], [MS, XLS, MCU, MIS, ADS]).tsc_ac == 1
    assert score([CU, LS], [LS, CU]).tsc_ac == 0
    assert score([CU, ADS], [CU, LS]).tsc_ac == 0
    assert score([CU, ADS], [CU, LS]).trend_change == 1


@given(SEQUENCE)
def test_the_truth_itself_is_perfect(true: list[int]) -> None:
    found = score(true, true, beats=np.arange(len(true)) + 0.25)
    assert (found.asc, found.asc_edit, found.beat_accuracy, found.macro_f1, found.cut_f1) == (1, 1, 1, 1, 1)
    assert (found.dst_ac, found.segment_edit_distance, found.length_distance) == (0, 0, 0)
    assert found.ds == pytest.approx(len(true) / len(shots_of(true)))
    if len(true) > 1:
        assert found.transition_kl == pytest.approx(0, abs=1e-12)
        assert (found.tsc_ac, found.trend_change) == (1, 1)


def edits(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Levenshtein's distance by its definition."""
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    table[0], table[:, 0] = np.arange(len(b) + 1), np.arange(len(a) + 1)
    for i, j in itertools.product(range(len(a)), range(len(b))):
        table[i + 1, j + 1] = min(table[i, j + 1] + 1, table[i + 1, j] + 1, table[i, j] + (a[i] != b[j]))
    return int(table[-1, -1])


@given(st.data())
def test_against_definitions(data: st.DataObject) -> None:
    true = data.draw(SEQUENCE)
    said = data.draw(st.lists(st.integers(0, 7), min_size=len(true), max_size=len(true)))
    found = score(true, said)
    assert found.asc == pytest.approx(np.mean(np.array(true) == np.array(said)))
    assert found.asc_edit == pytest.approx(1 - edits(tuple(true), tuple(said)) / len(true))
    assert found.asc <= found.asc_edit + 1e-12 <= 1 + 1e-9
    runs = [tuple(kind for kind, _ in itertools.groupby(x)) for x in (true, said)]
    assert found.segment_edit_distance == pytest.approx(edits(*runs) / len(runs[0]))
    f1 = [
        2 * sum(a == b == k for a, b in zip(true, said, strict=True)) / (true.count(k) + said.count(k))
        for k in {*true, *said}
    ]
    assert found.macro_f1 == pytest.approx(np.mean(f1))


TIMES = st.lists(st.integers(1, 40), max_size=5, unique=True).map(lambda t: [x / 4 for x in sorted(t)])


@settings(max_examples=200)
@given(TIMES, TIMES, st.lists(st.integers(1, 40), max_size=9, unique=True).map(lambda t: [x / 4 for x in sorted(t)]))
def test_cuts_are_matched_as_well_as_can_be(true: list[float], said: list[float], beats: list[float]) -> None:
    """Against every assignment."""

    def reach(cut: float) -> float:
        spans = [b - a for a, b in itertools.pairwise(beats) if a <= cut < b]
        return spans[0] if spans else 0.5

    def near(a: float, b: float) -> bool:
        return abs(a - b) <= reach(a) + 1e-6

    short, long = (true, said) if len(true) <= len(said) else (said, true)
    best = max(
        sum(near(a, b) if short is true else near(b, a) for a, b in zip(short, order, strict=False))
        for order in itertools.permutations(long, len(short))
    )
    assert match_cuts(true, said, beats) == best


def test_cuts_match_within_their_beat() -> None:
    beats = [0.0, 0.5, 1.0, 3.0, 5.0]
    assert match_cuts([0.5], [1.01], beats) == 0
    assert match_cuts([0.5], [1.0], beats) == 1
    assert match_cuts([2.0], [3.9], beats) == 1  # a beat of two seconds
    assert match_cuts([1.0, 1.0], [1.0], beats) == 1  # each cut once
    assert match_cuts([], [1.0], beats) == match_cuts([7.0], [6.0], beats) == 0


def test_beats_see_what_is_shown_then() -> None:
    true = [Shot(0, 1.5, "CU"), Shot(1.5, 4, "LS")]
    said = [Shot(0, 2.0, "CU"), Shot(2.0, 4, "LS")]
    found = SimpleNamespace(**summary(score_song(true, said, frames=4, beats=[0.5, 1.0, 1.5, 2.0])))
    assert found.beat_accuracy == 3 / 4
    assert found.cut_f1 == 1


def test_one_transition_matrix_and_the_other() -> None:
    true, said = [CU, CU, CU, LS], [CU, LS, CU, LS]
    p = (np.array([2, 0, 0, 0, 1, 0, 0, 0]) + 0.5) / 7
    q = (np.array([0, 0, 0, 0, 2, 0, 0, 0]) + 0.5) / 6
    assert score(true, said).transition_kl == pytest.approx((p * np.log(p / q)).sum())


def test_posteriors() -> None:
    posteriors = np.full((2, 8), 0.05)
    posteriors[0, CU], posteriors[1, LS] = 0.65, 0.65
    director = np.full((2, 8), 1 / 8)
    found = score([CU, CU], [CU, LS], posteriors=posteriors, director=director)
    assert found.mean_nll == pytest.approx(-(np.log(0.65) + np.log(0.05)) / 2)
    assert found.ece == pytest.approx(0.15)  # confidence .65, accuracy .5
    row = director[0] * np.log(director[0] / posteriors[0])
    assert found.director_kl == pytest.approx(row.sum())
    assert score([CU, CU], [CU, LS], posteriors=posteriors, director=posteriors).director_kl == pytest.approx(0)
    assert math.isnan(score([CU, CU], [CU, LS], posteriors=posteriors).director_kl)


@given(st.lists(st.tuples(SEQUENCE, st.integers(0, 2**32 - 1)), min_size=2, max_size=4))
@settings(max_examples=25, deadline=None)
def test_songs_add_up(songs: list[tuple[list[int], int]]) -> None:
    """Of the sums of all songs, measures are those of all their frames; and so of many draws at once."""
    rows, right, frames, calibration = {}, 0, 0, Calibration()
    for number, (true, seed) in enumerate(songs):
        rng = np.random.default_rng(seed)
        found, posteriors = rng.integers(0, 8, len(true)), rng.dirichlet(np.ones(8), len(true))
        rows[str(number)] = count(true, found.tolist(), posteriors=posteriors)
        right, frames = right + (found == true).sum(), frames + len(true)
        calibration.update_distribution(posteriors, true)
    table = Table.of_rows(rows)
    pooled = summary(table.total())
    assert pooled["asc"] == pytest.approx(right / frames)
    assert pooled["ece"] == pytest.approx(calibration.summary().ece)
    assert pooled["mean_nll"] == pytest.approx(calibration.summary().nll)
    weights = np.array([[1] * len(songs), [2] + [0] * (len(songs) - 1)], float)
    for measure in MEASURES:
        expected = pooled[measure.key], summary(rows["0"])[measure.key]
        if measure.key == "transition_kl":  # its smoothing is not scaled with the counts
            twice = {name: 2 * value for name, value in rows["0"].items()}
            expected = expected[0], summary(twice)[measure.key]
        assert measure.value(table.drawn(weights)).tolist() == pytest.approx(expected, nan_ok=True), measure.key


def test_the_interval_covers_and_is_of_any_measure() -> None:
    """Songs whose accuracy is .7 on average: about 95 % of the intervals hold that."""
    rng = np.random.default_rng(0)
    held, runs = 0, 40
    for run in range(runs):
        rows = {}
        for song, rate in enumerate(rng.beta(7, 3, 12)):
            true = rng.integers(0, 8, 30)
            found = np.where(rng.random(30) < rate, true, (true + 1) % 8)
            rows[str(song)] = count(true.tolist(), found.tolist())
        table = Table.of_rows(rows)
        found = estimate({"": {0: table}}, [ASC], replicates=200, seed=run)[""]["asc"]
        held += found.ci95[0] <= 0.7 <= found.ci95[1]
        assert found.ci95[0] < ASC.value(table.total()) < found.ci95[1]
    assert held >= 0.85 * runs
    others = estimate({"": {0: table}}, MEASURES, replicates=50)[""]
    assert others["ds"].ci95[0] < DS.value(table.total()) < others["ds"].ci95[1]
    assert others["mean_nll"].ci95 is None  # there are no posteriors


@pytest.mark.parametrize(
    ("said", "more", "sentence"),
    [
        ([CU, CU], {}, "The hypothesis has 2 frames, expected 3."),
        ([], {}, "A shot list is empty; expected at least one shot."),
        ([CU] * 3, {"posteriors": np.ones((3, 7)) / 7}, "There are posteriors of shape (3, 7); expected (3, 8)."),
        ([CU] * 3, {"posteriors": np.ones((3, 8))}, "A row of posteriors is not a distribution: expected "
         "probabilities that sum to 1."),
    ],
)  # fmt: skip
def test_what_does_not_fit(said: list[int], more: dict[str, object], sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        score([CU, CU, LS], said, **more)
    assert str(caught.value) == sentence


def test_summaries_name_every_measure() -> None:
    found = summary(count([CU, LS], [CU, CU]))
    assert tuple(found) == tuple(measure.key for measure in MEASURES)
    assert found["asc"] == 0.5
