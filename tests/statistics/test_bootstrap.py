import numpy as np
import pytest

from seqkd.errors import DataError
from seqkd.scoring import bootstrap_interval, holm, paired_bootstrap


def simulate(generator, utterances, rate):
    """Errors that cluster by utterance, as real ones do: each has a rate of its own, 2 to 8 words."""
    words = generator.integers(2, 9, size=utterances)
    return generator.binomial(words, generator.beta(2, 2 / rate - 2, size=utterances)), words


def test_interval_covers_the_true_rate():
    generator = np.random.default_rng(0)
    trials, covered, covered_naively = 1200, 0, 0
    for trial in range(trials):
        errors, words = simulate(generator, 300, 0.2)
        low, high = bootstrap_interval(errors, words, replicates=400, seed=trial)
        covered += low <= 0.2 <= high
        p = errors.sum() / words.sum()
        covered_naively += abs(p - 0.2) <= 1.96 * np.sqrt(p * (1 - p) / words.sum())
    assert 0.93 <= covered / trials <= 0.97
    assert covered_naively / trials < 0.93  # words are not independent: a binomial interval is too narrow


def test_interval_over_speakers_covers_the_true_rate_where_speakers_differ():
    generator = np.random.default_rng(10)
    trials, covered, covered_by_utterances = 600, 0, 0
    speakers = np.repeat(np.arange(80), 6)
    for trial in range(trials):
        hard = generator.beta(4, 16, size=80)[speakers]  # mean .2
        words = np.full(len(speakers), 8)
        errors = generator.binomial(words, hard)
        low, high = bootstrap_interval(errors, words, blocks=speakers, replicates=400, seed=trial)
        covered += low <= 0.2 <= high
        low, high = bootstrap_interval(errors, words, replicates=400, seed=trial)
        covered_by_utterances += low <= 0.2 <= high
    assert 0.93 <= covered / trials <= 0.97
    assert covered_by_utterances / trials < 0.85


def test_interval_equals_plain_resampling():
    """The draw by distinct rows has the distribution of the plain one."""
    generator = np.random.default_rng(1)
    errors, words = simulate(generator, 300, 0.1)
    draws = generator.integers(0, 300, size=(20_000, 300))
    plain = np.percentile(errors[draws].sum(1) / words[draws].sum(1), [2.5, 97.5])
    assert bootstrap_interval(errors, words, replicates=20_000) == pytest.approx(plain, abs=0.001)


def test_seeds_are_averaged_within_utterances():
    generator = np.random.default_rng(2)
    errors, words = simulate(generator, 100, 0.2)
    assert bootstrap_interval([errors, errors, errors], words) == bootstrap_interval(errors, words)
    other = generator.permutation(errors)
    pooled = bootstrap_interval((errors + other) / 2, words)
    assert bootstrap_interval([errors, other], words) == pooled


def test_degenerate_draws():
    # A replicate may draw the empty reference only; its rate is undefined and it is left out.
    low, high = bootstrap_interval([1] * 10, [0] * 9 + [4], replicates=100)
    assert 0.25 <= low <= high < 40
    # No replicate of no errors, or of nothing but errors, has any other rate.
    low, high = bootstrap_interval([0] * 100, [3] * 100)
    assert (low, high) == (0.0, pytest.approx(1.96**2 / (300 + 1.96**2), rel=1e-4))
    assert bootstrap_interval([3] * 100, [3] * 100) == pytest.approx((1 - high, 1.0))


def test_paired_test_keeps_its_level():
    generator = np.random.default_rng(3)
    trials, rejected = 1500, 0
    for trial in range(trials):
        words = generator.integers(2, 9, size=300)
        hard = generator.beta(2, 8, size=300)  # the same utterances are hard for both systems
        a, b = (generator.binomial(words, hard) for _ in "ab")
        rejected += paired_bootstrap(a, b, words, replicates=500, seed=trial).p_value < 0.05
    assert 0.03 <= rejected / trials <= 0.07


def test_paired_test_finds_differences():
    generator = np.random.default_rng(4)
    words = generator.integers(2, 9, size=500)
    a, b = generator.binomial(words, 0.10), generator.binomial(words, 0.16)
    result = paired_bootstrap(a, b, words)
    assert result.delta == pytest.approx((a.sum() - b.sum()) / words.sum())
    assert result.ci95[0] < result.delta < result.ci95[1] < 0
    assert result.p_value == pytest.approx(2 / 10_001)
    mirrored = paired_bootstrap(b, a, words)
    assert (mirrored.delta, mirrored.p_value) == pytest.approx((-result.delta, result.p_value))


