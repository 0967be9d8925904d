"""The bootstrap of any measure over items and seeds: values, coverage, pairing, and the level of its tests."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.errors import ConfigError, DataError
from seqkd.statistics.bootstrap import (
    Estimate,
    _draw_seeds,
    bootstrap_interval,
    difference,
    estimate,
    paired_bootstrap,
)
from seqkd.statistics.calibration import Calibration, bins_by_item
from seqkd.statistics.measures import Measure, ece, ece_by_chance, nce, ratio
from seqkd.statistics.table import Table

WER = Measure("wer", "WER", ("errors", "words"), ratio, unit="%", scale=100)
ECE = Measure("ece", "ECE", ("bins",), ece, unit="%", scale=100, reflect=True)


def table(**columns):
    columns = {name: np.asarray(column, float) for name, column in columns.items()}
    items = len(next(iter(columns.values())))
    return Table(tuple(map(str, range(items))), columns)


def rates(errors, words):
    return table(errors=errors, words=words)


COUNTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=30)


@given(COUNTS)
@settings(max_examples=60, deadline=None)
def test_wer_is_errors_over_words_and_differences_are_those_of_the_paired_bootstrap(counts):
    """Exactly, for one seed each."""
    a, b, words = np.array(counts).T
    found = estimate({"a": {0: rates(a, words)}, "b": {0: rates(b, words)}}, [WER], replicates=20)
    assert found["a"]["wer"].value == a.sum() / words.sum()
    one = difference(found["a"]["wer"], found["b"]["wer"])
    assert one.delta == pytest.approx(paired_bootstrap(a, b, words, replicates=20).delta, abs=1e-15)
    assert (one.delta == 0) == (a.sum() == b.sum())


def test_intervals_and_p_values_are_those_of_the_paired_bootstrap():
    """Within the noise of the draws, for one seed each."""
    generator = np.random.default_rng(0)
    words = generator.integers(2, 9, size=400)
    hard = generator.beta(2, 8, size=400)
    a, b = generator.binomial(words, hard), generator.binomial(words, np.minimum(1.12 * hard, 1))
    found = estimate({"a": {3: rates(a, words)}, "b": {3: rates(b, words)}}, [WER], replicates=20_000)
    one, other = difference(found["a"]["wer"], found["b"]["wer"]), paired_bootstrap(a, b, words, replicates=20_000)
    assert found["a"]["wer"].ci95 == pytest.approx(bootstrap_interval(a, words, replicates=20_000), abs=5e-4)
    assert one.ci95 == pytest.approx(other.ci95, abs=5e-4)
    assert one.p_value == pytest.approx(other.p_value, abs=0.02)
    assert 0.002 < one.p_value < 0.5
    assert one.items_only and found["a"]["wer"].items_only and found["a"]["wer"].spread is None


def experiment(generator, seeds, spread, items=150, truth=0.3):
    """Error rates of two equal systems: items differ, and trainings by ``spread``."""
    words = np.full(items, 8.0)
    hard = generator.normal(0, 0.08, items)
    made = {}
    for name in "ab":
        rate = np.clip(truth + hard + generator.normal(0, spread, (seeds, 1)), 0.01, 0.99)  # (S, N)
        made[name] = {seed: rates(generator.binomial(8, row), words) for seed, row in enumerate(rate)}
    return made


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.90), (6, 0.93)])
def test_intervals_hold_the_truth_of_other_items_and_trainings(seeds, least):
    """Where a training moves the rate as much as the test set does; over items alone they hold it less often."""
    generator = np.random.default_rng(seeds)
    trials, held, held_by_items, rejected = 250, 0, 0, 0
    for trial in range(trials):
        made = experiment(generator, seeds, 0.016)
        found = estimate(made, [WER], replicates=300, seed=trial)
        low, high = found["a"]["wer"].ci95
        held += low <= 0.3 <= high
        rejected += difference(found["a"]["wer"], found["b"]["wer"]).p_value < 0.05
        errors = [one.columns["errors"] for one in made["a"].values()]
        low, high = bootstrap_interval(errors, np.full(150, 8), replicates=300, seed=trial)
        held_by_items += low <= 0.3 <= high
    assert held / trials >= least
    assert held_by_items / trials < held / trials - 0.04
    assert rejected / trials <= 0.06


def test_seeds_have_the_variance_of_a_mean_of_trainings():
    """S - 1 of S are drawn, so that the variance is s²/S; items are all alike here."""
    generator = np.random.default_rng(5)
    for seeds in (2, 3, 8):
        values = generator.normal(0.3, 0.05, seeds)
        one = {seed: rates([100 * value] * 5, [100] * 5) for seed, value in enumerate(values)}
        found = estimate({"a": one}, [WER], replicates=40_000)["a"]["wer"]
        assert found.value == pytest.approx(values.mean())
        assert found.spread == pytest.approx(values.std(ddof=1))
        assert found.replicates.var() == pytest.approx(values.var(ddof=1) / seeds, rel=0.04)


def test_one_seed_leaves_the_items():
    """A single seed is in every draw, whatever others have."""
    generator = np.random.default_rng(6)
    words = np.full(120, 10)
    errors = generator.binomial(words, 0.2)
    one = rates(errors, words)
    alone = estimate({"a": {4: one}}, [WER], replicates=4000)["a"]["wer"]
    beside = estimate({"a": {4: one}, "b": {0: one, 1: one, 2: one}}, [WER], replicates=4000)
    assert beside["a"]["wer"].ci95 == alone.ci95
    assert beside["b"]["wer"].ci95 == pytest.approx(alone.ci95, abs=1e-12)  # the seeds are all the same here
    same = difference(beside["a"]["wer"], beside["b"]["wer"])
    assert (same.delta, same.p_value, same.ci95) == (0.0, 1.0, (0.0, 0.0))  # means over seeds keep ties
    assert not same.items_only


def test_seeds_are_paired_by_their_number():
    """What a seed does to both systems cancels; with other numbers it does not."""
    generator = np.random.default_rng(7)
    moves = generator.normal(0, 0.05, 5)
    ours, theirs = ({seed: rates([100 * (rate + move)] * 4, [100] * 4) for seed, move in enumerate(moves)}
                    for rate in (0.30, 0.31))  # fmt: skip
    found = estimate({"a": ours, "b": theirs}, [WER], replicates=500)
    assert difference(found["a"]["wer"], found["b"]["wer"]).ci95 == pytest.approx((-0.01, -0.01))
    elsewhere = {seed + 10: one for seed, one in theirs.items()}
    found = estimate({"a": ours, "b": elsewhere}, [WER], replicates=500)
    low, high = difference(found["a"]["wer"], found["b"]["wer"]).ci95
    assert low < -0.03 and high > 0.01


def test_systems_share_the_seeds_that_both_have():
    shares = _draw_seeds({"a": [0, 1, 2], "b": [2, 1], "c": [0, 1, 2]}, 20_000, np.random.default_rng(0))
    assert (shares["a"] == shares["c"]).all()
    assert shares["a"].mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.01)
    assert shares["b"].mean(axis=0) == pytest.approx([1 / 2] * 2, abs=0.01)
    assert (shares["a"].sum(axis=1) == 1).all()
    # b draws one seed; wherever a drew that first, they agree: 2/3 of the time, and else b takes what it has.
    one = _draw_seeds({"a": [0, 1], "b": [1, 2]}, 20_000, np.random.default_rng(1))
    assert (one["a"][:, 1] * one["b"][:, 0]).mean() == pytest.approx(1 / 3, abs=0.01)  # 1/4 if drawn by themselves


def test_results_do_not_depend_on_the_order_of_items_but_on_the_seed():
    generator = np.random.default_rng(8)
    words = generator.integers(2, 9, size=200)
    systems = {name: {seed: generator.binomial(words, 0.2) for seed in range(2)} for name in "ab"}
    order = generator.permutation(200)

    def found(rows, seed):
        made = {name: {k: rates(e[rows], words[rows]) for k, e in one.items()} for name, one in systems.items()}
        all_of_them = estimate(made, [WER], replicates=300, seed=seed)
        return difference(all_of_them["a"]["wer"], all_of_them["b"]["wer"])

    forth = found(np.arange(200), 1)
    shuffled = found(order, 1)
    assert (shuffled.ci95, shuffled.p_value) == (forth.ci95, forth.p_value)
    assert shuffled.delta == pytest.approx(forth.delta, abs=1e-15)
    assert found(np.arange(200), 2).ci95 != forth.ci95


def test_differences_mirror():
    generator = np.random.default_rng(9)
    found = estimate(experiment(generator, 3, 0.03), [WER], replicates=500)
    forth, back = (difference(found[x]["wer"], found[y]["wer"]) for x, y in ("ab", "ba"))
    assert (forth.delta, forth.p_value) == (-back.delta, back.p_value)
    assert forth.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]))
    assert forth.better != back.better
    assert forth.better == (forth.delta < 0)  # of errors, fewer is better


# ---- measures with a bias


def made_bins(items, sharpness, generator, bins=15):
    """(N, 3, M + 1) of tokens whose confidences' log-odds are so many times too large, alike within an item."""
    lengths = generator.integers(8, 40, size=items)
    odds = generator.normal(1.5, 1.5, size=lengths.sum())
    hard = np.repeat(generator.normal(0, 0.5, size=items), lengths)
    correct = generator.random(len(odds)) < 1 / (1 + np.exp(-(odds + hard)))
    return bins_by_item(1 / (1 + np.exp(-sharpness * odds)), correct, lengths, bins)


