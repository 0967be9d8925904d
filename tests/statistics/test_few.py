"""Few units: levels and coverage by simulation, Student's t against SciPy, and what no p-value can go below."""

import itertools

import numpy as np
import pytest

from seqkd.scoring import holm, paired_bootstrap
from seqkd.statistics.bootstrap import bootstrap_interval, difference, estimate
from seqkd.statistics.few import LEAST, MANY, least_p, student_within, swapped, tail, widened, wilson
from seqkd.statistics.mapsswe import Errors, matched_pairs
from seqkd.statistics.measures import Measure, ratio
from seqkd.statistics.table import Table


def simulate(generator, utterances, rate):
    words = generator.integers(2, 9, size=utterances)
    return generator.binomial(words, generator.beta(2, 2 / rate - 2, size=utterances)), words


@pytest.mark.parametrize("units", [10, 20, 50])
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2, 0.4])
def test_intervals_hold_the_true_rate(units, rate):
    generator = np.random.default_rng(units)
    trials, held, held_plainly = 1000, 0, 0
    for _ in range(trials):
        errors, words = simulate(generator, units, rate)
        low, high = bootstrap_interval(errors, words)
        held += low <= rate <= high
        draws = generator.multinomial(units, np.full(units, 1 / units), size=400)
        low, high = np.percentile(draws @ errors / (draws @ words), [2.5, 97.5])
        held_plainly += low <= rate <= high
    # Ten utterances at .05 have two or three errors: there it holds the true rate in 97.3 % of 9,000 samples.
    assert 0.93 <= held / trials <= (0.99 if units * rate < 1 else 0.97)
    assert held_plainly < held
    if units == 10:
        assert held_plainly / trials < 0.92


