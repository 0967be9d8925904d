"""Uncertainty of translation scores by resampling test sentences (Koehn, EMNLP 2004), for many systems at once.

Whole sentences are drawn with replacement, the same ones for every system and seed, and every measure is computed of
each draw, from sums (see `seqkd.translation.measures`). A system's value is the mean over its seeds, in a draw
as in the whole set: a sentence is drawn with all of its seeds, as in `seqkd.statistics.bootstrap`. Intervals and
p-values say what other test sentences would change; they treat the trained models as given.

Calibration errors are biased upwards, and a draw, which is smaller than it seems, adds that bias once more: their
plain percentiles lie above the truth, and never reach it for a model that is nearly calibrated. Their draws are
therefore turned about the value (the basic or reflected bootstrap: Davison & Hinkley 1997, 5.2), which takes the
bias off; the value itself keeps it, and the interval is widened to hold the value. Measured on made-up tokens, such
intervals hold the true ECE in 89 to 95 % of samples of 800 sentences and in 85 to 93 % of samples of 200, worst for
models that are nearly calibrated, where plain percentiles hold it in none to 94 %.

Legend: N sentences, R replicates, S seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seqkd.errors import ConfigError, DataError
from seqkd.translation.measures import MEASURES, Measure, Sums

_CHUNK = 1 << 20  # numbers drawn at a time: 8 MiB


@dataclass(frozen=True)
class Estimate:
    """A system's value of one measure, and its replicates.

    Attributes:
        measure: what is measured.
        seeds: (S,) value of each seed.
        replicates: (R,) mean over seeds of each draw, finite ones only where compared.
    """

    measure: Measure
    seeds: np.ndarray
    replicates: np.ndarray

    @property
    def value(self) -> float:
        """The mean over seeds; NaN where the measure is undefined, as the inference ECE of no tokens."""
        return float(self.seeds.mean())

    @property
    def ci95(self) -> tuple[float, float] | None:
        """The 95 % interval, or None where the measure is undefined."""
        ends = _interval(self.value, self.replicates, self.measure.reflect)
        if ends is None or not self.measure.reflect:
            return ends
        # Turned about the value, it may begin below 0, where no error is, and end below the value, which keeps the
        # bias that the interval lost; it is widened to hold what it is an interval of.
        return max(0.0, ends[0]), max(self.value, ends[1])

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds, or None of a single one."""
        return float(self.seeds.std(ddof=1)) if len(self.seeds) > 1 else None


@dataclass(frozen=True)
class Difference:
    """One system's value less another's.

    Attributes:
        measure: what is measured.
        delta: the difference.
        ci95: its 95 % interval, or None where it is undefined.
        p_value: two-sided, for the hypothesis that it is zero; 1 where it is undefined.
    """

    measure: Measure
    delta: float
    ci95: tuple[float, float] | None
    p_value: float

    @property
    def better(self) -> bool:
        """Whether the first system is the better one."""
        return self.delta > 0 if self.measure.higher_is_better else self.delta < 0


Estimates = dict[str, Estimate]  # by `Measure.key`


def estimate(
    systems: Mapping[str, Sequence[Sums]],
    *,
    measures: Sequence[Measure] = MEASURES,
    replicates: int = 10_000,
    seed: int = 0,
) -> dict[str, Estimates]:
    """Measure systems on a test set and on draws of its sentences.

    Args:
        systems: by name, the sentences of each seed, in the same order everywhere.
        measures: what to compute.
        replicates: draws; 0 for values only.
        seed: of the draws; every system sees the same ones.

    Raises:
        DataError: there are no sentences, or not the same number everywhere.
        ConfigError: a negative number of replicates.
    """
    if replicates < 0:
        raise ConfigError(f"there are {replicates} replicates of the bootstrap; expected at least 0")
    sizes = {len(sums.bleu) for seeds in systems.values() for sums in seeds}
    if len(sizes) != 1 or not min(sizes):
        raise DataError(f"Systems have {sorted(sizes)} sentences; expected the same ones, and at least one.")
    drawn: dict[str, dict[str, list[np.ndarray]]] = {
        name: {measure.key: [] for measure in measures} for name in systems
    }
    for weights in _draws(sizes.pop(), replicates, seed):
        for name, seeds in systems.items():
            sums = [one.drawn(weights) for one in seeds]
            for measure in measures:
                drawn[name][measure.key].append(np.mean([measure.value(one) for one in sums], axis=0))
    found = {}
    for name, seeds in systems.items():
        totals = [sums.total() for sums in seeds]
        found[name] = {
            measure.key: Estimate(
                measure,
                np.array([measure.value(total) for total in totals], float),
                np.concatenate([np.zeros(0), *drawn[name][measure.key]]),
            )
            for measure in measures
        }
    return found


def difference(ours: Estimate, theirs: Estimate, *, factor: float = 1.0) -> Difference:
    """Compare two systems of one call of `estimate`, whose draws are paired.

    The p-value is twice the smaller share of replicates on either side of zero (ties count on both); one is added to
    the count, as for any Monte Carlo test, so that 10,000 replicates give at least .0002.

    Args:
        ours: of the first system.
        theirs: of the second.
        factor: what theirs is multiplied by: .5 asks whether ours is half of theirs.
    """
    delta = ours.value - factor * theirs.value
    deltas = ours.replicates - factor * theirs.replicates
    reflect = ours.measure.reflect
    ends = _interval(delta, deltas, reflect)
    if ends is None:
        return Difference(ours.measure, delta, None, 1.0)
    deltas = deltas[np.isfinite(deltas)]
    if reflect:
        deltas = 2 * delta - deltas
    tail = min((deltas <= 0).sum(), (deltas >= 0).sum())
    return Difference(ours.measure, delta, ends, float(min(1.0, 2 * (tail + 1) / (len(deltas) + 1))))


def _interval(value: float, replicates: np.ndarray, reflect: bool) -> tuple[float, float] | None:
    finite = replicates[np.isfinite(replicates)]
    if not len(finite) or not np.isfinite(value):
        return None
    low, high = (float(end) for end in np.percentile(finite, [2.5, 97.5]))
    return (2 * value - high, 2 * value - low) if reflect else (low, high)


def _draws(sentences: int, replicates: int, seed: int) -> Iterator[np.ndarray]:
    """Yield (chunk, N) how often each sentence is in each draw."""
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // sentences)
    even = np.full(sentences, 1 / sentences)
    for start in range(0, replicates, chunk):
        yield generator.multinomial(sentences, even, size=min(chunk, replicates - start)).astype(float)
