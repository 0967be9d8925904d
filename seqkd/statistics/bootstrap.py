"""Uncertainty of error rates by resampling test utterances (Bisani & Ney, ICASSP 2004).

Errors cluster within an utterance, so whole utterances are drawn, with replacement; a rate is the ratio of
the drawn errors to the drawn words. Runs of one system from several seeds share their test utterances: their
errors are pooled within each utterance first, so that an utterance is drawn with all of its seeds.
Intervals and p-values say what other test utterances would change; they treat the trained models as given.

Utterances of one speaker (or meeting, or book) are alike too. Where that matters, and there are speakers enough,
give ``blocks``: then whole speakers are drawn, and the interval says what other speakers would change.

Legend: N utterances, S seeds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
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
        p_improvement: Bisani and Ney's probability of improvement, the share of replicates in which a makes fewer
            errors than b; those in which both make as many count half.
    """

    delta: float
    ci95: tuple[float, float]
    p_value: float
    p_improvement: float


def bootstrap_interval(
    errors: ArrayLike,
    words: ArrayLike,
    *,
    blocks: Sequence[Hashable] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % percentile interval of an error rate.

    Args:
        errors: (N,) or (S, N), errors of each utterance, in S seeds.
        words: (N,), reference words of each utterance; any may be 0, but not all.
        blocks: (N,), what is drawn as one, such as the speaker of each utterance; utterances if left out.
        replicates: bootstrap replicates.
        seed: of the resampling; the result depends on it, but not on the order of the utterances.

    Returns:
        (low, high) as fractions.

    Raises:
        DataError: shapes disagree, there is nothing to resample, or no reference words.
    """
    errors, words, seeds = _check(errors, words)
    rows = _in_blocks([errors, words * seeds], blocks)
    return _percentiles(np.concatenate([drawn[:, 0] / drawn[:, 1] for drawn in _resample(rows, replicates, seed)]))


def paired_bootstrap(
    errors_a: ArrayLike,
    errors_b: ArrayLike,
    words: ArrayLike,
    *,
    words_b: ArrayLike | None = None,
    blocks: Sequence[Hashable] | None = None,
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
        words_b: (N,), those that b was scored against, where references with alternatives make them differ.
        blocks: (N,), what is drawn as one, as in `bootstrap_interval`.
        replicates: bootstrap replicates.
        seed: of the resampling.

    Raises:
        DataError: shapes disagree, there is nothing to resample, or no reference words.
    """
    errors_a, words_a, seeds_a = _check(errors_a, words)
    errors_b, words_b, seeds_b = _check(errors_b, words if words_b is None else words_b)
    if len(words_a) != len(words_b):
        raise DataError(f"One system has {len(words_a)} utterances, the other {len(words_b)}; expected the same ones.")
    # Multiplied out instead of averaged: whole numbers keep ties exact.
    if np.array_equal(words_a, words_b):
        columns = [errors_a * seeds_b - errors_b * seeds_a, words_a * seeds_a * seeds_b]
        difference = lambda drawn: drawn[:, 0] / drawn[:, 1]  # noqa: E731
    else:
        columns = [errors_a, words_a * seeds_a, errors_b, words_b * seeds_b]
        difference = lambda drawn: drawn[:, 0] / drawn[:, 1] - drawn[:, 2] / drawn[:, 3]  # noqa: E731
    rows = _in_blocks(columns, blocks)
    delta = float(difference(rows.sum(axis=0, keepdims=True))[0])
    deltas = np.concatenate([difference(drawn) for drawn in _resample(rows, replicates, seed)])
    smaller_tail = min((deltas <= 0).sum(), (deltas >= 0).sum())
    p_value = min(1.0, 2 * (smaller_tail + 1) / (len(deltas) + 1))
    improved = float((deltas < 0).mean() + (deltas == 0).mean() / 2)
    return PairedResult(delta, _percentiles(deltas), float(p_value), improved)


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


def _in_blocks(columns: list[np.ndarray], blocks: Sequence[Hashable] | None) -> np.ndarray:
    """Return one row a block, its utterances' numbers summed: (blocks, columns)."""
    rows = np.stack(columns, axis=1)
    if blocks is None:
        return rows
    if len(blocks) != len(rows):
        raise DataError(f"There are {len(rows)} utterances, but {len(blocks)} blocks of them; expected one each.")
    numbers = {block: number for number, block in enumerate(dict.fromkeys(blocks))}
    summed = np.zeros((len(numbers), rows.shape[1]))
    np.add.at(summed, [numbers[block] for block in blocks], rows)
    return summed


def _resample(rows: np.ndarray, replicates: int, seed: int) -> Iterator[np.ndarray]:
    """Draw the rows with replacement, as many as there are, again and again; yield column sums (chunk, columns)."""
    # Rows with equal numbers are interchangeable: drawing how often each distinct row occurs is the
    # same distribution, takes far fewer draws, and makes the result independent of the utterances' order.
    rows, counts = np.unique(rows, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // len(rows))
    for start in range(0, replicates, chunk):
        draws = generator.multinomial(
            counts.sum(), counts / counts.sum(), size=min(chunk, replicates - start)
        )  # (chunk, rows)
        drawn = draws @ rows
        # A draw of empty references only has no rate; the odd columns are numbers of words.
        yield drawn[(drawn[:, 1::2] > 0).all(axis=1)]


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
