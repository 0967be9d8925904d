"""Which training clips a system learns from: few of a class, a share, some classes; and with which labels.

Letters: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqkd.errors import ConfigError
from seqkd.settings import at_least, did_you_mean, less_than, more_than, share


@dataclass(frozen=True, kw_only=True)
class ExampleSettings:
    """The setting ``system.examples``.

    Attributes:
        shots: clips of each class; null for all.
        share: of the clips of each class; rounded, at least one.
        subset: whether only clips of ``classes.subset`` are taken, and the network has only these classes.
        wrong_labels: share of the clips that get another class' label, drawn evenly.
        seed: of what is drawn here; null is the run's own.
    """

    shots: int | None = None
    share: float = 1.0
    subset: bool = False
    wrong_labels: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.shots is not None:
            at_least(1, shots=self.shots)
        share(share=self.share)
        more_than(0, share=self.share)
        less_than(0, 1, wrong_labels=self.wrong_labels)
        if self.seed is not None:
            at_least(0, seed=self.seed)


def classes_of(classes: Sequence[str], wanted: Sequence[str] | float | None, seed: int = 0) -> tuple[int, ...]:
    """The numbers of the classes of a subset, rising; all where nothing is wanted.

    Args:
        classes: names in order.
        wanted: names, or a share of the classes, of which the first of a permutation are taken.
        seed: of the permutation.

    Raises:
        ConfigError: a name that is not there, or fewer than two classes.
    """
    if wanted is None:
        return tuple(range(len(classes)))
    if isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        count = round(share(**{"setting classes.subset": wanted}) * len(classes))
        chosen = np.random.default_rng(seed).permutation(len(classes))[:count].tolist()
    else:
        for name in wanted:
            if name not in classes:
                raise ConfigError(
                    f"setting classes.subset names {name!r}, which is no class{did_you_mean(str(name), classes)}; the "
                    f"classes are {', '.join(classes)}"
                )
        chosen = [list(classes).index(name) for name in wanted]
    if len(set(chosen)) < 2:
        raise ConfigError(f"setting classes.subset leaves {len(set(chosen))} classes; expected at least 2")
    return tuple(sorted(set(chosen)))


def chosen_rows(numbers: np.ndarray, settings: ExampleSettings, subset: Sequence[int], seed: int) -> np.ndarray:
    """The rows of the clips that are learned from, rising.

    Args:
        numbers: (N,) classes.
        settings: how many.
        subset: the classes of ``classes.subset``.
        seed: of the run.

    Raises:
        ConfigError: a class has fewer clips than ``shots``, or there is no clip of the subset.
    """
    rng = np.random.default_rng([17, seed if settings.seed is None else settings.seed])
    rows = []
    for number in np.unique(numbers):
        ours = rng.permutation(np.flatnonzero(numbers == number))
        if settings.subset and number not in subset:
            continue
        if settings.shots is not None and settings.shots > len(ours):
            raise ConfigError(
                f"setting system.examples.shots is {settings.shots}, but a class has {len(ours)} training clips; "
                "expected no more than that"
            )
        count = len(ours) if settings.shots is None else settings.shots
        rows.append(ours[: max(1, round(settings.share * count))])
    if not rows:
        raise ConfigError("setting classes.subset names classes of which there is no training clip")
    return np.sort(np.concatenate(rows))


def with_wrong_labels(numbers: np.ndarray, classes: int, settings: ExampleSettings, seed: int) -> np.ndarray:
    """(N,) classes, of which a share is another one, drawn evenly; the same clips whatever else is chosen."""
    if settings.wrong_labels == 0:
        return numbers
    rng = np.random.default_rng([23, seed if settings.seed is None else settings.seed])
    other = (numbers + rng.integers(1, classes, numbers.shape)) % classes
    return np.where(rng.random(numbers.shape) < settings.wrong_labels, other, numbers)
