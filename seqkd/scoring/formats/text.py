"""Transcripts with one line an utterance: Kaldi's ``text``, sclite's ``trn``, plain lines. Faults name the line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from seqkd import files
from seqkd.errors import DataError
from seqkd.scoring.formats.reading import Reading

# sclite takes what stands between the last opening and the last closing parenthesis, spaces and all.
_TRN_LINE = re.compile(r"(?P<words>.*)\((?P<id>[^()]*)\)")


def read_text(path: Path | str, reading: Reading | None = None) -> dict[str, str]:
    """Read a Kaldi ``text`` file: one ``id words ...`` a line; an id alone is an empty transcript.

    Args:
        path: of the file, packed by gzip or not; ``-`` is standard input.
        reading: how strictly; by default a blank line is a fault.

    Returns:
        Transcripts by utterance id, in the order of the file, words joined by single spaces.

    Raises:
        DataError: no such file, no lines, a blank line, an id given twice, or text that is not UTF-8.
    """

    def parse(line: str) -> tuple[str, str] | None:
        fields = line.split()
        return fields[0], " ".join(fields[1:])

    return _read(Path(path), parse, reading, expected="an utterance id and its words")


def read_trn(path: Path | str, reading: Reading | None = None) -> dict[str, str]:
    """Read an sclite ``trn`` file: one ``words ... (id)`` a line; lines that begin with ``;;`` are comments.

    Returns and raises the same as `read_text`, and a DataError for a line without ``(id)`` at its end, and, in a
    strict reading, for an id with a space in it.
    """
    path, reading = Path(path), reading or Reading()
    expected = "words and then the utterance id in parentheses"

    def parse(line: str) -> tuple[str, str] | None:
        if line.startswith(";;"):
            return None
        found = _TRN_LINE.fullmatch(line.strip())
        utterance = found["id"].strip() if found else ""
        if not utterance:
            raise ValueError
        if len(utterance.split()) > 1:
            if reading.strict:
                raise ValueError
            reading.note(path, "{} ids with a space in them")
            utterance = " ".join(utterance.split())
        return utterance, " ".join(found["words"].split())

    return _read(path, parse, reading, expected=expected)


def read_plain(path: Path | str, reading: Reading | None = None) -> dict[str, str]:
    """Read lines of words without ids, which are named by their numbers.

    A blank line is an empty transcript, at the end of the file, too; the newline that ends the last line begins none.
    """
    lines = [" ".join(line.split()) for _, line in (reading or Reading()).lines(path)]
    if not lines:
        raise DataError(f"{path} holds no transcripts; expected one a line.")
    return {str(number): line for number, line in enumerate(lines, start=1)}


def read_table(path: Path | str, *, expected: str, reading: Reading | None = None) -> dict[str, str]:
    """Read a Kaldi table of two columns, such as ``utt2spk``; ``expected`` describes a line, for the message.

    Raises:
        DataError: as `read_text`, or a line of another number of columns.
    """

    def parse(line: str) -> tuple[str, str] | None:
        fields = line.split()
        if len(fields) != 2:
            raise ValueError
        return fields[0], fields[1]

    return _read(Path(path), parse, reading, expected=expected)


def write_text(path: Path | str, transcripts: Mapping[str, str]) -> None:
    """Write a Kaldi ``text`` file, sorted by id; DataError for an id that it cannot hold."""
    _write(path, transcripts, lambda utterance, words: f"{utterance} {words}".rstrip())


def write_trn(path: Path | str, transcripts: Mapping[str, str]) -> None:
    """Write an sclite ``trn`` file, sorted by id; DataError for an id that it cannot hold."""
    _write(path, transcripts, lambda utterance, words: f"{words} ({utterance})".lstrip())


def _read(
    path: Path, parse: Callable[[str], tuple[str, str] | None], reading: Reading | None, *, expected: str
) -> dict[str, str]:
    reading = reading or Reading()
    transcripts: dict[str, str] = {}
    lines_of_ids: dict[str, int] = {}
    for number, line in reading.lines(path):
        if not line.strip():
            reading.depart(
                path, f"{path}, line {number}: the line is blank; expected {expected}.", "{} blank lines left out"
            )
            continue
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


def _write(path: Path | str, transcripts: Mapping[str, str], form: Callable[[str, str], str]) -> None:
    for utterance in transcripts:
        if not re.fullmatch(r"[^()\s]+", utterance):
            raise DataError(
                f"{path}: utterance id {utterance!r} cannot be written; "
                "an id is not empty and holds neither spaces nor parentheses."
            )
    lines = [form(utterance, " ".join(transcripts[utterance].split())) for utterance in sorted(transcripts)]
    files.write_text(path, "".join(f"{line}\n" for line in lines))
