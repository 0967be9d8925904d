"""Matched pairs: how utterances are cut, the statistic, and what it does when there is no difference."""

import math

import numpy as np
import pytest

from seqkd.errors import DataError
from seqkd.scoring import count, paired_bootstrap
from seqkd.statistics.mapsswe import Errors, matched_pairs, segment_errors


def segments(reference, a, b, **options):
    systems = [count([reference], [text], characters=False, **options).alignments.errors() for text in (a, b)]
    return segment_errors(*systems).tolist()


@pytest.mark.parametrize(
    ("reference", "a", "b", "expected"),
    [
        ("a b c d", "a b c d", "a b c d", []),
        ("a b c d", "x b c y", "a b c d", [[1, 0], [1, 0]]),  # two correct words between
        ("a b c", "x b y", "a b c", [[2, 0]]),  # one is not enough
        ("a b c d e", "x b c d e", "a b c y e", [[1, 0], [0, 1]]),
        ("a b c d e", "x b c d e", "a b y d e", [[1, 1]]),  # b alone lies between a's and b's error
        ("a b c d", "x b i c d", "a b c d", [[2, 0]]),  # an insertion between the two words joins them
        ("a b c d", "i a b c d j", "a b c d", [[1, 0], [1, 0]]),
        ("a b c d", "a b c d i i", "a b c d j", [[2, 1]]),  # after the last word
        ("a b", "", "a b", [[2, 0]]),
    ],
)
def test_cuts(reference, a, b, expected):
    assert segments(reference, a, b) == expected
    assert segments(reference, b, a) == [pair[::-1] for pair in expected]


def test_utterances_are_never_joined():
    references, a, b = ["a", "b"], ["x", "y"], ["a", "b"]
    systems = [count(references, texts, characters=False).alignments.errors() for texts in (a, b)]
    assert segment_errors(*systems).tolist() == [[1, 0], [1, 0]]


def test_an_alternation_is_one_place():
    # Both readings are right; the systems took different ones. Then one error in the same alternation each.
    reference = "a { b c / d } e f g"
    assert segments(reference, "a b c e f g", "a d e f g", markup="alternatives") == []
    assert segments(reference, "a b x e f g", "a d i e f g", markup="alternatives") == [[1, 1]]
    assert segments(reference, "x b c e f g", "a d e f y", markup="alternatives") == [[1, 0], [0, 1]]


def test_statistic_by_hand():
    at = np.array([2, 0, 0, 0, 1, 0, 0, 3])
    other = np.array([1, 0, 0, 2, 0, 0, 0, 0])
    first, second = (Errors(a, np.zeros(9, int), np.ones(8, bool), np.array([8])) for a in (at, other))
    result = matched_pairs(first, second)
    differences = np.array([1, -1, 3])  # 2 − 1; 1 − 2 (nothing between them); 3 − 0
    z = differences.mean() / (differences.std(ddof=1) / math.sqrt(3))
    assert (result.segments, result.mean) == (3, 1.0)
    assert result.z == pytest.approx(z)
    assert result.p_value == pytest.approx(math.erfc(z / math.sqrt(2)))
    mirrored = matched_pairs(second, first)
    assert (mirrored.z, mirrored.p_value) == (-result.z, result.p_value)


def test_no_segments_and_no_spread():
    same = count(["a b c"], ["a b c"], characters=False).alignments.errors()
    assert matched_pairs(same, same).p_value == 1.0
    worse = count(["a b c"], ["x b c"], characters=False).alignments.errors()
    assert (matched_pairs(worse, same).z, matched_pairs(worse, same).p_value) == (math.inf, 1.0)  # of one segment
    references = [f"a b c {number}" for number in range(40)]
    worse = count(references, ["x" + text[1:] for text in references], characters=False).alignments.errors()
    same = count(references, references, characters=False).alignments.errors()
    result = matched_pairs(same, worse)  # the clearest difference there is, though nothing varies
    assert (result.z, result.p_value) == (-math.inf, 2.0**-39)


def test_other_references():
    one, other = (count([text], [text], characters=False).alignments.errors() for text in ("a b", "a"))
    with pytest.raises(DataError, match="not scored against the same references"):
        matched_pairs(one, other)


def no_difference(generator, utterances=250):
    """Two systems whose errors come from the same process, in bursts, on utterances of unlike difficulty."""
    lengths = generator.integers(3, 16, size=utterances)
    hard = np.repeat(generator.beta(1, 9, size=utterances), lengths)
    systems = []
    for _ in "ab":
        burst = generator.random(lengths.sum()) < hard
        at = (burst | (np.roll(burst, 1) & (generator.random(lengths.sum()) < 0.3))).astype(np.int64)
        before = (generator.random(lengths.sum() + utterances) < 0.01).astype(np.int64)
        systems.append(Errors(at, before, np.ones(len(at), bool), lengths))
    return systems, lengths


def test_a_true_null_is_rejected_as_often_as_it_should():
    generator = np.random.default_rng(12)
    trials, by_segments, by_bootstrap = 1500, 0, 0
    for trial in range(trials):
        (one, other), lengths = no_difference(generator)
        by_segments += matched_pairs(one, other).p_value < 0.05
        ends = np.cumsum(lengths)
        errors = [
            np.add.reduceat(system.at, ends - lengths)
            + np.add.reduceat(system.before, ends - lengths + np.arange(len(lengths)))
            for system in (one, other)
        ]
        by_bootstrap += paired_bootstrap(*errors, lengths, replicates=400, seed=trial).p_value < 0.05
    assert 0.03 <= by_segments / trials <= 0.07
    assert 0.03 <= by_bootstrap / trials <= 0.07
