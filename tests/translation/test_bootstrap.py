"""The bootstrap of translation scores: sacreBLEU's own, the coverage of intervals and the level of tests."""

import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from seqkd.errors import ConfigError, DataError
from seqkd.translation import measures as measures
from seqkd.translation.bootstrap import Estimate, difference, estimate
from seqkd.translation.forced import gaps_by_sentence
from seqkd.translation.measures import Sums

WORDS = [f"w{number}" for number in range(60)]


def spoiled(references, rate, seed):
    """Another word here and there; every system finds the same sentences hard."""
    source = random.Random(seed)
    return [
        " ".join(
            source.choice(WORDS) if source.random() < 2 * rate * random.Random(line).random() else word
            for word in line.split()
        )
        for line in references
    ]


def some_references(count, seed=0):
    source = random.Random(seed)
    return [" ".join(source.choices(WORDS, k=source.randint(4, 20))) for _ in range(count)]


def sums_of(hypotheses, references, gaps=None):
    """Sums with true BLEU and chrF; without ``gaps``, what is of tokens is made up."""
    bleu, chrf = (
        np.array(metric._extract_corpus_statistics(hypotheses, [references]), float)
        for metric in (BLEU(force=True), CHRF())
    )
    made_up = np.ones((len(references), 19)) if gaps is None else gaps
    return Sums(bleu, chrf, made_up, made_up[:, 2:])


def part(sums, rows):
    return Sums(*(column[rows] for column in vars(sums).values()))


def test_paired_bootstrap_is_sacrebleus(monkeypatch):
    """The same draws give sacreBLEU's p-values, which are of one side of the distribution centred on its mean."""
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    references = some_references(120)
    texts = {name: spoiled(references, rate, name) for name, rate in (("base", 0.3), ("a", 0.27), ("b", 0.28))}
    _, theirs = PairedTest(
        list(texts.items()), {"BLEU": BLEU(), "chrF2": CHRF()}, [references], test_type="bs", n_samples=1000
    )()
    indices = np.random.default_rng(12345).choice(120, size=(1000, 120), replace=True)
    weights = np.stack([np.bincount(row, minlength=120) for row in indices]).astype(float)
    sums = {name: sums_of(lines, references) for name, lines in texts.items()}
    for measure, column in ((measures.BLEU, "BLEU"), (measures.CHRF, "chrF2")):
        values = {name: measure.value(one.total()) for name, one in sums.items()}
        drawn = {name: measure.value(one.drawn(weights)) for name, one in sums.items()}
        for place, name in enumerate(texts):
            result = theirs[column][place]
            assert values[name] == pytest.approx(result.score, rel=1e-12)
            assert drawn[name].mean() == pytest.approx(result.mean, rel=1e-5)
            if place:
                between = np.abs(drawn[name] - drawn["base"])
                beyond = (between - between.mean() > abs(values[name] - values["base"])).sum()
                assert (beyond + 1) / 1001 == pytest.approx(result.p_value, abs=0.0021)
                # Ours is of both sides and uncentred: about twice theirs where the difference is plain.
                ours = estimate({name: [sums[name]], "base": [sums["base"]]}, replicates=4000)
                p_value = difference(ours[name][measure.key], ours["base"][measure.key]).p_value
                assert p_value == pytest.approx(2 * result.p_value, abs=0.03)
                assert 0.0005 < result.p_value < 0.2  # neither test is trivial


@pytest.fixture(scope="module")
def population():
    """2,000 sentences of two systems that are as good as each other."""
    references = some_references(2000, seed=5)
    return [sums_of(spoiled(references, 0.3, name), references) for name in ("one", "other")]


def test_bleu_intervals_cover_and_null_is_kept(population):
    """Of samples of a population: its BLEU is in 95 % of the intervals, and equals are told apart 5 % of the time."""
    truths = [measures.BLEU.value(one.total()) for one in population]
    assert abs(truths[0] - truths[1]) < 0.7
    generator = np.random.default_rng(6)
    trials, covered, rejected = 300, 0, 0
    for trial in range(trials):
        rows = generator.integers(2000, size=150)
        # By turns from either: whatever the small difference of the populations is, it is no difference here.
        swap = generator.random(150) < 0.5
        a, b = (part(one, rows) for one in population)
        mixed = [
            Sums(*(np.where(swap[:, None], y, x) for x, y in zip(vars(p).values(), vars(q).values(), strict=True)))
            for p, q in ((a, b), (b, a))
        ]
        found = estimate(
            {"a": [a], "x": mixed[:1], "y": mixed[1:]}, measures=[measures.BLEU], replicates=300, seed=trial
        )
        low, high = found["a"]["bleu"].ci95
        covered += low <= truths[0] <= high
        rejected += difference(found["x"]["bleu"], found["y"]["bleu"]).p_value < 0.05
    assert 0.92 <= covered / trials <= 0.98
    assert 0.025 <= rejected / trials <= 0.08


def made_gaps(sentences, sharpness, generator, bins=15):
    """(N, 3 + M + 1) of tokens whose confidences' log-odds are so many times too large, alike within a sentence."""
    lengths = generator.integers(8, 40, size=sentences)
    odds = generator.normal(1.5, 1.5, size=lengths.sum())
    hard = np.repeat(generator.normal(0, 0.5, size=sentences), lengths)
    correct = generator.random(len(odds)) < 1 / (1 + np.exp(-(odds + hard)))
    gaps = gaps_by_sentence(1 / (1 + np.exp(-sharpness * odds)), correct, lengths, bins)
    return np.column_stack([lengths, lengths, lengths, gaps])


