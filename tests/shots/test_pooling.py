"""The log-linear pool: closed forms, weights that find who knows what, and better than the best on other data."""

from __future__ import annotations

import numpy as np
import pytest

from seqkd.errors import DataError
from seqkd.shots.pooling import fit_pool, pooled


def classifiers(seed: int, frames: int = 4000) -> tuple[list[np.ndarray], np.ndarray]:
    """Two that are sure of noisy views of the truth, three times over, and one that knows nothing."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(4, size=frames)
    views = [np.eye(4)[classes] * strength + rng.normal(size=(frames, 4)) for strength in (1.0, 1.5)]
    logits = [3 * (view * strength) for view, strength in zip(views, (1.0, 1.5), strict=True)]
    logits.append(rng.normal(size=(frames, 4)))
    powers = [np.exp(one) for one in logits]
    return [power / power.sum(-1, keepdims=True) for power in powers], classes


def nll(rows: np.ndarray, classes: np.ndarray) -> float:
    return -float(np.log(rows[np.arange(len(rows)), classes]).mean())


def test_closed_forms() -> None:
    p, q = np.array([[0.8, 0.2]]), np.array([[0.5, 0.5]])
    np.testing.assert_allclose(pooled([p, q], (1, 1)), p)
    np.testing.assert_allclose(pooled([p, p], (0.5, 0.5)), p)
    np.testing.assert_allclose(pooled([p, q], (0.5, 0.2)), [[2 / 3, 1 / 3]])  # √.8 : √.2 = 2 : 1
    np.testing.assert_allclose(pooled([p, q], (0, 0)), q)
    assert np.isfinite(pooled([np.array([[1.0, 0.0]])], (1,))).all()


def test_weights_take_back_what_is_counted_too_often() -> None:
    """The views' true log-likelihood ratios are a third of the logits given; noise gets nothing."""
    fitted = fit_pool(*classifiers(0))
    np.testing.assert_allclose(fitted, [1 / 3, 1 / 3, 0], atol=0.04)


def test_a_pool_is_better_than_its_best_and_than_their_product() -> None:
    weights = fit_pool(*classifiers(0))
    posteriors, classes = classifiers(1)
    found = nll(pooled(posteriors, weights), classes)
    assert found < min(nll(rows, classes) for rows in posteriors) - 0.05
    assert found < nll(pooled(posteriors, (1, 1, 1)), classes) - 0.2
    right = [(rows.argmax(-1) == classes).mean() for rows in (pooled(posteriors, weights), *posteriors)]
    assert right[0] > max(right[1:])


def test_the_same_classifier_twice_shares_its_weight() -> None:
    (_, second, _), classes = classifiers(0)
    one, (left, right) = fit_pool([second], classes), fit_pool([second, second], classes)
    assert left == pytest.approx(right, abs=1e-3)
    assert left + right == pytest.approx(one[0], abs=0.01)


def test_nothing_to_fit_on() -> None:
    with pytest.raises(DataError, match=r"^There are no seconds to fit the weights of a pool on"):
        fit_pool([np.zeros((0, 4))], np.zeros(0, int))
