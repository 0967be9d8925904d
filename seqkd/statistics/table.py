"""One table of sums over test items: all that a measure, its interval and its p-value are computed from.

    table = Table(("u1", "u2"), {"errors": np.array([0, 2]), "words": np.array([3, 4])})
    table.total()["errors"] / table.total()["words"]      # the WER
    table.drawn(weights)                                  # the sums of many draws of the items at once

A row is what one item (an utterance, a sentence, a song) contributes, in as many columns as the measures need. A column
may have any shape after its first dimension, such as errors by bin of confidence.

Legend: N items, R draws; ``...`` the further dimensions of a column.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqkd import files
from seqkd.errors import DataError

Sums = Mapping[str, np.ndarray]  # by column: (...) of a total, (R, ...) of draws

_IDS = "ids"  # the name that the ids have in a file


@dataclass(frozen=True)
class Table:
    """Sums of N items.

    Attributes:
        ids: N different names of items.
        columns: (N, ...) numbers by name.

    Raises:
        DataError: an id is there twice, or a column has not one row an item.
    """

    ids: tuple[str, ...]
    columns: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        """Check ids and shapes."""
        if repeated := len(self.ids) - len(set(self.ids)):
            raise DataError(f"{repeated} of {len(self.ids)} items are in the table twice; expected each of them once.")
        for name, column in self.columns.items():
            if name == _IDS or column.shape[:1] != (len(self.ids),):
                raise DataError(f"Column {name!r} has shape {column.shape}; expected {len(self)} rows, one an item.")

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of_rows(cls, rows: Mapping[str, Sums]) -> Table:
        """Return the table of items that were counted one by one; all of them with the same columns."""
        names = next(iter(rows.values()), {})
        columns = {name: [np.asarray(row[name], float) for row in rows.values()] for name in names}
        return cls(tuple(rows), {name: np.stack(column) for name, column in columns.items()})

    def total(self) -> dict[str, np.ndarray]:
        """Return the sums over all items: (...) by column."""
        return {name: column.sum(axis=0) for name, column in self.columns.items()}

    def drawn(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the sums of draws, (R, ...) by column; ``weights`` (R, N) is how often each item is in each draw."""
        return {name: np.tensordot(weights, column, 1) for name, column in self.columns.items()}

    def part(self, rows: slice | np.ndarray) -> Table:
        """Return a table of some of the items."""
        ids = np.array(self.ids, object)[rows]
        return Table(tuple(ids), {name: column[rows] for name, column in self.columns.items()})

    @staticmethod
    def joined(parts: Mapping[str, Table]) -> Table:
        """Return the items of several test sets as one table, ids preceded by ``<name of the set>/``.

        Raises:
            DataError: sets were counted in different columns.
        """
        first = next(iter(parts.values())).columns
        for name, part in parts.items():
            shapes = ({key: column.shape[1:] for key, column in one.items()} for one in (first, part.columns))
            if len({tuple(sorted(shape.items())) for shape in shapes}) > 1:
                raise DataError(f"Test set {name} was counted otherwise than the others; score all of them again.")
        ids = tuple(f"{name}/{item}" for name, part in parts.items() for item in part.ids)
        return Table(ids, {key: np.concatenate([part.columns[key] for part in parts.values()]) for key in first})

    def save(self, path: Path | str) -> None:
        """Write a compressed ``npz``, atomically and without pickles."""
        with files.atomic_path(path) as temporary, temporary.open("wb") as out:
            np.savez_compressed(out, **{_IDS: np.array(self.ids, str)}, **self.columns)

    @classmethod
    def load(cls, path: Path | str) -> Table:
        """Read what `save` wrote; DataError if it is missing or damaged."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                columns = {name: stored[name] for name in stored.files}
            return cls(tuple(map(str, columns.pop(_IDS))), columns)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as fault:
            raise DataError(f"{path} is missing or damaged ({fault}); score again.") from None


def same_items(tables: Sequence[Table]) -> bool:
    """Whether all tables hold the same items in the same order."""
    return len({table.ids for table in tables}) <= 1
