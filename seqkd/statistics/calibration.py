"""Does a model know how sure it may be? Calibration errors, streaming, in memory that depends on bins alone.

Everything is a sum over predictions, so that states of several batches, files or processes add up: `merge` two of
them, or add the vectors of `Calibration.to_vector` over processes, as by ``torch.distributed.all_reduce``, and make
one again by `Calibration.from_vector`. Arguments are arrays or whatever NumPy reads as such (tensors of the CPU).

- ECE and MCE: mean and greatest gap between confidence and accuracy over equal bins of confidence (Guo et al. 2017,
  arXiv:1706.04599). Bins are closed below and open above, the last one closed. (That is the definition; torchmetrics
  gives exactly 1 a bin of its own.) Sums are kept with exactly 1 apart, and joined when they are measured.
- Adaptive ECE: the same over bins of equal mass (Nguyen & O'Connor 2015, arXiv:1508.05154), to the resolution of
  a fine histogram, which keeps the memory constant.
- NLL and Brier score: of the whole distribution where it is given, else of the event that the prediction is right.
- NCE: normalised cross entropy of NIST (Siu et al. 1997): the share of the uncertainty about which words are right
  that the confidences remove; 1 is perfect, 0 what the average would do, below 0 worse.

Legend: K predictions, C classes, M bins; B utterances, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seqkd.errors import DataError
from seqkd.statistics.measures import closed, ece_by_chance

_FINE = 2048  # bins of the histogram behind the adaptive ECE, equal in log-odds from -_WIDEST to _WIDEST
_WIDEST = 16.0
_LEAST = 1e-12  # probabilities below this count as this, as a log would not end


@dataclass(frozen=True)
class Summary:
    """Measures of calibration; all but ``nll`` and ``nce`` (nats, and at most 1) are fractions.

    ``nce`` is None where every prediction is right, or every one wrong: there is no uncertainty to remove.
    """

    count: int
    accuracy: float
    confidence: float
    ece: float
    mce: float
    adaptive_ece: float
    nll: float
    brier: float
    nce: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as they stand in JSON files."""
        return asdict(self)


