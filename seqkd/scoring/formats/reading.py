"""How strictly files are read, where their bytes come from, and what was done to them on the way."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from seqkd.errors import ConfigError, DataError

READINGS = ("strict", "lenient")
STDIN = Path("-")
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


@dataclass
class Reading:
    """How to read files; one object serves all files of a score, and collects what was done.

    Attributes:
        strict: whether every departure from a format's definition is a fault. Otherwise what NIST's own tools read,
            too, and has one meaning, is read, and noted.
        encoding: of text; any name that Python knows.
        notes: how often each thing was done, by file and sentence; ``{}`` in the sentence stands for the number.
    """

    strict: bool = True
    encoding: str = "utf-8"
    notes: Counter[tuple[str, str]] = field(default_factory=Counter)
    _kept: dict[Path, bytes] = field(default_factory=dict, repr=False)
    _read_stdin: bool = field(default=False, repr=False)

    def __post_init__(self):
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ConfigError(f"there is no encoding {self.encoding!r}; expected such as utf-8 or gb18030") from None

    def depart(self, path: Path | str, fault: str, note: str) -> None:
        """A file departs from its format: a fault in a strict reading, noted in a lenient one."""
        if self.strict:
            raise DataError(f"{fault} It is read with --reading lenient.")
        self.notes[str(path), note] += 1

    def note(self, path: Path | str, note: str, times: int = 1) -> None:
        """Keep that something was done which both readings do."""
        self.notes[str(path), note] += times

    def sentences(self) -> list[str]:
        """Return one sentence for each departure from the format that was read."""
        return [f"{path}: {note.format(times)}" for (path, note), times in self.notes.items()]

    def content(self, path: Path | str) -> bytes:
        """All bytes of a file, of standard input for ``-``; what gzip packed is unpacked."""
        path = Path(path)
        if path not in self._kept:
            self._kept[path] = self._load(path)
        return self._kept[path]

    def lines(self, path: Path | str) -> Iterator[tuple[int, str]]:
        """Yield (line number from 1, line without its end), and forget the file's bytes."""
        path = Path(path)
        content = self.content(path)
        self._kept.pop(path)
        yield from split(path, content, self.encoding)

    def _load(self, path: Path) -> bytes:
        if path == STDIN:
            if self._read_stdin:
                raise DataError("standard input (-) can be read once only; give the other files by name.")
            self._read_stdin = True
            content = sys.stdin.buffer.read()
        else:
            content = load(path)
        if content.startswith(_GZIP):
            try:
                content = gzip.decompress(content)
            except (OSError, EOFError, zlib.error):
                raise DataError(f"{path}: the file begins as gzip does, and cannot be unpacked.") from None
        return content


def load(path: Path) -> bytes:
    """Read the bytes of a file; raises DataError where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a directory; expected a file of transcripts.") from None
    except OSError as fault:
        raise DataError(f"{path} cannot be read: {fault.strerror}.") from None


def split(path: Path, content: bytes, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end); DataError for text of another encoding."""
    name = "UTF-8" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    if name == "UTF-8":
        # Bytes are split, not text: str.splitlines would also end a line at form feeds and Unicode separators.
        lines: Iterator[bytes] = iter(content.removeprefix(_BOM).splitlines())
        for number, line in enumerate(lines, start=1):
            try:
                yield number, line.decode("utf-8")
            except UnicodeDecodeError:
                raise DataError(f"{path}, line {number}: the text is not UTF-8.") from None
        return
    try:
        text = content.decode(encoding)
    except (UnicodeDecodeError, UnicodeError):
        raise DataError(f"{path}: the text is not {name}.") from None
    # Such encodings may hold the byte of a newline inside a character, so that the text is split.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    # A newline ends a line, and begins none after the last one: as bytes are split above.
    yield from enumerate(text.removesuffix("\n").split("\n") if text else (), start=1)


def read_lines(path: Path | str, reading: Reading | None = None) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end); DataError for no such file or text that is not UTF-8."""
    yield from (reading or Reading()).lines(path)
