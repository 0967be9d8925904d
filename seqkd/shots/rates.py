"""Frames of one, two and four seconds: how the assistants' rates are made of the one-second frames, and back.

Legend: T one-second frames, n seconds of a slower frame; the slower frame of second t (from 0) is ⌊t / n⌋, which is the
paper's ⌈t / n⌉ for t from 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

RATES = (1, 2, 4)  # seconds a frame: the high, middle and low rate of the paper's assistants


def averaged(values: ArrayLike, seconds: int) -> np.ndarray:
    """(T, ...) to (⌈T / n⌉, ...): the mean of every n frames; the last mean is over what there is."""
    values = np.asarray(values)
    if seconds == 1 or not len(values):
        return values
    starts = np.arange(0, len(values), seconds)
    sums = np.add.reduceat(values.astype(float), starts, axis=0)
    sizes = np.diff(np.append(starts, len(values))).reshape(-1, *[1] * (values.ndim - 1))
    return (sums / sizes).astype(np.result_type(values.dtype, np.float32))


def repeated(values: ArrayLike, seconds: int, frames: int) -> np.ndarray:
    """(⌈T / n⌉, ...) to (T, ...): each slower frame at every second it covers."""
    return np.repeat(np.asarray(values), seconds, axis=0)[:frames]