def _bounds(bins: int) -> np.ndarray:
    """(M + 1,) limits of the equal bins, rounded as ``torch.linspace`` rounds them, from both ends."""
    steps = np.arange(bins + 1, dtype=np.float32) * (np.float32(1) / np.float32(bins))
    return np.where(np.arange(bins + 1) < (bins + 1) // 2, steps, np.float32(1) - steps[::-1]).astype(float)


def bin_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    """(K,) where each confidence is counted, from 0 to ``bins``: the equal bins, and exactly 1 apart."""
    return np.searchsorted(_bounds(bins), confidence, side="right") - 1


def bins_by_item(confidence: ArrayLike, correct: ArrayLike, lengths: ArrayLike, bins: int = 15) -> np.ndarray:
    """Return (N, 3, M + 1) predictions, sums of confidences, and right ones of each of N items, by bin of confidence.

    Sums of them over items are what `seqkd.statistics.measures.ece` and `diagram_of` take.

    Args:
        confidence: (K,) probabilities, one item's predictions after the other's.
        correct: (K,) whether each was right.
        lengths: (N,) predictions of each item; they add up to K.
        bins: M equal bins; one more column is for exactly 1, which belongs to the last bin.
    """
    confidence = np.minimum(np.asarray(confidence, float), 1.0)
    lengths = np.asarray(lengths, np.int64)
    place = np.repeat(np.arange(len(lengths)), lengths) * (bins + 1) + bin_of(confidence, bins)
    rows = (np.ones(len(confidence)), confidence, np.asarray(correct, float))
    size = len(lengths) * (bins + 1)
    return np.stack([np.bincount(place, row, minlength=size).reshape(-1, bins + 1) for row in rows], axis=1)


def diagram_of(bins: np.ndarray) -> list[dict[str, float]]:
    """Return the reliability diagram of sums by bin, (3, M + 1): each bin that is not empty, as in score.json."""
    bins = closed(bins)
    edges = _bounds(bins.shape[-1])
    return [
        {"from": float(low), "to": float(high), "count": round(n), "confidence": float(c / n), "accuracy": float(r / n)}
        for low, high, (n, c, r) in zip(edges[:-1], edges[1:], bins.T, strict=True)
        if n
    ]


class Calibration:
    """Sums over predictions in bins of confidence, from which ECE, NLL and Brier score are computed."""

    def __init__(self, bins: int = 15):
        """Begin with nothing; ``bins`` are the equal ones of ECE and MCE, and as many adaptive ones."""
        if bins < 1:
            raise DataError(f"There are {bins} bins; expected at least 1.")
        self.bins = bins
        # Rows: predictions, confidence, correct. Columns: M bins and that of exactly 1.
        self._equal = np.zeros((3, bins + 1))
        self._fine = np.zeros((3, _FINE))
        self._sums = np.zeros(3)  # NLL, Brier score, cross entropy of the confidences

    def update(
        self,
        confidence: ArrayLike,
        correct: ArrayLike,
        nll: ArrayLike | None = None,
        brier: ArrayLike | None = None,
    ) -> Calibration:
        """Add predictions of which only the confidence is known, or what else of their distribution was kept.

        Args:
            confidence: (K,), the probability each was given.
            correct: (K,), whether it was right.
            nll: (K,), of the right class, in nats; of the event that the prediction is right if left out.
            brier: (K,), over all classes; of that event if left out.
        """
        confidence = np.asarray(confidence, float).ravel()
        correct = np.asarray(correct, float).ravel()
        if nll is None:
            nll = -np.log(np.maximum(np.where(correct > 0, confidence, 1 - confidence), _LEAST))
        if brier is None:
            brier = (confidence - correct) ** 2
        return self._add(confidence, correct, np.asarray(nll, float), np.asarray(brier, float))

    def update_distribution(self, probs: ArrayLike, targets: ArrayLike) -> Calibration:
        """Add predictions with their distribution: the best class is the prediction.

        Args:
            probs: (K, C), or with any number of leading dimensions; each row sums to 1.
            targets: (K,), the right classes.
        """
        probs = np.asarray(probs)
        if probs.ndim < 2:
            raise DataError(f"Distributions have shape {probs.shape}; expected (K, C).")
        probs = probs.reshape(-1, probs.shape[-1])  # (K, C)
        targets = np.asarray(targets).ravel()
        if len(targets) != len(probs):
            raise DataError(f"There are {len(probs)} distributions and {len(targets)} targets; expected as many.")
        if len(targets) and not (targets.min() >= 0 and targets.max() < probs.shape[1]):
            raise DataError(f"A target is outside of the classes 0 to {probs.shape[1] - 1}.")
        of_target = probs[np.arange(len(probs)), targets].astype(float)
        nll = -np.log(np.maximum(of_target, _LEAST))
        brier = (probs.astype(float) ** 2).sum(axis=1) - 2 * of_target + 1
        return self._add(probs.max(axis=1).astype(float), (probs.argmax(axis=1) == targets).astype(float), nll, brier)

    def merge(self, other: Calibration) -> Calibration:
        """Add the predictions that another Calibration has counted."""
        if other.bins != self.bins:
            raise DataError(f"States of {self.bins} and {other.bins} bins do not add up.")
        return self._read(self.to_vector() + other.to_vector())

    def to_vector(self) -> np.ndarray:
        """Everything as one vector, which adds up over processes."""
        return np.concatenate([self._equal.ravel(), self._fine.ravel(), self._sums])

    @classmethod
    def from_vector(cls, vector: ArrayLike, bins: int = 15) -> Calibration:
        """Make a state of a (summed) vector."""
        return cls(bins)._read(np.asarray(vector, float))

    @property
    def count(self) -> int:
        """The number of predictions added so far."""
        return round(self._equal[0].sum())

    def summary(self) -> Summary:
        """Return the measures; DataError if nothing was added."""
        count = self._equal[0].sum()
        if not count:
            raise DataError("There are no predictions to measure the calibration of.")
        equal = closed(self._equal)
        filled = equal[:, equal[0] > 0]
        gaps = np.abs(filled[2] - filled[1]) / filled[0]
        accuracy = filled[2].sum() / count
        prior = -(accuracy * np.log(accuracy) + (1 - accuracy) * np.log(1 - accuracy)) if 0 < accuracy < 1 else 0.0
        nll, brier, entropy = self._sums / count
        return Summary(
            count=self.count,
            accuracy=float(accuracy),
            confidence=float(filled[1].sum() / count),
            ece=float((gaps * filled[0]).sum() / count),
            mce=float(gaps.max()),
            adaptive_ece=float(np.abs(self._adaptive()[:, 2] - self._adaptive()[:, 1]).sum() / count),
            nll=float(nll),
            brier=float(brier),
            nce=float(1 - entropy / prior) if prior else None,
        )

    def ece_by_chance(self) -> float:
        """About the ECE that a perfectly calibrated model would show; see `seqkd.statistics.measures.ece_by_chance`."""
        return float(ece_by_chance(self._equal)) if self.count else 0.0

    def diagram(self) -> list[dict[str, float]]:
        """Return the reliability diagram: each bin that is not empty, with its limits, confidence and accuracy."""
        return diagram_of(self._equal)

    def _add(self, confidence: np.ndarray, correct: np.ndarray, nll: np.ndarray, brier: np.ndarray) -> Calibration:
        if confidence.shape != correct.shape:
            raise DataError(f"There are {len(confidence)} confidences and {len(correct)} outcomes; expected as many.")
        # A distribution in single precision may sum to a little more than 1.
        if not ((confidence >= 0) & (confidence <= 1 + 1e-4)).all():
            raise DataError("A confidence is not a probability from 0 to 1.")
        confidence = np.minimum(confidence, 1.0)
        equal = bin_of(confidence, self.bins)
        inside = np.clip(confidence, _LEAST, 1 - _LEAST)
        odds = np.log(inside) - np.log1p(-inside)
        fine = np.clip((odds + _WIDEST) * (_FINE / (2 * _WIDEST)), 0, _FINE - 1).astype(int)
        for table, index in ((self._equal, equal), (self._fine, fine)):
            for row, weights in enumerate((None, confidence, correct)):
                table[row] += np.bincount(index, weights, minlength=table.shape[1])
        event = -np.log(np.maximum(np.where(correct > 0, confidence, 1 - confidence), _LEAST))
        self._sums += [nll.sum(), brier.sum(), event.sum()]
        return self

    def _read(self, vector: np.ndarray) -> Calibration:
        if vector.shape != (3 * (self.bins + 1) + 3 * _FINE + 3,):
            raise DataError(f"A state of {self.bins} bins is no vector of shape {vector.shape}.")
        equal, fine, sums = np.split(vector, [self._equal.size, self._equal.size + self._fine.size])
        self._equal, self._fine, self._sums = equal.reshape(3, -1).copy(), fine.reshape(3, -1).copy(), sums.copy()
        return self

    def _adaptive(self) -> np.ndarray:
        """(bins, 3): the fine bins joined, in order, into bins of about equal mass."""
        filled = self._fine[:, self._fine[0] > 0].T  # (fine bins, 3)
        middle = np.cumsum(filled[:, 0]) - filled[:, 0] / 2
        joined = np.minimum((middle * self.bins / filled[:, 0].sum()).astype(int), self.bins - 1)
        table = np.zeros((self.bins, 3))
        np.add.at(table, joined, filled)
        return table


class FrameCalibration:
    """Calibration of the frames of a CTC model, all of them, and those in which it outputs a unit.

    Most frames are blank and surely so, which makes any CTC model look well calibrated; ``nonblank`` leaves out the
    frames in which the model's best class is the blank.
    """

    def __init__(self, bins: int = 15, blank: int = 0):
        self.blank = blank
        self.all, self.nonblank = Calibration(bins), Calibration(bins)

    def update(self, probs: ArrayLike, labels: ArrayLike, lengths: Sequence[int] | None = None) -> FrameCalibration:
        """Add a batch.

        Args:
            probs: (B, T, C), or (T, C) of one utterance.
            labels: (B, T) or (T,), the class of each frame, as by forced alignment with the reference.
            lengths: (B,), valid frames; all if left out.
        """
        probs, labels = np.asarray(probs), np.asarray(labels)
        if probs.ndim == 2:
            probs, labels = probs[None], labels[None]
        if probs.ndim != 3 or labels.shape != probs.shape[:2]:
            raise DataError(f"Probabilities {probs.shape} and labels {labels.shape} do not fit; expected (B, T, C).")
        valid = np.ones(labels.shape, bool)
        if lengths is not None:
            valid = np.arange(labels.shape[1]) < np.asarray(lengths)[:, None]
        probs, labels = probs[valid], labels[valid]  # (K, C), (K,)
        self.all.update_distribution(probs, labels)
        spoken = probs.argmax(axis=1) != self.blank
        self.nonblank.update_distribution(probs[spoken], labels[spoken])
        return self

    def merge(self, other: FrameCalibration) -> FrameCalibration:
        """Add the frames that another FrameCalibration has counted."""
        self.all.merge(other.all)
        self.nonblank.merge(other.nonblank)
        return self
