"""Reading and writing transcripts: one line an utterance. Every fault names its file and line.

Kaldi ``text`` and sclite ``trn`` are here; formats that know times and speakers are in
`seqkd.scoring.segments`, which also chooses a format by a file's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from seqkd import files
from seqkd.errors import DataError

_TRN_LINE = re.compile(r"(?P<words>.*)\((?P<id>[^()\s]+)\)")


def read_text(path: Path | str) -> dict[str, str]:
    """Read a Kaldi ``text`` file: one ``id words ...`` a line; an id alone is an empty transcript.

    Returns:
        Transcripts by utterance id, in the order of the file, words joined by single spaces.

    Raises:
        DataError: no such file, no lines, a blank line, an id given twice, or text that is not UTF-8.
    """

    def parse(line: str) -> tuple[str, str] | None:
        fields = line.split()
        return fields[0], " ".join(fields[1:])

    return _read(Path(path), parse, expected="an utterance id and its words")


def read_trn(path: Path | str) -> dict[str, str]:
    """Read an sclite ``trn`` file: one ``words ... (id)`` a line; lines that begin with ``;;`` are comments.

    Returns and raises the same as `read_text`, and a DataError for a line without ``(id)`` at its end.
    """

    def parse(line: str) -> tuple[str, str] | None:
        if line.startswith(";;"):
            return None
        found = _TRN_LINE.fullmatch(line.strip())
        if not found:
            raise ValueError
        return found["id"], " ".join(found["words"].split())

    return _read(Path(path), parse, expected="words and then the utterance id in parentheses")


def read_table(path: Path | str, *, expected: str) -> dict[str, str]:
    """Read a Kaldi table of two columns, such as ``utt2spk``; ``expected`` says what a line holds.

    Raises:
        DataError: as `read_text`, or a line of another number of columns.
    """

    def parse(line: str) -> tuple[str, str] | None:
        fields = line.split()
        if len(fields) != 2:
            raise ValueError
        return fields[0], fields[1]

    return _read(Path(path), parse, expected=expected)


def write_text(path: Path | str, transcripts: Mapping[str, str]) -> None:
    """Write a Kaldi ``text`` file, sorted by id; DataError for an id that it cannot hold."""
    _write(path, transcripts, lambda utterance, words: f"{utterance} {words}".rstrip())


def write_trn(path: Path | str, transcripts: Mapping[str, str]) -> None:
    """Write an sclite ``trn`` file, sorted by id; DataError for an id that it cannot hold."""
    _write(path, transcripts, lambda utterance, words: f"{words} ({utterance})".lstrip())


def _read(path: Path, parse: Callable[[str], tuple[str, str] | None], *, expected: str) -> dict[str, str]:
    transcripts: dict[str, str] = {}
    lines_of_ids: dict[str, int] = {}
    for number, line in read_lines(path):
        if not line.strip():
            raise DataError(f"{path}, line {number}: the line is blank; expected {expected}.")
        try:
            entry = parse(line)
        except ValueError:
            message = f"{path}, line {number}: found {line.strip()!r}; expected {expected}."
            raise DataError(message) from None
        if entry is None:
            continue
        utterance, words = entry
        if utterance in transcripts:
            first = lines_of_ids[utterance]
            raise DataError(f"{path}, line {number}: utterance {utterance} was already given in line {first}.")
        transcripts[utterance], lines_of_ids[utterance] = words, number
    if not transcripts:
        raise DataError(f"{path} holds no transcripts; expected on each line {expected}.")
    return transcripts


def read_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end); DataError for no such file or text that is not UTF-8."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a directory; expected a file of transcripts.") from None
    # Bytes are split, not text: str.splitlines would also end a line at form feeds and Unicode separators.
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{path}, line {number}: the text is not UTF-8.") from None


def _write(path: Path | str, transcripts: Mapping[str, str], form: Callable[[str, str], str]) -> None:
    for utterance in transcripts:
        if not re.fullmatch(r"[^()\s]+", utterance):
            raise DataError(
                f"{path}: utterance id {utterance!r} cannot be written; "
                "an id is not empty and holds neither spaces nor parentheses."
            )
    lines = [form(utterance, " ".join(transcripts[utterance].split())) for utterance in sorted(transcripts)]
    files.write_text(path, "".join(f"{line}\n" for line in lines))
