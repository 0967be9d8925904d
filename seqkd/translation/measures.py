"""What a translation is measured by, from sums over sentences: of a test set, or of any draw of its sentences.

BLEU, chrF, likelihood, Brier score and calibration errors are no means over sentences, but each is a function of sums
over sentences. `Sums` holds one row a sentence; ``weights @ rows`` sums any draw, and `Measure.value` computes as many
draws at once as there are rows. That is what makes the bootstrap quick.

Legend: N sentences, M bins of confidence; ``...`` any leading dimensions, such as replicates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from seqkd.translation.forced import ece_of_gaps


@dataclass(frozen=True)
class Sums:
    """Sums over sentences, or the numbers of each of N sentences: ``...`` is then N.

    Attributes:
        bleu: (..., 10) sacreBLEU's: length of hypothesis and reference, correct and all n-grams of order 1 to 4.
        chrf: (..., 18) sacreBLEU's: n-grams of characters of order 1 to 6, in hypothesis, reference and both.
        forced: (..., 3 + M + 1) reference tokens, their NLL and Brier score, and correct less confidence by bin.
        decoded: (..., 1 + M + 1) decoded tokens, and correct less confidence by bin.
    """

    bleu: np.ndarray
    chrf: np.ndarray
    forced: np.ndarray
    decoded: np.ndarray

    def total(self) -> Sums:
        """Return the sums over all sentences."""
        return Sums(*(getattr(self, part.name).sum(axis=0) for part in fields(self)))

    def drawn(self, weights: np.ndarray) -> Sums:
        """Return the sums, (R, columns), of R draws: ``weights``, (R, N), says how often each sentence is drawn."""
        return Sums(*(weights @ getattr(self, part.name) for part in fields(self)))

    @staticmethod
    def joined(parts: Sequence[Sums]) -> Sums:
        """Return the sentences of several test sets as one."""
        return Sums(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Sums)))


@dataclass(frozen=True)
class Measure:
    """One number of a system.

    Attributes:
        key: its name in score.json.
        label: its name for people, with the unit that ``scale`` makes of it.
        higher_is_better: which way is better.
        scale: what it is multiplied by for people.
        decimals: to show.
        reflect: whether its bootstrap is turned about the value, as that of a number with bias must be.
        value: (...) of `Sums`; NaN where it is undefined.
    """

    key: str
    label: str
    higher_is_better: bool
    scale: float
    decimals: int
    reflect: bool
    value: Callable[[Sums], np.ndarray]

    def show(self, value: float) -> str:
        """Say a value, in the unit of ``label``."""
        return "–" if not np.isfinite(value) else f"{self.scale * value:.{self.decimals}f}".replace("-", "−")


def _bleu(sums: Sums) -> np.ndarray:
    """BLEU with sacreBLEU's default smoothing: each order without a match counts half as much as the one before."""
    length, reference = sums.bleu[..., 0], sums.bleu[..., 1]
    correct, total = sums.bleu[..., 2:6], sums.bleu[..., 6:10]
    unmatched = correct == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        smoothed = 100 / (2.0 ** np.cumsum(unmatched, axis=-1) * total)
        precisions = np.where(unmatched, smoothed, 100 * correct / total)
        brevity = np.where(length < reference, np.exp(1 - reference / length), 1.0)
        score = brevity * np.exp(np.log(precisions).sum(axis=-1) / 4)
    return np.where(unmatched.all(axis=-1) | (total == 0).any(axis=-1), 0.0, score)


def _chrf(sums: Sums) -> np.ndarray:
    """chrF2: recall counts twice; orders that are longer than either side are left out."""
    ours, theirs, both = (sums.chrf[..., start::3] for start in range(3))  # (..., 6)
    used = (ours > 0) & (theirs > 0)
    orders = np.maximum(used.sum(axis=-1), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(used, both / ours, 0.0).sum(axis=-1) / orders
        recall = np.where(used, both / theirs, 0.0).sum(axis=-1) / orders
        score = 100 * 5 * precision * recall / (4 * precision + recall)
    return np.where(precision + recall > 0, score, 0.0)


MEASURES = (
    Measure("bleu", "BLEU", True, 1, 2, False, _bleu),
    Measure("chrf", "chrF", True, 1, 2, False, _chrf),
    Measure("nll", "NLL", False, 1, 3, False, lambda sums: sums.forced[..., 1] / sums.forced[..., 0]),
    Measure("ece", "ECE %", False, 100, 2, True, lambda sums: ece_of_gaps(sums.forced[..., 3:], sums.forced[..., 0])),
    Measure(
        "inference_ece",
        "Inference ECE %",
        False,
        100,
        2,
        True,
        lambda sums: ece_of_gaps(sums.decoded[..., 1:], sums.decoded[..., 0]),
    ),
    Measure("brier", "Brier", False, 1, 4, False, lambda sums: sums.forced[..., 2] / sums.forced[..., 0]),
)
BLEU, CHRF, NLL, ECE, INFERENCE_ECE, BRIER = MEASURES
