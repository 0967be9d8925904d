"""The lines of a user's text file."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from seqkd.errors import DataError
from seqkd.files import decode_line


def read_lines(file: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file with white space collapsed, tabs kept.

    Raises:
        DataError: It cannot be read, is not UTF-8 or holds a NUL; file, line and byte are named.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content:
        return
    for number, raw in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        where = f"{file}, line {number}"
        line = decode_line(raw, where)
        if "\0" in line:
            raise DataError(
                f"{where}: character {line.index(chr(0)) + 1} is a NUL; expected text: "
                "remove it, or convert the file if it is UTF-16."
            )
        yield "\t".join(" ".join(field.split()) for field in line.split("\t"))


def read_text(file: Path) -> list[str]:
    """Return the lines of a text file, where tabs are white space too; see ``read_lines``."""
    return [" ".join(line.split()) for line in read_lines(file)]