def test_ece_intervals_cover_and_percentiles_would_not():
    """About as often as the module says of 200 sentences (91 % and 92 %, less two standard errors of 200 trials)."""
    generator = np.random.default_rng(7)
    for sharpness in (0.75, 1.8):
        rows = made_bins(30_000, sharpness, generator)
        truth = float(ece(rows.sum(axis=0)))
        covered, plain, trials = 0, 0, 200
        for trial in range(trials):
            sample = rows[generator.integers(len(rows), size=200)]
            found = estimate({"a": {0: table(bins=sample)}}, [ECE], replicates=300, seed=trial)["a"]["ece"]
            covered += found.ci95[0] <= truth <= found.ci95[1]
            low, high = np.percentile(found.replicates, [2.5, 97.5])
            plain += low <= truth <= high
        assert covered / trials >= 0.87
        assert sharpness > 1 or plain / trials < covered / trials - 0.05


def test_equal_errors_are_told_apart_seldom():
    generator = np.random.default_rng(8)
    rejected, trials = 0, 300
    for trial in range(trials):
        systems = {name: {0: table(bins=made_bins(150, 1.3, generator))} for name in "ab"}
        found = estimate(systems, [ECE], replicates=300, seed=trial)
        rejected += difference(found["a"]["ece"], found["b"]["ece"]).p_value < 0.05
    assert 0.02 <= rejected / trials <= 0.09


