"""Reading a user's parallel text: two files side by side, or one table with tabs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seqkd.data.lines import read_lines, read_text
from seqkd.errors import DataError

_COLUMNS = ("source", "target", "id", "group")
_NAMED = 5  # line numbers in a message


@dataclass(frozen=True)
class FoundPair:
    """A pair as it was found.

    Attributes:
        line: Line number, from 1.
        source: Source text, white space collapsed.
        target: Target text, likewise.
        id: Its id in the table; None if the table has none.
        group: What must stay together in one set, for instance a document; None if nothing must.
    """

    line: int
    source: str
    target: str
    id: str | None = None
    group: str | None = None


def _read_side_by_side(source: Path, target: Path, groups: Path | None) -> Iterator[FoundPair]:
    files = [source, target, *([groups] if groups else [])]
    texts = [read_text(file) for file in files]
    for file, lines in zip(files[1:], texts[1:], strict=True):
        if len(lines) != len(texts[0]):
            raise DataError(
                f"{source} has {len(texts[0])} lines, but {file} has {len(lines)}; expected as many, line by line "
                "beside each other: find where they part, or align the texts anew."
            )
    for number, fields in enumerate(zip(*texts, strict=True), start=1):
        group = fields[2] if groups else None
        if group == "":
            raise DataError(f"{groups}, line {number} is empty; expected the group of this pair on every line.")
        yield FoundPair(number, fields[0], fields[1], group=group)


def _read_table(table: Path, group: str | None) -> Iterator[FoundPair]:
    lines = read_lines(table)
    first = next(lines, "").split("\t")
    header = "source" in first and "target" in first
    columns = first if header else list(_COLUMNS[:2])
    if len(set(columns)) < len(columns):
        raise DataError(f"{table}, line 1: a column is there twice in the header {', '.join(columns)}.")
    if group is not None and group not in columns:
        raise DataError(
            f"{table}, line 1: there is no column {group!r}; found {', '.join(columns) if header else 'no header'}, "
            f"expected a header with source, target and {group}."
        )
    group = group or ("group" if "group" in columns else None)
    rest = lines if header else itertools.chain(["\t".join(first)], lines)
    seen: dict[str, int] = {}
    for number, line in enumerate(rest, start=2 if header else 1):
        fields = line.split("\t")
        if len(fields) != len(columns):
            raise DataError(
                f"{table}, line {number}: found {len(fields)} columns, expected {len(columns)} "
                f"({', '.join(columns)}), with one tab between two."
            )
        row = dict(zip(columns, fields, strict=True))
        for name in ("id", group):
            if name in row and (not row[name] or (name == "id" and " " in row[name])):
                raise DataError(
                    f"{table}, line {number}: {name} is {row[name]!r}; expected one on every line"
                    f"{', without spaces' if name == 'id' else ''}."
                )
        if "id" in row:
            if row["id"] in seen:
                raise DataError(
                    f"{table}, line {number}: id {row['id']!r} is there already, on line {seen[row['id']]}; "
                    "every id must be unique."
                )
            seen[row["id"]] = number
        yield FoundPair(number, row["source"], row["target"], row.get("id"), row[group] if group else None)


def read_rows(source: Path, target: Path | None, group: str | None = None) -> list[FoundPair]:
    """Read pairs as they stand: from two text files, or from one ``.tsv``.

    A table has one pair a line with tabs between its columns and no quoting. Its first line may name the
    columns: ``source``, ``target`` and, if there are any, ``id``, ``group`` and others, which are not read.
    Without such a line there are two columns, source and target.

    Args:
        source: Text file, one sentence a line; or the table, and then ``target`` is None.
        target: Text file with the translation of every line.
        group: Text file with the group of every line; for a table the column that names the group
            (``group`` if it has one of that name).

    Raises:
        DataError: A file cannot be read or is not what it should be; the message names file and line.
    """
    if target is None:
        if source.suffix.lower() != ".tsv":
            raise DataError(
                f"{source} has no target; name the file of translations (corpus.target), or give one table named *.tsv."
            )
        rows = list(_read_table(source, group))
    else:
        rows = list(_read_side_by_side(source, target, Path(group) if group else None))
    if not rows:
        raise DataError(f"{source} is empty; expected one sentence a line.")
    return rows


def empty_sides(rows: list[FoundPair], source: Path, target: Path | None) -> str | None:
    """Say on which lines a side has no text; None if there are none."""
    found = []
    for name, side in (("source", source), ("target", target or source)):
        lines = [row.line for row in rows if not getattr(row, name)]
        if lines:
            more = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
            word = "lines" if len(lines) > 1 else "line"
            column = f" ({name})" if target is None else ""
            found.append(f"{side}{column}: {word} {', '.join(map(str, lines[:_NAMED]))}{more}")
    return "; ".join(found) or None
