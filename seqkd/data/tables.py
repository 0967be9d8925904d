"""Tables of Kaldi data directories: ``<id> <value>`` lines, sorted by id, each id once."""

from __future__ import annotations

import codecs
import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from seqkd.errors import DataError
from seqkd.files import decode_line


@dataclass(frozen=True)
class Entry:
    """What stands after the id, and on which line (from 1)."""

    line: int
    value: str


Table = dict[str, Entry]


def read_table(file: Path, expected: str, empty_value: str = "", *, allow_empty: bool = False) -> Table:
    """Read a table, checking form, order and uniqueness of ids.

    Args:
        file: The table.
        expected: What a line consists of, for messages.
        empty_value: What to say of an id without a value; ``{id}`` stands for the id.
        allow_empty: Whether a value may be empty.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
    if content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        name, new = shlex.quote(str(file)), shlex.quote(f"{file}.new")
        if content.startswith(codecs.BOM_UTF8):
            kind, remedy = "UTF-8", f"tail -c +4 {name} > {new} && mv {new} {name}"
        else:
            kind, remedy = "UTF-16", f"iconv -f UTF-16 -t UTF-8 {name} > {new} && mv {new} {name}"
        raise DataError(
            f"{file} begins with a byte order mark (of {kind}), which would be part of the first id; remove it with: "
            f"{remedy}"
        )
    if not content.strip():
        raise DataError(f"{file} is empty; expected one line an entry, each {expected}.")
    table: Table = {}
    previous = ""
    for number, raw in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        where = f"{file}, line {number}"
        line = decode_line(raw, where)
        if line.endswith("\r"):
            raise DataError(
                f"{where} ends in a carriage return; expected Unix line ends, convert the file with dos2unix."
            )
        fields = line.split(maxsplit=1)
        if not fields:
            raise DataError(f"{where} is blank; expected {expected}; remove the line.")
        key, value = fields[0], fields[1].strip() if len(fields) > 1 else ""
        if not value and not allow_empty:
            fault = empty_value or f"found only {key!r}, expected {expected}"
            raise DataError(f"{where}: {fault.format(id=key)}.")
        if key in table:
            raise DataError(
                f"{where}: id {key!r} is there already, on line {table[key].line}; "
                "every id must be unique, remove or rename one."
            )
        if key < previous:
            raise DataError(
                f"{where}: {key!r} comes after {previous!r}, but lines must be sorted by the first field; "
                f"sort the file with: LC_ALL=C sort -k1,1 -o {shlex.quote(str(file))} {shlex.quote(str(file))}"
            )
        table[key] = Entry(number, value)
        previous = key
    return table


def same_ids(left: Table, left_file: Path, right: Table, right_file: Path) -> None:
    """Check that two tables have the same ids."""
    for have, have_file, lack, lack_file in (
        (left, left_file, right, right_file),
        (right, right_file, left, left_file),
    ):
        missing = [key for key in have if key not in lack]
        if missing:
            more = f" ({len(missing)} such ids in all)" if len(missing) > 1 else ""
            raise DataError(
                f"{have_file}, line {have[missing[0]].line}: id {missing[0]!r} is not in {lack_file}{more}; "
                "add it there or remove it here."
            )


def one_field(table: Table, file: Path, what: str) -> None:
    """Check that every line has two fields; ``what`` names them."""
    for key, entry in table.items():
        if len(entry.value.split()) != 1:
            raise DataError(
                f"{file}, line {entry.line}: found {1 + len(entry.value.split())} fields for {key!r}, "
                f"expected two: {what}."
            )


def number(text: str) -> float:
    """Return the finite number that ``text`` is, or NaN."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
