"""Pairs of seconds: margins kept, nearest to the film language, and as many cuts expected as there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seqkd.corpora.songs.concerts import plan_song
from seqkd.corpora.songs.director import Director
from seqkd.corpora.songs.songwriting import context_of
from seqkd.errors import DataError
from seqkd.shots.coupling import change_probabilities, coupled, draw, stay_factor
from seqkd.shots.editing.decision import count_shots
from seqkd.shots.editing.drafts import choose
from seqkd.shots.language import FilmLanguage
from seqkd.shots.truth import Truth


def songs(name: str, count: int) -> list[Truth]:
    """Made-up songs as their director knows them: exact marginals, and the shots that were drawn."""
    director, made = Director(), []
    for number in range(count):
        context = context_of(plan_song(1, name, number, (70, 130)))
        shots = director.direct(context, np.random.default_rng([number, len(name)]))
        made.append(Truth.of(*director.transitions(context), shots))
    return made


@pytest.fixture(scope="module")
def known() -> tuple[list[Truth], FilmLanguage]:
    """Test songs, and a film language from others, whose factor of staying is fitted on others again."""
    language = FilmLanguage.from_counts([song.classes for song in songs("train", 60)])
    dev = songs("dev", 25)
    stay = stay_factor([song.marginal for song in dev], [song.classes for song in dev], language.transition)
    return songs("test", 40), replace(language, stay=stay)


def test_two_shots_in_closed_form() -> None:
    """Margins of ½ and odds of staying of 9 : 1 each way give .45 and .05; a bigram of no memory, products."""
    rows = np.full((2, 2), 0.5)
    np.testing.assert_allclose(coupled(rows, [[0.9, 0.1], [0.1, 0.9]])[0], [[0.45, 0.05], [0.05, 0.45]], atol=1e-9)
    rows = np.array([[0.7, 0.3], [0.2, 0.8]])
    np.testing.assert_allclose(coupled(rows, [[0.6, 0.4]] * 2)[0], np.outer(rows[0], rows[1]), atol=1e-6)


def test_margins_are_the_posteriors_and_odds_ratios_the_language_s() -> None:
    rng = np.random.default_rng(0)
    rows, base = rng.dirichlet(np.ones(5), 30), rng.dirichlet(np.ones(5), 5)
    pairs = coupled(rows, base)
    np.testing.assert_allclose(pairs.sum(2), rows[:-1], atol=1e-3)
    np.testing.assert_allclose(pairs.sum(1), rows[1:], atol=1e-6)
    ratio = lambda p: p[..., 1, 1] * p[..., 3, 4] / (p[..., 1, 4] * p[..., 3, 1])  # noqa: E731
    np.testing.assert_allclose(ratio(pairs), ratio(base), rtol=1e-9)
    np.testing.assert_allclose(change_probabilities(pairs), 1 - np.trace(pairs, axis1=1, axis2=2), atol=1e-12)


def test_certain_posteriors() -> None:
    rows = np.eye(4)[[0, 0, 2, 2, 1]]
    np.testing.assert_allclose(change_probabilities(coupled(rows, np.full((4, 4), 0.25))), [0, 1, 0, 1], atol=1e-4)
    assert draw(rows, coupled(rows, np.full((4, 4), 0.25)), np.random.default_rng(0)).tolist() == [0, 0, 2, 2, 1]


def test_draws_have_the_posteriors_as_their_marginals() -> None:
    rng = np.random.default_rng(1)
    rows = rng.dirichlet(np.ones(3), 6)
    pairs = coupled(rows, rng.dirichlet(np.ones(3), 3))
    draws = np.array([draw(rows, pairs, rng) for _ in range(4000)])
    found = np.array([np.bincount(column, minlength=3) / len(draws) for column in draws.T])
    np.testing.assert_allclose(found, rows, atol=0.04)


def test_as_many_cuts_as_there_are(known: tuple[list[Truth], FilmLanguage]) -> None:
    """The factor takes out what posteriors explain: it is below 1, and the fitted songs' cuts are expected exactly."""
    test, language = known
    assert 0.4 < language.stay < 0.9
    stay = stay_factor([song.marginal for song in test], [song.classes for song in test], language.transition)
    expected = sum(change_probabilities(coupled(s.marginal, language.transition, stay)).sum() for s in test)
    assert expected == pytest.approx(sum(count_shots(song.classes) - 1 for song in test), rel=0.005)


@pytest.mark.parametrize("draft", [0, 1])
def test_drafts_from_exact_marginals_have_the_true_pace_and_are_right_more_often(
    known: tuple[list[Truth], FilmLanguage], draft: int
) -> None:
    """Mean shot length within 10 % of the truth, and no fewer seconds right than what posteriors × bigram give."""
    test, language = known
    found = [choose(song.marginal, language, draft) for song in test]
    scores = [language.log_likelihood(song.marginal) for song in test]
    rng = np.random.default_rng(0)
    before = [language.sample(score, rng) if draft else language.viterbi(score) for score in scores]
    true = [song.classes for song in test]
    shots = [sum(map(count_shots, cuts)) for cuts in (found, before, true)]
    # Expected over all shots that the director might have drawn, so that chance plays no part.
    right = [np.mean([s.marginal[np.arange(len(c)), c].mean() for s, c in zip(test, cuts, strict=True)])
             for cuts in (found, before)]  # fmt: skip
    assert shots[2] / shots[0] == pytest.approx(1, abs=0.1)
    assert shots[1] < 0.7 * shots[2]  # what multiplying posteriors into the bigram does
    assert right[0] > right[1]


def test_what_cannot_be() -> None:
    for rows in (np.zeros((0, 3)), np.full((4, 3), np.nan), np.ones(3)):
        with pytest.raises(DataError, match=r"^Posteriors of shape .* cannot be used"):
            coupled(rows, np.full((3, 3), 1 / 3))
    with pytest.raises(DataError, match=r"^Posteriors are of 3 shots, the film language of 2\.$"):
        coupled(np.full((4, 3), 1 / 3), np.full((2, 2), 0.5))
    assert stay_factor([], [], np.full((2, 2), 0.5)) == 1
    # One shot throughout, or a cut at every second: finite.
    for classes in (np.zeros(50, int), np.arange(50) % 2):
        assert 0 < stay_factor([np.eye(2)[classes]], [classes], np.full((2, 2), 0.5)) < np.inf