def test_ece_intervals_cover_and_percentiles_would_not():
    """About as often as the module says of 200 sentences (91 % and 92 %, less two standard errors of 200 trials)."""
    generator = np.random.default_rng(7)
    for sharpness in (0.75, 1.8):
        rows = made_gaps(30_000, sharpness, generator)
        truth = np.abs(rows[:, 3:].sum(axis=0)).sum() / rows[:, 0].sum()
        covered, plain, trials = 0, 0, 200
        for trial in range(trials):
            sample = rows[generator.integers(len(rows), size=200)]
            one = Sums(np.ones((200, 10)), np.ones((200, 18)), sample, sample[:, 2:])
            found = estimate({"a": [one]}, measures=[measures.ECE], replicates=300, seed=trial)["a"]["ece"]
            covered += found.ci95[0] <= truth <= found.ci95[1]
            low, high = np.percentile(found.replicates, [2.5, 97.5])
            plain += low <= truth <= high
        assert covered / trials >= 0.87
        assert sharpness > 1 or plain / trials < covered / trials - 0.05


def test_equal_errors_are_told_apart_seldom():
    generator = np.random.default_rng(8)
    rejected, trials = 0, 300
    for trial in range(trials):
        both = [made_gaps(150, 1.3, generator) for _ in "ab"]
        sums = {
            name: [Sums(np.ones((150, 10)), np.ones((150, 18)), rows, rows[:, 2:])]
            for name, rows in zip("ab", both, strict=True)
        }
        found = estimate(sums, measures=[measures.ECE], replicates=300, seed=trial)
        rejected += difference(found["a"]["ece"], found["b"]["ece"]).p_value < 0.05
    assert 0.02 <= rejected / trials <= 0.09


def test_seeds_are_drawn_together(population):
    """The mean of the seeds' scores, not the score of their texts together; and as sure as one with one seed twice."""
    ours = [part(one, slice(200)) for one in population]
    found = estimate({"both": ours, "one": ours[:1], "twice": ours[:1] * 2}, replicates=200)
    values = [measures.BLEU.value(one.total()) for one in ours]
    assert found["both"]["bleu"].value == pytest.approx(np.mean(values))
    assert found["both"]["bleu"].spread == pytest.approx(np.std(values, ddof=1))
    assert found["one"]["bleu"].spread is None
    assert found["twice"]["bleu"].ci95 == pytest.approx(found["one"]["bleu"].ci95)
    for key in found["one"]:
        same = difference(found["twice"][key], found["one"][key])
        assert (same.delta, same.p_value) == (0.0, 1.0)


def test_differences_mirror_and_depend_on_the_seed_alone(population):
    a, b = (part(one, slice(300)) for one in population)
    found = estimate({"a": [a], "b": [b]}, replicates=300)
    forth, back = (difference(found[x]["bleu"], found[y]["bleu"]) for x, y in ("ab", "ba"))
    assert (forth.delta, forth.p_value) == (-back.delta, back.p_value)
    assert forth.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]))
    assert forth.better != back.better
    again, other = (estimate({"a": [a]}, replicates=300, seed=seed)["a"]["bleu"].ci95 for seed in (0, 1))
    assert again == found["a"]["bleu"].ci95 != other


def test_half_of_another():
    """``factor`` asks whether one error is half of another."""
    generator = np.random.default_rng(9)
    rows = {name: made_gaps(400, sharpness, generator) for name, sharpness in (("bad", 2.5), ("good", 1.0))}
    sums = {name: [Sums(np.ones((400, 10)), np.ones((400, 18)), one, one[:, 2:])] for name, one in rows.items()}
    found = estimate(sums, measures=[measures.ECE], replicates=500)
    bad, good = (found[name]["ece"] for name in ("bad", "good"))
    test = difference(good, bad, factor=0.5)
    assert test.delta == pytest.approx(good.value - bad.value / 2)
    assert test.ci95[1] < 0
    assert test.p_value < 0.01
    assert difference(bad, bad, factor=0.5).ci95[0] > 0


def test_bias_is_taken_off_differences_too():
    """Replicates of the first error lie .011 above its value, which is the smaller one: they hide the difference."""
    generator = np.random.default_rng(10)
    ours = Estimate(measures.ECE, np.array([0.05]), generator.normal(0.061, 0.003, size=500))
    theirs = Estimate(measures.ECE, np.array([0.06]), generator.normal(0.06, 0.003, size=500))
    one = difference(ours, theirs)
    assert one.delta == pytest.approx(-0.01)
    assert one.ci95 == pytest.approx((-0.021 - 1.96 * 0.0042, -0.021 + 1.96 * 0.0042), abs=0.001)
    assert one.p_value == pytest.approx(2 / 501)
    plain = difference(*(Estimate(measures.NLL, each.seeds, each.replicates) for each in (ours, theirs)))
    assert plain.ci95[0] < 0 < plain.ci95[1]
    assert plain.p_value > 0.5


def test_undefined_measures():
    nothing = Sums(np.ones((5, 10)), np.ones((5, 18)), np.ones((5, 19)), np.zeros((5, 17)))
    found = estimate({"a": [nothing], "b": [nothing]}, replicates=20)
    assert found["a"]["inference_ece"].ci95 is None
    undefined = difference(found["a"]["inference_ece"], found["b"]["inference_ece"])
    assert (undefined.ci95, undefined.p_value) == (None, 1.0)


def test_faults(population):
    with pytest.raises(DataError, match=r"Systems have \[3, 4\] sentences"):
        estimate({"a": [part(population[0], slice(3))], "b": [part(population[0], slice(4))]})
    with pytest.raises(ConfigError, match="-1 replicates"):
        estimate({"a": [part(population[0], slice(3))]}, replicates=-1)
