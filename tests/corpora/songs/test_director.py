"""The director's exact distributions, against enumeration and simulation."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seqkd.corpora.songs.director import Director
from seqkd.corpora.songs.songwriting import SECTIONS, Context, context_of, write_score
from seqkd.errors import DataError
from seqkd.shots.chain import given_previous, marginals, most_likely
from seqkd.shots.classes import SHOTS
from seqkd.shots.truth import Truth, bound_of, read_bound, read_truth, write_truth

T = 4


def context(frames: int, seed: int = 0) -> Context:
    """Anything at all, for a few seconds."""
    rng = np.random.default_rng(seed)
    flags = {name: rng.random(frames) < 0.5 for name in ("vocal", "lead", "fill", "late", "downbeat", "phrase")}
    return Context(section=rng.integers(0, len(SECTIONS), frames), energy=rng.integers(0, 3, frames), **flags)


def enumerated(initial: np.ndarray, transition: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All sequences (8^T, T) and their probabilities."""
    paths = np.array(list(itertools.product(range(8), repeat=len(transition))))
    p = initial[paths[:, 0]]
    for t in range(1, len(transition)):
        p = p * transition[t, paths[:, t - 1], paths[:, t]]
    return paths, p


@pytest.mark.parametrize("seed", range(3))
def test_recursions_equal_enumeration(seed: int) -> None:
    initial, transition = Director().transitions(context(T, seed))
    paths, p = enumerated(initial, transition)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    expected = np.stack([np.bincount(paths[:, t], p, minlength=8) for t in range(T)])
    np.testing.assert_allclose(marginals(initial, transition), expected, atol=1e-12)
    best = paths[p.argmax()]
    assert most_likely(initial, transition).tolist() == best.tolist()
    truth = Truth.of(initial, transition, best)
    bound = bound_of([truth])
    assert bound.accuracy == pytest.approx(expected.max(axis=1).mean())
    assert bound.accuracy_viterbi == pytest.approx((p @ (paths == best)).mean())
    assert bound.nll == pytest.approx(-(expected * np.log(expected)).sum() / T)
    assert bound.nll_given_previous == pytest.approx(-(p * np.log(p)).sum() / T)
    assert bound.shot_length == pytest.approx(T / (p @ (1 + (np.diff(paths, axis=1) != 0).sum(axis=1))))
    # With the previous shot known, whichever it is, one guesses the best of its row.
    guesses = np.concatenate([np.full((len(p), 1), initial.argmax()), np.stack(
        [transition[t, paths[:, t - 1]].argmax(axis=1) for t in range(1, T)], axis=1)], axis=1)  # fmt: skip
    assert bound.accuracy_given_previous == pytest.approx((p @ (paths == guesses)).mean())
    # Two sequences drawn alike agree as often as the marginals' squares say.
    assert bound.accuracy_sampled == pytest.approx((expected**2).sum() / T)


def test_nobody_beats_the_bound() -> None:
    """No sequence whatever has a higher expected accuracy."""
    initial, transition = Director().transitions(context(T, 5))
    paths, p = enumerated(initial, transition)
    expected = np.stack([np.bincount(paths[:, t], p, minlength=8) for t in range(T)])
    every = expected[np.arange(T), paths].mean(axis=1)
    assert every.max() == pytest.approx(bound_of([Truth.of(initial, transition, paths[0])]).accuracy)


def test_simulation_agrees_with_the_recursion() -> None:
    heard, director = context(30), Director()
    rng = np.random.default_rng(1)
    drawn = np.stack([director.direct(heard, rng) for _ in range(3000)])
    truth = Truth.of(*director.transitions(heard), drawn[0])
    shares = np.stack([np.bincount(drawn[:, t], minlength=8) for t in range(30)]) / len(drawn)
    # Five standard errors of a share of 3,000 draws.
    assert np.abs(shares - truth.marginal).max() < 5 * 0.5 / np.sqrt(3000)
    bounds = bound_of([Truth(row, *truth_parts(truth), given_previous(truth.initial, truth.transition, row))
                       for row in drawn[:800]])  # fmt: skip
    assert bounds.drawn_accuracy == pytest.approx(bounds.accuracy, abs=0.015)
    assert bounds.drawn_accuracy_given_previous == pytest.approx(bounds.accuracy_given_previous, abs=0.015)
    assert bounds.drawn_accuracy_viterbi == pytest.approx(bounds.accuracy_viterbi, abs=0.015)
    cuts = 1 + (np.diff(drawn, axis=1) != 0).sum(axis=1)
    assert 30 / cuts.mean() == pytest.approx(bounds.shot_length, rel=0.03)