def test_half_of_another():
    """``factor`` asks whether one error is half of another."""
    generator = np.random.default_rng(9)
    systems = {
        name: {0: table(bins=made_bins(400, sharpness, generator))} for name, sharpness in (("bad", 2.5), ("good", 1.0))
    }
    found = estimate(systems, [ECE], replicates=500)
    bad, good = (found[name]["ece"] for name in ("bad", "good"))
    test = difference(good, bad, factor=0.5)
    assert test.delta == pytest.approx(good.value - bad.value / 2)
    assert test.ci95[1] < 0
    assert test.p_value < 0.01
    assert difference(bad, bad, factor=0.5).ci95[0] > 0


def test_bias_is_taken_off_differences_too():
    """Replicates of the first error lie .011 above its value, which is the smaller one: they hide the difference."""
    generator = np.random.default_rng(10)
    ours = Estimate(ECE, {0: 0.05}, generator.normal(0.061, 0.003, size=500))
    theirs = Estimate(ECE, {0: 0.06}, generator.normal(0.06, 0.003, size=500))
    one = difference(ours, theirs)
    assert one.delta == pytest.approx(-0.01)
    assert one.p_value == pytest.approx(2 / 501)
    plain = difference(*(Estimate(WER, each.seeds, each.replicates) for each in (ours, theirs)))
    assert plain.ci95[0] < 0 < plain.ci95[1]
    assert plain.p_value > 0.5


