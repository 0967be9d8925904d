"""Sentence pairs on disk.

A data directory of pairs holds two tables with the same ids in the same order:

=======  =============================================
``src``  pair id and source text, one pair a line, UTF-8
``tgt``  pair id and target text
=======  =============================================

``write_pairs`` sorts by id as ``LC_ALL=C sort`` does; ``read_pairs`` takes any order, if it is the same in both.
Runs of white space count as one space. A word is what stands between spaces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from seqkd.data.lines import read_text
from seqkd.errors import DataError
from seqkd.files import atomic_directory
from seqkd.settings import at_least

_TABLES = ("src", "tgt")


@dataclass(frozen=True)
class SentencePair:
    """A source sentence and its reference translation, with an id."""

    id: str
    source: str
    target: str

    @property
    def words(self) -> tuple[int, int]:
        """How many words source and target have."""
        return len(self.source.split()), len(self.target.split())


@dataclass(frozen=True)
class TextSettings:
    """Which pairs are trained on.

    Attributes:
        max_words: the most that either side may have.
        max_ratio: the most times the words of the shorter side that the longer one may have; None: any.
    """

    max_words: int = 100
    max_ratio: float | None = 4.0

    def __post_init__(self) -> None:
        at_least(1, max_words=self.max_words)
        if self.max_ratio is not None:
            at_least(1, max_ratio=self.max_ratio)


@dataclass(frozen=True)
class Dropped:
    """How many pairs were left out, by the first reason that held.

    Attributes:
        empty: One side (or both) has no text.
        over_long: One side has more words than allowed.
        unbalanced: One side has too many times the words of the other.
    """

    empty: int = 0
    over_long: int = 0
    unbalanced: int = 0

    @property
    def total(self) -> int:
        """The number of pairs left out, for any reason."""
        return self.empty + self.over_long + self.unbalanced

    def __str__(self) -> str:
        counts = {"with an empty side": self.empty, "over-long": self.over_long, "unbalanced": self.unbalanced}
        return ", ".join(f"{count} {reason}" for reason, count in counts.items() if count) or "none"


def pairs_fingerprint(pairs: Iterable[SentencePair]) -> str:
    """Return a short digest of ids and texts, in their order."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(f"{pair.id}\t{pair.source}\t{pair.target}\n".encode())
    return digest.hexdigest()[:16]


def _read_table(file: Path) -> dict[str, str]:
    """Return texts by id, in the order of the file."""
    table: dict[str, str] = {}
    for line, content in enumerate(read_text(file), start=1):
        key, _, text = content.partition(" ")
        if not key:
            raise DataError(f"{file}, line {line} is blank; expected a pair id and a text; remove the line.")
        if key in table:
            raise DataError(
                f"{file}, line {line}: id {key!r} is there already, on line {list(table).index(key) + 1}; "
                "every id must be unique, remove or rename one."
            )
        table[key] = text
    if not table:
        raise DataError(f"{file} is empty; expected one pair a line, each an id and a text.")
    return table


def read_pairs(directory: Path | str) -> list[SentencePair]:
    """Read a data directory of pairs, in its order; a side without text is "" (``filter_pairs`` drops it).

    Raises:
        DataError: A file is missing, empty or not UTF-8, an id occurs twice, or ids or their order differ.
    """
    files = [Path(directory) / name for name in _TABLES]
    for file in files:
        if not file.is_file():
            raise DataError(f"{file} is missing; a directory of pairs needs src and tgt.")
    source, target = (_read_table(file) for file in files)
    if len(source) != len(target):
        raise DataError(
            f"{files[0]} has {len(source)} lines, but {files[1]} has {len(target)}; expected one pair a line in both."
        )
    for line, (left, right) in enumerate(zip(source, target, strict=True), start=1):
        if left != right:
            raise DataError(
                f"{files[1]}, line {line}: found id {right!r}, expected {left!r} as in {files[0].name}; "
                "put both files into the same order."
            )
    return [SentencePair(key, text, target[key]) for key, text in source.items()]


def write_pairs(directory: Path | str, pairs: Iterable[SentencePair]) -> None:
    """Write a data directory of pairs, sorted by id; it appears whole, in place of an older one of that name.

    A directory that holds these pairs already is left alone.

    Raises:
        DataError: No pairs, an id that is empty, twice there or has white space, or a text with a line break.
    """
    directory = Path(directory)
    pairs = sorted(pairs, key=lambda pair: pair.id)
    if not pairs:
        raise DataError(f"Data directory {directory} would be empty: no pairs to write.")
    previous = None
    for pair in pairs:
        if pair.id == previous:
            raise DataError(f"Data directory {directory} would have pair id {pair.id!r} twice.")
        if pair.id.split() != [pair.id]:
            raise DataError(f"Data directory {directory}: pair id {pair.id!r} is empty or has white space.")
        previous = pair.id
    tables = {
        "src": "".join(f"{pair.id} {' '.join(pair.source.split())}\n" for pair in pairs),
        "tgt": "".join(f"{pair.id} {' '.join(pair.target.split())}\n" for pair in pairs),
    }
    if all(
        (directory / name).is_file() and (directory / name).read_bytes() == content.encode()
        for name, content in tables.items()
    ):
        return
    with atomic_directory(directory) as temporary:
        for name, content in tables.items():
            (temporary / name).write_text(content, encoding="utf-8")


def filter_pairs(
    pairs: Iterable[SentencePair], *, max_words: int, max_ratio: float | None = None
) -> tuple[list[SentencePair], Dropped]:
    """Leave out pairs that are empty on a side, over-long or unbalanced; see ``Dropped``.

    Args:
        pairs: Any.
        max_words: The most words either side may have.
        max_ratio: The most times the words of the shorter side that the longer one may have; None: any.

    Raises:
        ConfigError: ``max_words`` is below 1 or ``max_ratio`` below 1.
    """
    TextSettings(max_words, max_ratio)
    kept: list[SentencePair] = []
    empty = over_long = unbalanced = 0
    for pair in pairs:
        short, long = sorted(pair.words)
        if not short:
            empty += 1
        elif long > max_words:
            over_long += 1
        elif max_ratio is not None and long > max_ratio * short:
            unbalanced += 1
        else:
            kept.append(pair)
    return kept, Dropped(empty, over_long, unbalanced)
