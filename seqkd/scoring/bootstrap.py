"""Uncertainty of error rates by resampling test utterances (Bisani & Ney, ICASSP 2004).

Errors cluster within an utterance, so whole utterances are drawn, with replacement; a rate is the ratio of
the drawn errors to the drawn words. Runs of one system from several seeds share their test utterances: their
errors are pooled within each utterance first, so that an utterance is drawn with all of its seeds.
Intervals and p-values say what other test utterances would change; they treat the trained models as given.

Legend: N utterances, S seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seqkd.errors import DataError

_CHUNK = 1 << 20  # numbers drawn at a time: 8 MiB


@dataclass(frozen=True)
class PairedResult:
    """The difference between two systems on the same utterances.

    Attributes:
        delta: rate of a minus rate of b, as a fraction; negative if a makes fewer errors.
        ci95: percentile bootstrap interval of ``delta``.
        p_value: two-sided, for the hypothesis that ``delta`` is zero; below .05 when ``ci95`` excludes zero.
    """

    delta: float
    ci95: tuple[float, float]
    p_value: float


def bootstrap_interval(
    errors: ArrayLike, words: ArrayLike, *, replicates: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile interval of an error rate.

    Args:
        errors: (N,) or (S, N), errors of each utterance, in S seeds.
        words: (N,), reference words of each utterance; any may be 0, but not all.
        replicates: bootstrap replicates.
        seed: of the resampling; the result depends on it, but not on the order of the utterances.

    Returns:
        (low, high) as fractions.

    Raises:
        DataError: shapes disagree, there is nothing to resample, or no reference words.
    """
    errors, words, seeds = _check(errors, words)
    words = words * seeds
    rates = [drawn[:, 0] / drawn[:, 1] for drawn in _resample([errors, words], replicates, seed)]
    return _percentiles(np.concatenate(rates))


def paired_bootstrap(
    errors_a: ArrayLike,
    errors_b: ArrayLike,
    words: ArrayLike,
    *,
    replicates: int = 10_000,
    seed: int = 0,
) -> PairedResult:
    """Compare two systems on the same utterances.

    Each replicate draws utterances once and evaluates both systems on them. The p-value is twice the smaller
    share of replicates on either side of zero (ties count on both). One is added to the count, as for any
    Monte Carlo test, so p is never 0: with 10,000 replicates it is at least .0002.

    Args:
        errors_a: (N,) or (S, N), errors of each utterance, in S seeds.
        errors_b: (N,) or (S', N); the number of seeds may differ.
        words: (N,), reference words of each utterance.
        replicates: bootstrap replicates.
        seed: of the resampling.

    Raises:
        DataError: shapes disagree, there is nothing to resample, or no reference words.
    """
    errors_a, _, seeds_a = _check(errors_a, words)
    errors_b, words, seeds_b = _check(errors_b, words)
    # Multiplied out instead of averaged: whole numbers keep ties exact.
    difference = errors_a * seeds_b - errors_b * seeds_a  # (N,)
    words = words * seeds_a * seeds_b
    delta = difference.sum() / words.sum()
    deltas = np.concatenate([drawn[:, 0] / drawn[:, 1] for drawn in _resample([difference, words], replicates, seed)])
    smaller_tail = min((deltas <= 0).sum(), (deltas >= 0).sum())
    p_value = min(1.0, 2 * (smaller_tail + 1) / (len(deltas) + 1))
    return PairedResult(float(delta), _percentiles(deltas), float(p_value))


def holm(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Say which of several hypotheses are rejected at ``level`` by Holm's step-down correction (1979)."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def _check(errors: ArrayLike, words: ArrayLike) -> tuple[np.ndarray, np.ndarray, int]:
    """Return errors summed over seeds and words, both (N,) and float64, and the number of seeds."""
    errors = np.atleast_2d(np.asarray(errors, dtype=float))  # (S, N)
    words = np.asarray(words, dtype=float)  # (N,)
    if words.ndim != 1 or errors.ndim != 2 or errors.shape[1:] != words.shape:
        raise DataError(f"Errors {errors.shape} and words {words.shape} do not fit; expected (S, N) and (N,).")
    if not errors.size or not words.sum() > 0:
        raise DataError("There are no reference words to compute an error rate from.")
    return errors.sum(axis=0), words, len(errors)


def _resample(columns: list[np.ndarray], replicates: int, seed: int) -> Iterator[np.ndarray]:
    """Draw N utterances with replacement, again and again; yield the column sums (chunk, columns)."""
    # Utterances with equal numbers are interchangeable: drawing how often each distinct row occurs is the
    # same distribution, takes far fewer draws, and makes the result independent of the utterances' order.
    rows, counts = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // len(rows))
    for start in range(0, replicates, chunk):
        draws = generator.multinomial(
            counts.sum(), counts / counts.sum(), size=min(chunk, replicates - start)
        )  # (chunk, rows)
        drawn = draws @ rows
        yield drawn[drawn[:, -1] > 0]  # a draw of empty references only has no rate


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