def test_calibration_errors_are_those_of_the_streaming_state():
    generator = np.random.default_rng(11)
    lengths = generator.integers(0, 9, size=50)
    confidence = np.append(generator.random(lengths.sum() - 1), 1.0)
    correct = generator.random(len(confidence)) < confidence**2
    bins = bins_by_item(confidence, correct, lengths).sum(axis=0)
    state = Calibration().update(confidence, correct)
    summary = state.summary()
    came_true = np.where(correct, confidence, 1 - confidence)
    assert float(ece(bins)) == pytest.approx(summary.ece, rel=1e-12)
    assert float(ece_by_chance(bins)) == pytest.approx(state.ece_by_chance(), rel=1e-12)
    surprise = -np.log(np.maximum(came_true, 1e-12)).sum()
    assert float(nce(bins, surprise)) == pytest.approx(summary.nce, rel=1e-9)
    assert np.isnan(nce(bins_by_item([0.5, 0.5], [1, 1], [2])[0], np.array(1.4)))  # all right: nothing to remove
    assert np.isnan(ece(np.zeros((3, 16))))


# ---- what is undefined, and faults


def test_undefined_measures():
    nothing = table(bins=np.zeros((5, 3, 16)))
    found = estimate({"a": {0: nothing}, "b": {0: nothing, 1: nothing}}, [ECE], replicates=20)
    assert found["a"]["ece"].ci95 is None and ECE.show(found["a"]["ece"].value) == "–"
    undefined = difference(found["a"]["ece"], found["b"]["ece"])
    assert (undefined.ci95, undefined.p_value) == (None, 1.0)


def test_draws_in_which_a_measure_is_undefined_are_left_out():
    ratio_of = Measure("per_word", "Ratio", ("errors", "words"), ratio)
    found = estimate({"a": {0: rates([1, 1], [0, 4])}}, [ratio_of], replicates=100)["a"]["per_word"]
    assert np.isnan(found.replicates).any()
    assert 0.25 <= found.ci95[0] <= found.ci95[1] < 4


def test_faults():
    three, four = (rates([1] * count, [2] * count) for count in (3, 4))
    with pytest.raises(DataError, match="scored on different test items"):
        estimate({"a": {0: three}, "b": {0: four}}, [WER])
    for systems in ({}, {"a": {}}, {"a": {0: rates([], [])}}):
        with pytest.raises(DataError, match="systems without a test item"):
            estimate(systems, [WER])
    with pytest.raises(ConfigError, match="-1 replicates"):
        estimate({"a": {0: three}}, [WER], replicates=-1)


@pytest.mark.parametrize(
    ("measure", "value", "shown", "amount"),
    [
        (WER, 0.1234, "12.34 %", "12.34 points of WER"),
        (Measure("bleu", "BLEU", (), ratio), -1.5, "−1.50", "1.50 BLEU"),
        (Measure("dst", "DST-AC", (), ratio, unit="s"), 2.0, "2.00 s", "2.00 s of DST-AC"),
    ],
)
def test_how_values_are_shown(measure, value, shown, amount):
    assert measure.with_unit(value) == shown
    assert measure.amount(value) == amount
