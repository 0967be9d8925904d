"""The film language against enumeration of every sequence, and its table on disk."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.errors import DataError
from seqkd.shots.language import FilmLanguage


def make(seed: int, frames: int, classes: int, *, impossible: bool = False) -> tuple[FilmLanguage, np.ndarray]:
    """A random film language and (T, C) log-likelihoods; some pairs of shots may be impossible."""
    rng = np.random.default_rng(seed)
    tables = [
        rng.dirichlet(np.ones(classes)),
        rng.dirichlet(np.ones(classes), classes),
        rng.dirichlet(np.ones(classes)),
    ]
    if impossible:
        cut = rng.random((classes, classes)) < 0.3
        cut[:, 0] = False  # so that no row is empty
        tables[1] = np.where(cut, 0, tables[1]) / np.where(cut, 0, tables[1]).sum(-1, keepdims=True)
    return FilmLanguage(*tables), 3 * rng.normal(size=(frames, classes))


def enumerated(language: FilmLanguage, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every sequence (C^T, T), and P(s | music) of each, by multiplying probabilities."""
    frames, classes = scores.shape
    sequences = np.array(list(itertools.product(range(classes), repeat=frames)))
    weights = []
    for sequence in sequences:
        weight = language.initial[sequence[0]]
        for before, now in itertools.pairwise(sequence):
            weight *= language.transition[before, now]
        weights.append(weight * np.prod([np.exp(scores[t, shot]) for t, shot in enumerate(sequence)]))
    return sequences, np.array(weights) / np.sum(weights)


CASES = {"seed": st.integers(0, 2**16), "frames": st.integers(1, 5), "classes": st.integers(1, 4)}


@settings(max_examples=60, deadline=None)
@given(**CASES, impossible=st.booleans())
def test_viterbi_is_the_best_of_all_sequences(seed, frames, classes, impossible):
    language, scores = make(seed, frames, classes, impossible=impossible)
    sequences, weights = enumerated(language, scores)
    assert (language.viterbi(scores) == sequences[weights.argmax()]).all()


@settings(max_examples=60, deadline=None)
@given(**CASES, impossible=st.booleans())
def test_posterior_is_the_sum_over_all_sequences(seed, frames, classes, impossible):
    language, scores = make(seed, frames, classes, impossible=impossible)
    sequences, weights = enumerated(language, scores)
    expected = np.stack([[weights[sequences[:, t] == c].sum() for c in range(classes)] for t in range(frames)])
    found = language.posterior(scores)
    assert np.abs(found - expected).max() < 1e-12
    assert np.abs(found.sum(-1) - 1).max() < 1e-12


def test_samples_have_the_probability_of_their_sequence():
    language, scores = make(3, 3, 3)
    sequences, weights = enumerated(language, scores)
    rng = np.random.default_rng(0)
    drawn = np.stack([language.sample(scores, rng) for _ in range(8000)])
    shares = np.array([(drawn == sequence).all(-1).mean() for sequence in sequences])
    # Chi-squared of 26 degrees of freedom is below 54 in 99.9 % of cases.
    assert (8000 * (shares - weights) ** 2 / weights).sum() < 54


