"""The log-linear pool of classifiers: one distribution out of several, with weights fitted on songs kept aside.

p(s) ∝ ∏_i p_i(s)^{w_i}, w ≥ 0, as in products of experts. The weights maximise the likelihood of the true shots, which
is a convex problem; a classifier that adds nothing gets no weight, and evidence that several share does not count
several times, as it does in the product of their likelihoods.

Legend: T frames (seconds), C shot classes, N classifiers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seqkd.errors import DataError

_LEAST = 1e-12


def pooled(posteriors: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Return the pool (T, C) of N distributions (T, C) each; rows sum to 1. Without any weight it is uniform."""
    logs = sum(w * np.log(np.maximum(p, _LEAST)) for w, p in zip(weights, posteriors, strict=True))
    powers = np.exp(logs - np.max(logs, axis=-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def fit_pool(posteriors: Sequence[np.ndarray], classes: np.ndarray, penalty: float = 1e-4) -> tuple[float, ...]:
    """Return the weights (N,) under which the true classes are most probable.

    Args:
        posteriors: N times (T, C), of songs that none of the classifiers was trained on.
        classes: (T,) the truth.
        penalty: Times the squared distance of the weights from the plain mean, 1 / N; it decides between classifiers
            that are alike.

    Raises:
        DataError: There is nothing to fit on.
    """
    from scipy.optimize import minimize

    if not len(classes):
        raise DataError("There are no seconds to fit the weights of a pool on; expected dev songs with shots.")
    logs = np.stack([np.log(np.maximum(p, _LEAST)) for p in posteriors])  # (N, T, C)
    count, rows = len(logs), np.arange(len(classes))
    own = logs[:, rows, classes]  # (N, T)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = np.tensordot(weights, logs, 1)  # (T, C)
        most = scores.max(-1, keepdims=True)
        powers = np.exp(scores - most)
        total = powers.sum(-1, keepdims=True)
        nll = (np.log(total[:, 0]) + most[:, 0] - weights @ own).mean()
        slope = np.einsum("tc,ntc->n", powers / total, logs) / len(rows) - own.mean(1)
        away = weights - 1 / count
        return float(nll + penalty * away @ away), slope + 2 * penalty * away

    found = minimize(loss, np.full(count, 1 / count), jac=True, method="L-BFGS-B", bounds=[(0, None)] * count)
    return tuple(float(weight) for weight in found.x)