def test_pairing_matters():
    """A small but consistent difference is seen, because both systems meet the same utterances."""
    generator = np.random.default_rng(5)
    words = np.full(300, 10)
    errors = generator.binomial(words, generator.beta(1, 4, size=300))
    better = errors - (generator.random(300) < 0.1) * (errors > 0)
    assert paired_bootstrap(better, errors, words).p_value < 0.001
    assert bootstrap_interval(better, words)[1] > errors.sum() / words.sum()


def test_interval_and_p_value_agree():
    generator = np.random.default_rng(6)
    for trial in range(50):
        words = generator.integers(2, 9, size=100)
        a, b = generator.binomial(words, 0.2), generator.binomial(words, 0.25)
        result = paired_bootstrap(a, b, words, replicates=1999, seed=trial)
        excludes_zero = not result.ci95[0] <= 0 <= result.ci95[1]
        assert excludes_zero == (result.p_value < 0.05) or abs(result.p_value - 0.05) < 0.003


def test_identical_systems():
    result = paired_bootstrap([1, 0, 2] * 4, [1, 0, 2] * 4, [3, 3, 3] * 4)
    assert (result.delta, result.ci95, result.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_probability_of_improvement():
    generator = np.random.default_rng(8)
    words = generator.integers(2, 9, size=200)
    a, b = generator.binomial(words, 0.2), generator.binomial(words, 0.22)
    forth, back = paired_bootstrap(a, b, words), paired_bootstrap(b, a, words)
    assert 0.5 < forth.p_improvement < 1
    assert forth.p_improvement + back.p_improvement == pytest.approx(1, abs=0.02)
    assert paired_bootstrap(a, a, words).p_improvement == 0.5
    assert paired_bootstrap(a, a + 1, words).p_improvement == 1.0


def test_references_that_differ_between_systems():
    result = paired_bootstrap([1] * 10, [1] * 10, [4] * 10, words_b=[5] * 10, replicates=50)
    assert result.delta == pytest.approx(0.25 - 0.2)
    assert result.ci95 == pytest.approx((0.05, 0.05))


def test_blocks_are_drawn_whole():
    errors, words = [4, 0] * 100, [4] * 200
    # Blocks alike: every draw has the same rate. Alone, the utterances differ.
    blocks = [number // 2 for number in range(200)]
    assert bootstrap_interval(errors, words, blocks=blocks) == (0.5, 0.5)
    assert bootstrap_interval(errors, words) != (0.5, 0.5)
    assert paired_bootstrap(errors, errors[::-1], words, blocks=blocks).p_value == 1.0
    with pytest.raises(DataError, match="There are 200 utterances, but 3 blocks of them; expected one each"):
        bootstrap_interval(errors, words, blocks="xxy")


def test_different_numbers_of_seeds():
    result = paired_bootstrap([[1, 2], [3, 0]], [2, 1], [4, 4], replicates=100)
    assert result.delta == 0.0
    assert result == paired_bootstrap([2, 1], [[2, 1], [2, 1]], [4, 4], replicates=100)


def test_deterministic():
    generator = np.random.default_rng(7)
    words = generator.integers(2, 9, size=300)
    a, b = generator.binomial(words, 0.2), generator.binomial(words, 0.22)
    assert paired_bootstrap(a, b, words, seed=1) == paired_bootstrap(a, b, words, seed=1)
    assert paired_bootstrap(a, b, words, seed=1) != paired_bootstrap(a, b, words, seed=2)
    order = generator.permutation(300)
    assert paired_bootstrap(a[order], b[order], words[order], seed=1) == paired_bootstrap(a, b, words, seed=1)


@pytest.mark.parametrize(
    ("errors", "words", "sentence"),
    [
        ([1, 2], [3], r"Errors \(1, 2\) and words \(1,\) do not fit"),
        ([], [], "no reference words"),
        ([1, 1], [0, 0], "no reference words"),
    ],
)
def test_faults(errors, words, sentence):
    with pytest.raises(DataError, match=sentence):
        bootstrap_interval(errors, words)


def test_holm():
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03]) == [True, False, False]  # .01 <= .05 / 3, .03 > .05 / 2
    assert holm([0.01, 0.02, 0.03]) == [True, True, True]
    assert holm([0.2, 0.001]) == [False, True]