def test_a_sample_depends_on_the_generator_alone_and_is_possible():
    language, scores = make(5, 200, 4, impossible=True)
    one, same, other = (language.sample(scores, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (one == same).all() and (one != other).any()
    assert np.isfinite(language.log_prob(one)) and np.isfinite(language.log_prob(other))


def test_two_hours_do_not_underflow():
    language, scores = make(1, 7200, 8)
    posterior = language.posterior(100 * scores)
    assert np.isfinite(posterior).all() and np.abs(posterior.sum(-1) - 1).max() < 1e-9
    assert language.viterbi(100 * scores).shape == (7200,)


def test_a_constant_a_frame_changes_nothing():
    language, scores = make(2, 30, 5)
    shifted = scores + np.random.default_rng(0).normal(size=(30, 1)) * 500
    assert (language.viterbi(shifted) == language.viterbi(scores)).all()
    np.testing.assert_allclose(language.posterior(shifted), language.posterior(scores), atol=1e-9)


def test_without_music_the_posterior_is_the_chain_itself():
    language, scores = make(4, 6, 3)
    expected = [language.initial]
    for _ in range(5):
        expected.append(expected[-1] @ language.transition)
    np.testing.assert_allclose(language.posterior(0 * scores), expected, atol=1e-12)


def test_counts():
    language = FilmLanguage.from_counts([np.array(s, int) for s in ([0, 0, 1], [1], [])], classes=3)
    assert language.counts.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(language.initial, [2 / 5, 2 / 5, 1 / 5])
    np.testing.assert_allclose(language.transition, [[2 / 5, 2 / 5, 1 / 5], [1 / 3] * 3, [1 / 3] * 3])
    np.testing.assert_allclose(language.prior, [3 / 7, 3 / 7, 1 / 7])
    unsmoothed = FilmLanguage.from_counts([np.array([0, 1, 0])], classes=2, smoothing=0)
    assert unsmoothed.transition.tolist() == [[0, 1], [1, 0]] and unsmoothed.initial.tolist() == [1, 0]
    assert unsmoothed.log_prob([0, 1, 0]) == 0 and unsmoothed.log_prob([0, 0]) == -np.inf


def test_the_likelihood_is_the_posterior_over_the_prior():
    language, _ = make(6, 1, 4)
    posterior = np.random.default_rng(1).dirichlet(np.ones(4), 5)
    np.testing.assert_allclose(np.exp(language.log_likelihood(posterior)), posterior / language.prior)
    # A classifier that knows only the prior says nothing: what is left is the film language.
    nothing = language.log_likelihood(np.tile(language.prior, (5, 1)))
    np.testing.assert_allclose(nothing, 0, atol=1e-12)
    assert np.isfinite(language.log_likelihood([[1.0, 0, 0, 0]])).all()


def test_nothing_in_nothing_out():
    language, _ = make(0, 1, 3)
    empty = np.zeros((0, 3))
    assert language.viterbi(empty).shape == (0,) and language.posterior(empty).shape == (0, 3)
    assert language.sample(empty, np.random.default_rng(0)).shape == (0,)


def test_on_disk(tmp_path):
    language = FilmLanguage.from_counts([np.array([0, 2, 2, 1])], classes=3)
    language.save(tmp_path / "language.json")
    again = FilmLanguage.load(tmp_path / "language.json")
    for name in ("initial", "transition", "prior", "counts"):
        assert (getattr(again, name) == getattr(language, name)).all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "is missing"),
        ("{", "is not a film language"),
        ("[]", "is not a film language"),
        ('{"initial": [1]}', "'transition'"),
        ('{"initial": [1], "transition": [[1]], "prior": [2]}', "prior is not made of probabilities"),
        ('{"initial": [1], "transition": [1], "prior": [1]}', r"transition has shape \(1,\); expected \(1, 1\)"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, text, says):
    path = tmp_path / "language.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        FilmLanguage.load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_faults():
    language, scores = make(0, 4, 3)
    for broken, says in (
        (scores[:, :2], r"shape \(4, 2\); expected \(T, 3\)"),
        (np.where(np.arange(3) == 1, np.nan, scores), "frame 0 hold a NaN"),
        (np.full((4, 3), -np.inf), "No shot sequence"),
    ):
        for read in (language.viterbi, language.posterior, lambda x: language.sample(x, np.random.default_rng(0))):
            with pytest.raises(DataError, match=says):
                read(broken)
    with pytest.raises(DataError, match="outside of the classes 0 to 2"):
        FilmLanguage.from_counts([np.array([0, 3])], classes=3)
    with pytest.raises(DataError, match="needs shots to count"):
        FilmLanguage.from_counts([np.array([0])], classes=3, smoothing=0)
