"""What classes are measured by, as functions of sums over clips.

Columns of the table, besides the (N,) ``positions`` (1, or the frames of a clip), ``right``, ``nll`` and ``brier``:

- ``true``, ``found``, ``hit`` (N, C): positions of each class, positions given that class, and those that are both;
- ``bins`` (N, 3, M + 1): predictions, their confidences and the right ones, by bin of confidence.

Letters: N clips, C classes, M bins of confidence; ``...`` any leading dimensions, such as draws of clips.
"""

from __future__ import annotations

import numpy as np

from seqkd.statistics.measures import Measure, ece, ratio


def _mean_of_known(values: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The mean over the classes that there are any of."""
    return ratio(np.where(true > 0, values, 0.0).sum(-1), (true > 0).sum(-1))


def balanced(hit: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(...) mean recall of the classes that occur, from (..., C)."""
    return _mean_of_known(ratio(hit, true), true)


def macro_f1(hit: np.ndarray, true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(...) mean F1 of the classes that occur, from (..., C)."""
    return _mean_of_known(2 * hit / np.maximum(true + found, 1e-300), true)


ACCURACY = Measure("accuracy", "Accuracy", ("right", "positions"), ratio, unit="%", scale=100, higher_is_better=True)
BALANCED = Measure(
    "balanced",
    "Balanced accuracy",
    ("hit", "true"),
    balanced,
    unit="%",
    scale=100,
    higher_is_better=True,
    about="mean recall of the classes.",
)
MACRO_F1 = Measure(
    "macro_f1", "Macro-F1", ("hit", "true", "found"), macro_f1, unit="%", scale=100, higher_is_better=True
)
NLL = Measure("nll", "NLL", ("nll", "positions"), ratio, decimals=3, tested=True, about="nats a clip, or a frame.")
ECE = Measure(
    "ece",
    "ECE",
    ("bins",),
    ece,
    unit="%",
    scale=100,
    reflect=True,
    about="expected calibration error, 15 bins.",
)
BRIER = Measure("brier", "Brier", ("brier", "positions"), ratio, decimals=4, about="Brier score, from 0 to 2.")
MEASURES = (ACCURACY, MACRO_F1, NLL, ECE)
FURTHER = (BALANCED, BRIER)
