"""A measure is a function of sums over test items: of all of them, of one test set, or of any draw.

    WER = Measure("wer", "WER", ("errors", "words"), ratio, unit="%", scale=100)
    WER.value(table.total())        # 0.123, a fraction
    WER.show(0.123)                 # "12.30"

BLEU, macro-F1 and calibration errors are no means over items, but they too are functions of such sums, and of many
draws at once: that is what makes one bootstrap serve all of them (`seqkd.statistics.bootstrap`).

Legend: ``...`` any leading dimensions, such as draws; M bins of confidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from seqkd.errors import ConfigError
from seqkd.settings import one_of
from seqkd.statistics.table import Sums


@dataclass(frozen=True)
class Measure:
    """A number computed from sums over test items, such as WER or accuracy.

    Attributes:
        key: its name in score.json and in ``report.expect``.
        name: its name for people, without the unit.
        columns: names of the sums that it is computed from.
        of: the function of these sums, in this order, each (..., shape of the column); NaN where it is undefined.
        unit: of what is shown, such as ``%``; may be empty.
        scale: what a value is multiplied by to be shown.
        decimals: to show.
        higher_is_better: which way is better; None where neither is.
        reflect: whether draws are turned about the value, as those of a biased number must be, such as an ECE.
        tested: whether a report compares systems in it, too; in a task's first measure it always does.
        about: a sentence that defines it, for the legend of a report.
    """

    key: str
    name: str
    columns: tuple[str, ...]
    of: Callable[..., np.ndarray]
    unit: str = ""
    scale: float = 1.0
    decimals: int = 2
    higher_is_better: bool | None = False
    reflect: bool = False
    tested: bool = False
    about: str = ""

    @property
    def label(self) -> str:
        """Name and unit, as in ``WER %``."""
        return f"{self.name} {self.unit}".rstrip()

    @property
    def is_rate(self) -> bool:
        """Whether it is a share of words, labels or the like, of which each item has some: a WER, an accuracy."""
        return self.of is ratio and self.unit == "%"

    def value(self, sums: Sums) -> np.ndarray:
        """Return the (...) values of sums by column, each (..., shape of the column); NaN where undefined."""
        return np.asarray(self.of(*(sums[column] for column in self.columns)), float)

    def show(self, value: float) -> str:
        """Format a value in ``unit``, without naming it: ``12.30``, or a dash where it is undefined."""
        return "–" if not np.isfinite(value) else f"{self.scale * value:.{self.decimals}f}".replace("-", "−")

    def with_unit(self, value: float) -> str:
        """Format a value with its unit, as in ``12.30 %``."""
        return f"{self.show(value)} {self.unit}".rstrip()

    def amount(self, value: float) -> str:
        """Format the size of a difference, as in ``1.20 points of WER``, ``0.31 BLEU`` or ``0.049 nats of NLL``."""
        unit = {"%": "points of ", "": ""}.get(self.unit, f"{self.unit} of ")
        return f"{self.show(abs(value))} {unit}{self.name}"

    def gain(self, delta: float) -> float:
        """Return a difference so that more is better."""
        return delta if self.higher_is_better else -delta


def tested(measures: Sequence[Measure]) -> list[Measure]:
    """Return those that systems are compared in: the first, and all that are ``tested``."""
    return [measure for place, measure in enumerate(measures) if measure.tested or not place]


def measure_of(measures: Sequence[Measure], key: str, setting: str) -> Measure:
    """Return the measure of that key; ConfigError, naming the setting that asks for it, if there is none."""
    one_of([measure.key for measure in measures], **{setting: key})
    return next(measure for measure in measures if measure.key == key)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, NaN where the whole is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(whole) != 0, np.divide(part, whole), np.nan)


def ece(bins: np.ndarray) -> np.ndarray:
    """Return the expected calibration error (Guo et al. 2017, arXiv:1706.04599), a fraction; NaN without predictions.

    The gaps between confidence and accuracy are averaged over bins of confidence, weighted by their predictions. It is
    biased upwards, for what chance adds in one bin does not cancel that in another. The last bin holds a confidence of
    exactly 1, as the definition has it; torchmetrics makes that a bin of its own, and so gives .525 instead of .475 of
    the confidences .95 and 1, of which the first is right.

    Args:
        bins: (..., 3, M) predictions, the sum of their confidences, and how many are right, by bin of confidence, the
            last for exactly 1; see `seqkd.statistics.calibration.bins_by_item`.
    """
    bins = closed(bins)
    return ratio(np.abs(bins[..., 2, :] - bins[..., 1, :]).sum(axis=-1), bins[..., 0, :].sum(axis=-1))


def closed(bins: np.ndarray) -> np.ndarray:
    """Return (..., 3, M - 1): the last column, for confidences of exactly 1, added to the bin that they end."""
    return np.concatenate([bins[..., :-2], bins[..., -2:].sum(axis=-1, keepdims=True)], axis=-1)


def ece_by_chance(bins: np.ndarray) -> np.ndarray:
    """Return about the ECE, (...), that a perfectly calibrated model with these confidences would show.

    ECE adds absolute gaps, so that chance never cancels: of n predictions, right with probability c each, the gap is on
    average sqrt(2 c (1 - c) / (pi n)), not 0. The predictions count as independent; those of one sentence are not
    quite, which makes chance larger.

    Args:
        bins: (..., 3, M) as of `ece`.
    """
    bins = closed(bins)
    count, confidence = bins[..., 0, :], bins[..., 1, :]
    variance = np.maximum(confidence * (1 - confidence / np.maximum(count, 1)), 0)
    return ratio(np.sqrt(2 / np.pi * variance).sum(axis=-1), count.sum(axis=-1))


def nce(bins: np.ndarray, entropy: np.ndarray) -> np.ndarray:
    """Return NIST's normalised cross entropy (Siu et al. 1997): 1 is perfect, 0 no better than the mean for all.

    It is the share of the uncertainty about which predictions are right that their confidences remove; below 0 they add
    to it. NaN where all predictions are right, or all wrong, for then there is no uncertainty.

    Args:
        bins: (..., 3, M) as of `ece`.
        entropy: (...) minus the log-probability, in nats, that the confidences gave to what came true.
    """
    count, right = bins[..., 0, :].sum(axis=-1), bins[..., 2, :].sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        accuracy = right / count
        prior = -count * (accuracy * np.log(accuracy) + (1 - accuracy) * np.log(1 - accuracy))
        return np.where(np.isfinite(prior) & (prior > 0), 1 - entropy / prior, np.nan)


def check_replicates(replicates: int, least: int = 0) -> int:
    """Return a number of bootstrap replicates; ConfigError if it is too small."""
    if replicates < least:
        raise ConfigError(f"there are {replicates} replicates of the bootstrap; expected at least {least}")
    return replicates
