"""Posteriors of a music tagger, made by any other program, to be appended to a song's features.

A file is a CSV table whose first line names the tags, or a NumPy array (``.npy``) of shape (R, C): R rows spread evenly
over the song, whatever the tagger's frame rate, and C tags. Rows are averaged to one a second.

Legend: R rows of the file, C tags; T one-second frames.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from seqkd.data.tables import number
from seqkd.errors import DataError
from seqkd.shots.data import frame_count


def read_tagger(file: Path | str, duration: float) -> tuple[np.ndarray, list[str]]:
    """Read a tagger's posteriors.

    Args:
        file: ``.csv`` or ``.npy``.
        duration: Of the song, in seconds.

    Returns:
        (T, C) means of the rows whose middles are in each second (of the nearest row, where the tagger is slower than
        one a second), and C names of columns, ``tag_`` and what the file calls them.

    Raises:
        DataError: The file is of another kind, has a value that is no number, or has far too few rows for the song.
    """
    file = Path(file)
    rows, names = _read_csv(file) if file.suffix.lower() == ".csv" else _read_npy(file)
    frames = frame_count(duration)
    if len(rows) * 30 < frames:
        raise DataError(
            f"{file} has {len(rows)} rows for a song of {duration:.0f} s; expected at least one every 30 s: is it the "
            "file of another song?"
        )
    middles = (np.arange(len(rows)) + 0.5) * duration / len(rows)
    seconds = np.minimum(middles.astype(int), frames - 1)
    counts = np.bincount(seconds, minlength=frames)
    sums = np.zeros((frames, rows.shape[1]))
    np.add.at(sums, seconds, rows)
    nearest = np.clip(((np.arange(frames) + 0.5) * len(rows) / duration).astype(int), 0, len(rows) - 1)
    means = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], rows[nearest])
    return means, [f"tag_{name}" for name in names]


def _read_npy(file: Path) -> tuple[np.ndarray, list[str]]:
    try:
        rows = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{file} cannot be read as a NumPy array ({error}); expected a .npy of numbers, or a CSV."
        ) from error
    if rows.ndim != 2 or not rows.size or rows.dtype.kind not in "fiu" or not np.isfinite(rows).all():
        raise DataError(
            f"{file} has an array of shape {rows.shape} and type {rows.dtype}; expected (rows, tags) of finite numbers."
        )
    return rows.astype(float), [f"{tag:03d}" for tag in range(rows.shape[1])]


def _read_csv(file: Path) -> tuple[np.ndarray, list[str]]:
    try:
        with file.open(encoding="utf-8", newline="") as text:
            header, *lines = list(csv.reader(text)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as a table in UTF-8 ({error}); write it again.") from error
    names = [name.strip() for name in header]
    if not lines or not all(math.isnan(number(name)) and name for name in names) or len(set(names)) < len(names):
        raise DataError(f"{file}, line 1: found {','.join(header)!r}, expected a line that names every tag once.")
    rows = []
    for line, fields in enumerate(lines, start=2):
        values = [number(value) for value in fields]
        if len(values) != len(names) or not all(map(math.isfinite, values)):
            raise DataError(f"{file}, line {line}: found {','.join(fields)!r}, expected {len(names)} numbers.")
        rows.append(values)
    return np.array(rows), names