def test_wilsons_interval():
    """Newcombe (Statistics in Medicine 1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for errors, words, expected in (
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ):
        # Errors spread evenly: more than one in n words varies, so as many as there are words count.
        even = np.full(11, errors / 11), np.full(11, words / 11)
        assert wilson(*even) == pytest.approx(expected, abs=1e-4)
    # Of units that are all right or all wrong, units count, with Student's t: 10 of 20.
    apart = wilson(np.array([6.0, 0.0] * 10), np.full(20, 6.0))
    q = 2.0930241**2 / 19
    assert apart == pytest.approx([0.5 - (q * (1 + q)) ** 0.5 / (1 + q) / 2, 0.5 + (q * (1 + q)) ** 0.5 / (1 + q) / 2])
    low, high = wilson(np.zeros(20), np.full(20, 5))
    assert wilson(np.full(20, 5), np.full(20, 5)) == pytest.approx((1 - high, 1.0)) and low == 0
    assert wilson(np.array([6.0] + [4.0] + [5.0] * 18), np.full(20, 5)) is None
    assert bootstrap_interval([6] * 20, [5] * 20)[0] > 1
    low, high = bootstrap_interval([0] * 20, [10] * 20)
    assert (low, high) == (0.0, pytest.approx(0.01885, abs=1e-5))  # q / (1 + q)


@pytest.mark.parametrize("units", [10, 20, 50])
def test_the_paired_test_keeps_its_level(units):
    generator = np.random.default_rng(100 + units)
    trials, rejected = 1000, 0
    for trial in range(trials):
        words = generator.integers(4, 20, size=units)
        hard = generator.beta(2, 6, size=units)
        a, b = (generator.binomial(words, hard) for _ in "ab")
        rejected += paired_bootstrap(a, b, words, replicates=400, seed=trial).p_value < 0.05
    assert 0.03 <= rejected / trials <= 0.07


@pytest.mark.parametrize("units", [6, 8, 9])
def test_below_ten_units_the_level_is_never_exceeded(units):
    generator = np.random.default_rng(200 + units)
    trials, rejected = 1000, 0
    for trial in range(trials):
        words = generator.integers(4, 20, size=units)
        hard = generator.beta(2, 6, size=units)
        a, b = (generator.binomial(words, hard) for _ in "ab")
        result = paired_bootstrap(a, b, words, replicates=10, seed=trial)
        assert result.ci95 is None and result.p_value >= least_p(units)
        rejected += result.p_value < 0.05
    assert rejected / trials <= 0.06


@pytest.mark.parametrize("units", [1, 2, 5, 9, 10, 12, 15])
@pytest.mark.parametrize("far", [False, True])
def test_no_p_value_is_below_that_of_as_many_coins(units, far):
    better, worse, words = np.ones(units), np.full(units, 2), np.full(units, 20)
    assert paired_bootstrap(better, worse, words, far=far).p_value >= 2.0 ** (1 - units)
    # Units that do not differ add nothing.
    padded = [np.concatenate([column, np.full(300, 3)]) for column in (better, worse, words)]
    assert paired_bootstrap(*padded, far=far).p_value >= 2.0 ** (1 - units)
    blocks = np.arange(300 * units) % units
    many = (np.ones(300 * units), np.full(300 * units, 2), np.full(300 * units, 20))
    assert paired_bootstrap(*many, blocks=blocks, far=far).p_value >= 2.0 ** (1 - units)


def test_one_utterance_says_nothing():
    result = paired_bootstrap([1], [2], [10])
    assert (result.p_value, result.ci95, result.units) == (1.0, None, 1)
    assert bootstrap_interval([1], [10]) is None
    assert bootstrap_interval([1] * 40, [10] * 40, blocks=["one speaker"] * 40) is None


def test_swapped_is_every_way_to_swap():
    generator = np.random.default_rng(3)
    for _ in range(40):
        a, b = (np.stack([generator.integers(0, 4, 6), generator.integers(3, 9, 6)], axis=1) for _ in "ab")
        b[generator.random(6) < 0.3] = a[0]
        deltas = []
        for swap in itertools.product([False, True], repeat=6):
            rows = [(y, x) if s else (x, y) for s, x, y in zip(swap, a, b, strict=True)]
            ours, theirs = (sum(row[side] for row in rows) for side in (0, 1))
            deltas.append(abs(ours[0] / ours[1] - theirs[0] / theirs[1]))
        expected = np.mean([delta >= deltas[0] - 1e-12 for delta in deltas])
        assert swapped(a, b) == pytest.approx(expected)


def test_thirty_systems_can_differ_after_holm():
    """435 comparisons need p below .000115; 10,000 replicates alone cannot say less than .0002."""
    generator = np.random.default_rng(4)
    words = generator.integers(5, 20, size=400)
    systems = [generator.binomial(words, 0.02 + 0.03 * number) for number in range(30)]
    pairs = list(itertools.combinations(range(30), 2))
    p_values = [paired_bootstrap(systems[a], systems[b], words, replicates=500, far=True).p_value for a, b in pairs]
    survives = dict(zip(pairs, holm(p_values), strict=True))
    assert all(survives[a, b] for a, b in pairs if b - a > 4)
    same = [generator.binomial(words, 0.2) for _ in range(30)]
    p_values = [paired_bootstrap(same[a], same[b], words, replicates=500, far=True).p_value for a, b in pairs]
    assert sum(holm(p_values)) == 0


def test_the_far_tail_continues_the_near_one():
    generator = np.random.default_rng(5)
    words = generator.integers(5, 20, size=300)
    a = generator.binomial(words, 0.2)
    for more in (0.02, 0.04, 0.06):
        b = np.minimum(a + generator.binomial(words, more) - generator.binomial(words, 0.02), words)
        near, far = (
            paired_bootstrap(a, b, words, replicates=replicates, far=far).p_value
            for replicates, far in ((20_000, False), (500, True))
        )
        assert far == pytest.approx(near, rel=0.9, abs=0.004)


def test_many_units_are_as_before():
    assert tail(MANY) == 0.025 and widened(0.013, MANY) == 0.013
    assert tail(MANY - 1) == pytest.approx(0.025, rel=0.1)
    assert [round(tail(units), 4) for units in (LEAST, 20, 50)] == [0.0086, 0.0159, 0.0212]


def test_students_distribution():
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 3, 4, 9, 18, 49, 98):
        for t in (0.0, 0.5, 2.0, 4.0):
            assert student_within(t, freedom) == pytest.approx(1 - 2 * stats.t.sf(t, freedom), abs=1e-12)
        z = stats.norm.ppf(tail(freedom + 1))
        assert -z == pytest.approx(stats.t.ppf(0.975, freedom) * np.sqrt((freedom + 1) / freedom), rel=1e-9) or (
            freedom < 3
        )


def test_intervals_and_p_values_go_together():
    generator = np.random.default_rng(6)
    for trial in range(60):
        words = generator.integers(2, 9, size=20)
        a, b = generator.binomial(words, 0.2), generator.binomial(words, 0.35)
        result = paired_bootstrap(a, b, words, replicates=4999, seed=trial)
        excludes_zero = not result.ci95[0] <= 0 <= result.ci95[1]
        assert excludes_zero == (result.p_value < 0.05) or abs(result.p_value - 0.05) < 0.01


def test_matched_pairs_of_few_segments():
    errors = [Errors(np.array([k, 0, 0, 0]), np.zeros(5, int), np.ones(4, bool), np.array([4])) for k in (0, 1)]
    assert matched_pairs(*errors).p_value == 1.0


@pytest.mark.parametrize("differing", [1, 4, 6, 12])
def test_a_report_says_no_more_of_few_that_differ_than_the_scorer(differing):
    """However many items there are besides, that all k fall on one side happens once in 2^(k - 1)."""
    generator = np.random.default_rng(11)
    words = generator.integers(5, 9, size=400)
    errors = generator.binomial(words, 0.1)
    worse = errors + (np.arange(400) < differing)
    ids = tuple(map(str, range(400)))
    rate = Measure("wer", "WER", ("errors", "words"), ratio, unit="%", scale=100)
    tables = {
        "a": {0: Table(ids, {"errors": errors * 1.0, "words": words * 1.0})},
        "b": {seed: Table(ids, {"errors": worse * 1.0, "words": words * 1.0}) for seed in range(3)},
    }
    found = estimate(tables, [rate], replicates=2000)
    test = difference(found["a"]["wer"], found["b"]["wer"])
    least = 2.0 ** (1 - differing)
    assert least <= test.p_value < max(3 * least, 0.02)
    assert paired_bootstrap(errors, worse, words, replicates=2000).p_value >= least
    # Twice one system's errors differ from the other's in every item with errors: then only their number counts.
    assert difference(found["a"]["wer"], found["b"]["wer"], factor=2).p_value < 0.05


def test_intervals_of_reports_are_those_of_the_scorer():
    """Wilson's for one training and few items, and where nothing, or everything, is an error."""
    generator = np.random.default_rng(12)
    rate = Measure("wer", "WER", ("errors", "words"), ratio, unit="%", scale=100)
    for items, share in ((30, 0.2), (30, 0.0), (30, 1.0), (150, 0.0), (150, 1.0)):
        words = generator.integers(5, 9, size=items)
        errors = generator.binomial(words, share)
        one = Table(tuple(map(str, range(items))), {"errors": errors * 1.0, "words": words * 1.0})
        found = estimate({"a": {0: one}, "b": {0: one, 1: one}}, [rate], replicates=200)
        expected = bootstrap_interval(errors, words, replicates=200)
        assert found["a"]["wer"].ci95 == pytest.approx(expected)
        assert 0 <= expected[0] < expected[1] <= 1
        if share in (0, 1):
            assert found["b"]["wer"].ci95 == pytest.approx(expected)


def test_no_p_value_is_nought():
    errors, words = np.zeros(3000), np.full(3000, 5)
    assert paired_bootstrap(errors, errors + 1, words, replicates=100, far=True).p_value > 0


def test_estimates_of_few_items():
    measure = Measure("wer", "WER", ("errors", "words"), ratio)
    generator = np.random.default_rng(7)

    def systems(items):
        words = generator.integers(5, 9, size=items)
        ids = tuple(map(str, range(items)))
        worse = {"errors": np.full(items, 3.0), "words": words}
        return {"a": {1: Table(ids, {"errors": np.ones(items), "words": words})}, "b": {1: Table(ids, worse)}}

    found = estimate(systems(4), [measure], replicates=200)
    assert difference(found["a"]["wer"], found["b"]["wer"]).p_value == 0.125
    found = estimate(systems(20), [measure], replicates=2000)
    one = found["a"]["wer"]
    low, high = np.percentile(one.replicates, [2.5, 97.5])
    assert one.ci95[0] < low < high < one.ci95[1]
