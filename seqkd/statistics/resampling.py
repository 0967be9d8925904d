"""How error counts are checked, joined in blocks, and drawn from.

Legend: N utterances, S seeds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from seqkd.errors import DataError
from seqkd.statistics import few

CHUNK = 1 << 20  # numbers drawn at a time: 8 MiB


def check(errors: ArrayLike, words: ArrayLike) -> tuple[np.ndarray, np.ndarray, int]:
    """Return errors summed over seeds and words, both (N,) and float64, and the number of seeds."""
    errors = np.atleast_2d(np.asarray(errors, dtype=float))  # (S, N)
    words = np.asarray(words, dtype=float)  # (N,)
    if words.ndim != 1 or errors.ndim != 2 or errors.shape[1:] != words.shape:
        raise DataError(f"Errors {errors.shape} and words {words.shape} do not fit; expected (S, N) and (N,).")
    if not errors.size or not words.sum() > 0:
        raise DataError("There are no reference words to compute an error rate from.")
    return errors.sum(axis=0), words, len(errors)


def in_blocks(columns: list[np.ndarray], blocks: Sequence[Hashable] | None) -> np.ndarray:
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


def resample(rows: np.ndarray, replicates: int, seed: int) -> Iterator[np.ndarray]:
    """Draw the rows with replacement, as many as there are, again and again; yield column sums (chunk, columns)."""
    # Rows with equal numbers are interchangeable: drawing how often each distinct row occurs is the
    # same distribution, takes far fewer draws, and makes the result independent of the utterances' order.
    rows, counts = np.unique(rows, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK // len(rows))
    for start in range(0, replicates, chunk):
        draws = generator.multinomial(
            counts.sum(), counts / counts.sum(), size=min(chunk, replicates - start)
        )  # (chunk, rows)
        drawn = draws @ rows
        # A draw of empty references only has no rate; the odd columns are numbers of words.
        yield drawn[(drawn[:, 1::2] > 0).all(axis=1)]


def percentiles(values: np.ndarray, units: int = few.MANY) -> tuple[float, float]:
    """Return the ends of the 95 % interval of replicates of so many units."""
    outside = 100 * few.tail(units)
    low, high = np.percentile(values, [outside, 100 - outside])
    return float(low), float(high)
