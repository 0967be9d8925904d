"""Which clips are learned from, and with which labels: drawn by the seed, class by class."""

from __future__ import annotations

import numpy as np
import pytest

from seqkd.classification.examples import ExampleSettings, chosen_rows, classes_of, with_wrong_labels
from seqkd.errors import ConfigError

NUMBERS = np.array([0] * 10 + [1] * 5 + [2] * 7)[np.random.default_rng(0).permutation(22)]
ALL = (0, 1, 2)


def counts(rows: np.ndarray) -> list[int]:
    assert (np.diff(rows) > 0).all()  # rising, each once
    return np.bincount(NUMBERS[rows], minlength=3).tolist()


def chosen(run: int = 0, /, subset: tuple[int, ...] = ALL, **settings: object) -> np.ndarray:
    return chosen_rows(NUMBERS, ExampleSettings(**settings), subset, run)


def test_by_default_all_are_learned_from() -> None:
    assert chosen().tolist() == list(range(22))
    assert with_wrong_labels(NUMBERS, 3, ExampleSettings(), 0) is NUMBERS


def test_shots_and_shares_are_of_each_class() -> None:
    assert counts(chosen(shots=4)) == [4, 4, 4]
    assert counts(chosen(shots=1)) == [1, 1, 1]
    assert counts(chosen(share=0.4)) == [4, 2, 3]
    assert counts(chosen(share=0.001)) == [1, 1, 1]  # at least one
    assert counts(chosen(shots=4, share=0.5)) == [2, 2, 2]
    assert counts(
        chosen(
            subset=(0, 2),
            shots=3,
        )
    ) == [3, 3, 3]  # what is a subset for others
    assert counts(chosen(subset=(0, 2), shots=3)) == [3, 3, 3]  # what is a subset for others
    only = ExampleSettings(subset=True)
    assert counts(chosen_rows(NUMBERS, only, (0, 2), 0)) == [10, 0, 7]


def test_fewer_clips_are_among_the_more() -> None:
    """So that a curve over shots is of nested sets."""
    few, more = (set(chosen(shots=shots).tolist()) for shots in (2, 4))
    assert few < more
    only = chosen_rows(NUMBERS, ExampleSettings(shots=2, subset=True), (0, 2), 0)
    assert set(only.tolist()) == {row for row in few if NUMBERS[row] != 1}  # a subset changes no other draw


def test_draws_are_the_seeds() -> None:
    assert chosen(shots=3).tolist() == chosen(shots=3).tolist()
    assert chosen(shots=3).tolist() != chosen(1, shots=3).tolist()
    assert chosen(1, shots=3, seed=0).tolist() == chosen(shots=3).tolist()


def test_wrong_labels_are_other_classes_evenly() -> None:
    numbers = np.repeat(np.arange(5), 2000)
    settings = ExampleSettings(wrong_labels=0.2)
    found = with_wrong_labels(numbers, 5, settings, 0)
    wrong = found != numbers
    assert wrong.mean() == pytest.approx(0.2, abs=0.015)
    assert set(np.unique(found)) == set(range(5))
    confusion = np.zeros((5, 5))
    np.add.at(confusion, (numbers[wrong], found[wrong]), 1)
    assert (confusion[~np.eye(5, dtype=bool)] > 60).all()  # about 100 each
    assert np.array_equal(found, with_wrong_labels(numbers, 5, settings, 0))
    assert not np.array_equal(found, with_wrong_labels(numbers, 5, settings, 1))
    assert np.array_equal(found, with_wrong_labels(numbers, 5, ExampleSettings(wrong_labels=0.2, seed=0), 1))
    more = with_wrong_labels(numbers, 5, ExampleSettings(wrong_labels=0.5), 0)
    assert (more[wrong] == found[wrong]).all()  # those that are wrong already stay so


def test_a_subset_is_named_or_a_share() -> None:
    names = ("up", "down", "left", "right")
    assert classes_of(names, None) == (0, 1, 2, 3)
    assert classes_of(names, ["right", "down"]) == (1, 3)
    half = classes_of(names, 0.5)
    assert len(half) == 2 and half == classes_of(names, 0.5) and half == tuple(sorted(half))
    assert {classes_of(names, 0.5, seed) for seed in range(20)} != {half}
    assert classes_of(names, 1) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: chosen(shots=6), "setting system.examples.shots is 6, but a class has 5 training clips; expected no"),
        (
            lambda: chosen_rows(NUMBERS, ExampleSettings(subset=True), (4, 5), 0),
            "setting classes.subset names classes of which there is no training clip",
        ),
        (
            lambda: classes_of("ab", ["a", "c"]),
            "setting classes.subset names 'c', which is no class; the classes are a, b",
        ),
        (
            lambda: classes_of(["yes", "nope"], ["yes", "nop"]),
            "setting classes.subset names 'nop', which is no class; did you mean nope?; the classes are yes, nope",
        ),
        (lambda: classes_of("ab", ["a"]), "setting classes.subset leaves 1 classes; expected at least 2"),
        (lambda: classes_of("ab", ["a", "a"]), "setting classes.subset leaves 1 classes; expected at least 2"),
        (lambda: classes_of("abcd", 0.1), "setting classes.subset leaves 0 classes; expected at least 2"),
        (lambda: classes_of("abcd", 1.5), "setting classes.subset is 1.5; expected from 0 to 1"),
        (lambda: ExampleSettings(shots=0), "shots is 0; expected at least 1"),
        (lambda: ExampleSettings(share=0.0), "share is 0.0; expected more than 0"),
        (lambda: ExampleSettings(share=1.5), "share is 1.5; expected from 0 to 1"),
        (lambda: ExampleSettings(wrong_labels=1.0), "wrong_labels is 1.0; expected from 0 to less than 1"),
        (lambda: ExampleSettings(seed=-1), "seed is -1; expected at least 0"),
    ],
)
def test_what_cannot_be_is_one_sentence(call, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)
