"""Teacher-forced predictions of reference tokens: their file, and their calibration by sentence.

A decoder that is fed the reference predicts one token after another; of each prediction the probability of the best
token is kept, whether that token was right, and the negative log-likelihood and Brier score of the distribution.

Legend: N sentences, K tokens of all sentences (ends of sentences included), M bins.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqkd.errors import DataError
from seqkd.statistics.calibration import Calibration

_ROUNDING = 1e-4  # sums in single precision may be so much beyond their bounds
_FIELDS = ("ids", "lengths", "confidence", "correct", "nll", "brier")


@dataclass(frozen=True)
class Forced:
    """Teacher-forced predictions of N sentences, one sentence after the other.

    Attributes:
        ids: N sentence ids.
        lengths: (N,) tokens of each reference, its end included.
        confidence: (K,) probability of the best token.
        correct: (K,) whether the best token is the reference's.
        nll: (K,) negative log-likelihood of the reference's token, in nats.
        brier: (K,) squared error of the distribution, summed over classes: from 0 to 2.
    """

    ids: tuple[str, ...]
    lengths: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    nll: np.ndarray
    brier: np.ndarray

    def __post_init__(self) -> None:
        """Raise DataError, without a file's name, unless the numbers fit each other."""
        if repeated := len(self.ids) - len(set(self.ids)):
            raise DataError(f"{repeated} of the {len(self.ids)} ids are there twice; expected every sentence once.")
        if self.lengths.shape != (len(self.ids),):
            raise DataError(f"there are {len(self.ids)} ids and {self.lengths.size} lengths; expected one each.")
        total = int(self.lengths.sum())
        for name in _FIELDS[2:]:
            if (shape := getattr(self, name).shape) != (total,):
                raise DataError(f"{name} has shape {shape}, but the lengths add up to {total} tokens.")
        for name, limit in (("confidence", 1.0), ("nll", np.inf), ("brier", 2.0)):
            values = getattr(self, name)
            least = 0 if name == "confidence" else -_ROUNDING
            fine = np.isfinite(values) & (values >= least) & (values <= limit + _ROUNDING)
            if bad := np.flatnonzero(~fine).tolist():
                sentence = self.ids[int(np.searchsorted(np.cumsum(self.lengths), bad[0], side="right"))]
                expected = "a finite number from 0" + ("" if limit == np.inf else f" to {limit:.0f}")
                raise DataError(
                    f"{name} of sentence {sentence} holds {values[bad[0]]:g} ({len(bad)} such in all); expected "
                    f"{expected}: did training diverge?"
                )

    def of(self, ids: Sequence[str]) -> Forced:
        """Return the same sentences in another order; DataError unless the ids are the same."""
        if len(ids) != len(self.ids) or set(ids) != set(self.ids):
            lacking = sorted(set(ids) - set(self.ids)) or sorted(set(self.ids) - set(ids))
            side = "without predictions" if lacking[0] in ids else "without a reference"
            raise DataError(f"sentence {lacking[0]} is {side} ({len(lacking)} such in all).")
        starts = dict(zip(self.ids, np.cumsum(self.lengths) - self.lengths, strict=True))
        lengths = dict(zip(self.ids, self.lengths, strict=True))
        index = np.concatenate([np.arange(starts[one], starts[one] + lengths[one]) for one in ids])
        columns = (getattr(self, name)[index] for name in _FIELDS[2:])
        return Forced(tuple(ids), np.array([lengths[one] for one in ids]), *columns)

    def calibration(self, bins: int = 15) -> Calibration:
        """Return the calibration of the predictions at all reference positions."""
        return Calibration(bins).update(self.confidence, self.correct, self.nll, self.brier)


def read_forced(path: Path | str) -> Forced:
    """Read what decoding leaves in ``forced.npz``: arrays ids, lengths, confidence, correct, nll, brier.

    Raises:
        DataError: no such file, a damaged one, an array that is missing or does not fit the others, or a number that
            is no probability, likelihood or score.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; decode again.")
    try:
        with np.load(path, allow_pickle=False) as stored:
            if lacking := [name for name in _FIELDS if name not in stored]:
                raise DataError(f"{path} lacks {', '.join(lacking)}; decode again.")
            arrays = {name: stored[name] for name in _FIELDS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as fault:
        raise DataError(f"{path} is damaged or no file of NumPy arrays ({fault}); decode again.") from None
    if arrays["lengths"].dtype.kind not in "iu" or (arrays["lengths"] < 0).any():
        raise DataError(f"{path}: lengths must be whole numbers from 0; decode again.")
    numbers = {name: arrays[name].astype(float) for name in ("confidence", "nll", "brier")}
    try:
        return Forced(
            tuple(map(str, arrays["ids"].ravel())), arrays["lengths"], correct=arrays["correct"].astype(bool), **numbers
        )
    except DataError as fault:
        raise DataError(f"{path}: {fault}") from None