def truth_parts(truth: Truth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return truth.initial, truth.transition, truth.marginal


def test_the_parameters_do_what_they_say() -> None:
    heard = context(40)
    flat = Director(sharpness=0, stay=0, downbeat=0, phrase=0, vocal=0, energy=0, jump=0)
    np.testing.assert_allclose(flat.transitions(heard)[1], 1 / 8)
    stays = np.diagonal(Director().transitions(heard)[1], axis1=1, axis2=2)
    assert (np.diagonal(Director(stay=4).transitions(heard)[1], axis1=1, axis2=2) > stays).all()
    chances = {}
    for name, more_cuts in (("downbeat", True), ("phrase", True), ("vocal", False)):
        still = Director(sharpness=0)  # so that only the odds of staying differ
        for flag in (True, False):
            transition = still.transitions(replace(heard, **{name: np.full(40, flag)}))[1]
            chances[flag] = np.diagonal(transition, axis1=1, axis2=2)
        assert ((chances[True] < chances[False]) == more_cuts).all(), name
    fast, slow = (still.transitions(replace(heard, energy=np.full(40, level)))[1] for level in (2, 0))
    assert (np.diagonal(fast, axis1=1, axis2=2) < np.diagonal(slow, axis1=1, axis2=2)).all()
    grammar = Director(jump=0.8).grammar()
    assert grammar[SHOTS.index("CU"), SHOTS.index("MCU")] == grammar[SHOTS.index("XLS"), SHOTS.index("CU")] == -0.8
    assert not grammar[[6, 7]].any()
    assert not np.allclose(Director(seed=1).utilities(heard), Director(seed=2).utilities(heard))
    np.testing.assert_array_equal(Director(seed=1).utilities(heard), Director(seed=1).utilities(heard))


def test_songs_leave_the_uncertainty_that_is_wanted() -> None:
    """Knowing the song, 65 to 80 % can be had; shots last about as long as the paper's 3.5 s."""
    truths = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        heard = context_of(write_score(rng, (70, 130)))
        truths.append(Truth.of(*Director().transitions(heard), Director().direct(heard, rng)))
    bound = bound_of(truths)
    assert 0.65 < bound.accuracy < 0.8
    assert bound.accuracy + 0.05 < bound.accuracy_given_previous < 0.9
    assert 3.2 < bound.shot_length < 3.8
    shares = np.bincount(np.concatenate([truth.classes for truth in truths]), minlength=8)
    assert shares.min() / shares.sum() > 0.03, shares


def test_truth_comes_back_as_it_was_written(tmp_path: Path) -> None:
    truths = {}
    for key, frames in (("b", 9), ("a", 12)):
        initial, transition = Director().transitions(context(frames))
        truths[key] = Truth.of(initial, transition, most_likely(initial, transition))
    bound = write_truth(tmp_path, truths)
    found = read_truth(tmp_path)
    assert sorted(found) == ["a", "b"]
    for key, truth in truths.items():
        np.testing.assert_array_equal(found[key].marginal, truth.marginal)
        np.testing.assert_array_equal(found[key].given_previous, truth.given_previous)
        np.testing.assert_allclose(found[key].given_previous.sum(axis=1), 1)
    assert read_bound(tmp_path) == bound
    for name, read in (("director.safetensors", read_truth), ("bound.json", read_bound)):
        (tmp_path / name).write_text("{}")
        with pytest.raises(DataError, match=f"{name} is damaged"):
            read(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(DataError, match=f"{name} is missing; only made-up concerts"):
            read(tmp_path)
