"""BLEU and chrF in the shared bootstrap: sacreBLEU's own test, the coverage of intervals, the level of tests."""

import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from seqkd.statistics.bootstrap import difference, estimate
from seqkd.statistics.table import Table
from seqkd.translation import measures

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


def table_of(hypotheses, references):
    metrics = {"bleu": BLEU(force=True), "chrf": CHRF()}
    columns = {
        name: np.array(metric._extract_corpus_statistics(hypotheses, [references]), float)
        for name, metric in metrics.items()
    }
    return Table(tuple(map(str, range(len(references)))), columns)


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
    tables = {name: table_of(lines, references) for name, lines in texts.items()}
    for measure, column in ((measures.BLEU, "BLEU"), (measures.CHRF, "chrF2")):
        values = {name: measure.value(one.total()) for name, one in tables.items()}
        drawn = {name: measure.value(one.drawn(weights)) for name, one in tables.items()}
        for place, name in enumerate(texts):
            result = theirs[column][place]
            assert values[name] == pytest.approx(result.score, rel=1e-12)
            assert drawn[name].mean() == pytest.approx(result.mean, rel=1e-5)
            if place:
                between = np.abs(drawn[name] - drawn["base"])
                beyond = (between - between.mean() > abs(values[name] - values["base"])).sum()
                assert (beyond + 1) / 1001 == pytest.approx(result.p_value, abs=0.0021)
                # Ours is of both sides and uncentred: about twice theirs where the difference is plain.
                both = {name: {0: tables[name]}, "base": {0: tables["base"]}}
                ours = estimate(both, [measure], replicates=4000)
                p_value = difference(ours[name][measure.key], ours["base"][measure.key]).p_value
                assert p_value == pytest.approx(2 * result.p_value, abs=0.03)
                assert 0.0005 < result.p_value < 0.2  # neither test is trivial


@pytest.fixture(scope="module")
def population():
    """2,000 sentences of two systems that are as good as each other."""
    references = some_references(2000, seed=5)
    return [table_of(spoiled(references, 0.3, name), references) for name in ("one", "other")]


def test_bleu_intervals_cover_and_null_is_kept(population):
    """Of samples of a population: its BLEU is in 95 % of the intervals, and equals are told apart 5 % of the time."""
    truths = [measures.BLEU.value(one.total()) for one in population]
    assert abs(truths[0] - truths[1]) < 0.7
    generator = np.random.default_rng(6)
    trials, covered, rejected = 300, 0, 0
    ids = tuple(map(str, range(150)))
    for trial in range(trials):
        rows = generator.integers(2000, size=150)
        # By turns from either: whatever the small difference of the populations is, it is no difference here.
        swap = generator.random((150, 1)) < 0.5
        a, b = (one.columns["bleu"][rows] for one in population)
        systems = {"a": a, "x": np.where(swap, b, a), "y": np.where(swap, a, b)}
        systems = {name: {0: Table(ids, {"bleu": sums})} for name, sums in systems.items()}
        found = estimate(systems, [measures.BLEU], replicates=300, seed=trial)
        low, high = found["a"]["bleu"].ci95
        covered += low <= truths[0] <= high
        rejected += difference(found["x"]["bleu"], found["y"]["bleu"]).p_value < 0.05
    assert 0.92 <= covered / trials <= 0.98
    assert 0.025 <= rejected / trials <= 0.08


def test_the_mean_of_the_seeds_scores(population):
    """Not the score of their texts together."""
    seeds = dict(enumerate(one.part(slice(200)) for one in population))
    found = estimate({"both": seeds}, [measures.BLEU], replicates=20)["both"]["bleu"]
    values = [float(measures.BLEU.value(one.total())) for one in seeds.values()]
    assert found.value == pytest.approx(np.mean(values))
    assert found.spread == pytest.approx(np.std(values, ddof=1))
