"""Reading a user's list of audio files: CSV, TSV or JSON lines, with paths, transcripts and maybe speakers and ids."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqkd.data.tables import number as finite
from seqkd.errors import DataError
from seqkd.files import decode_line

# What a column may be called, the first of those that are there counting.
COLUMNS = {
    "path": (
        *("path", "file_name", "file", "filename", "audio", "audio_path", "audio_file", "wav"),
        *("audio_filepath", "wav_filename"),  # NeMo's manifests, DeepSpeech's
    ),
    "text": ("text", "transcription", "transcript", "sentence"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk"),
    "id": ("id", "utterance_id", "utt_id", "utt"),
}
# Where in a file an utterance lies, in seconds: a beginning, and an end or a duration.
TIMES = {
    "start": ("offset", "start", "start_time", "begin", "begin_time"),
    "end": ("end", "end_time", "stop"),
    "duration": ("duration",),
}
_BESIDE = ("clips", "wavs", "wav", "audio")  # folders in which audio lies beside a table that does not name them
SUFFIXES = (".csv", ".tsv", ".jsonl")


@dataclass(frozen=True)
class Item:
    """An utterance as it was found.

    Attributes:
        where: File and line that name it, for messages.
        audio: Its audio file.
        text: Transcript, white space collapsed; "" if it is empty, None if there is none.
        speaker: None if it is not given.
        id: Likewise.
        start: Where it begins in the file, in seconds.
        end: Where it ends; None for the end of the file.
        name: What its id is made of, if not of the path: its name in an archive.
        apart: What tells it from others of that name: which archive.
    """

    where: str
    audio: Path
    text: str | None = None
    speaker: str | None = None
    id: str | None = None
    start: float = 0.0
    end: float | None = None
    name: str | None = None
    apart: str | None = None


def read_lines_of(table: Path) -> list[str]:
    """Return the lines of a UTF-8 file, without byte order mark and line ends."""
    try:
        content = table.read_bytes()
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror}.") from error
    lines = []
    content = content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for number, raw in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        line = decode_line(raw, f"{table}, line {number}")
        if "\0" in line:
            raise DataError(
                f"{table}, line {number}: character {line.index(chr(0)) + 1} is a NUL; expected text: "
                "remove it, or convert the file if it is UTF-16."
            )
        lines.append(line)
    if not any(line.strip() for line in lines):
        raise DataError(f"{table} is empty; expected a line a file.")
    return lines


def as_text(value: Any, field: str, where: str) -> str:
    """A value of JSON or Parquet as text: a number is written out, and nothing is "".

    Raises:
        DataError: It is neither text nor a number; or text with half of a character.
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        found = {bool: "true or false", list: "a list", dict: "an object"}.get(type(value), type(value).__name__)
        raise DataError(f"{where}: {field} is {found} ({str(value)[:40]}); expected text.")
    text = str(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: {field} has half of a character ({text[error.start]!r}); write it whole.") from None
    return text


def _rows_of_json(table: Path, lines: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{table}, line {number} is not JSON ({error}).") from error
        if not isinstance(row, dict):
            raise DataError(f"{table}, line {number}: found {line[:40]!r}, expected an object.")
        yield number, row


def _rows_of_csv(table: Path, lines: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    if table.suffix.lower() == ".tsv":  # tabs and no quoting, as in Common Voice
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        delimiter = max(",;|\t", key=lines[0].count)
        rows = csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows)]
        twice = [name for name in header if header.count(name) > 1]
        if twice:
            raise DataError(f"{table}, line 1: column {twice[0]!r} is there twice; name every column once.")
        begun = 2
        for fields in rows:
            if any(field.strip() for field in fields):
                if len(fields) != len(header):
                    raise DataError(
                        f"{table}, line {begun}: found {len(fields)} columns, expected {len(header)} "
                        f"({', '.join(header)}); {_remedy(table)}."
                    )
                yield begun, dict(zip(header, fields, strict=True))
            begun = rows.line_num + 1
    except csv.Error as error:
        raise DataError(f"{table}, line {rows.line_num} cannot be read as CSV ({error}).") from error


def _remedy(table: Path) -> str:
    """What to do about a row with too many or too few columns."""
    if table.suffix.lower() == ".tsv":
        return "a tab is always a separator here, also between quotes: take tabs out of the text, or write a .csv"
    return "put quotes around text that holds the separator"


def read_rows(table: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return line number and values by column of every row of a table: ``*.csv``, ``*.tsv`` or ``*.jsonl``.

    Those of JSON may be of any kind: ``as_text`` takes what is text.

    Raises:
        DataError: It cannot be read, or has no rows.
    """
    lines = read_lines_of(table)
    rows = list((_rows_of_json if table.suffix.lower() in (".jsonl", ".json") else _rows_of_csv)(table, lines))
    if not rows:
        raise DataError(f"{table} has a header and nothing else; expected a line a file.")
    return rows


def find_columns(table: Path, names: list[str], given: Mapping[str, str | None]) -> dict[str, str]:
    """Return the table's name of each of ``COLUMNS`` that it has."""
    found = {}
    for column, usual in COLUMNS.items():
        if given.get(column):
            if given[column] not in names:
                raise DataError(
                    f"{table}, line 1: there is no column {given[column]!r} (corpus.columns.{column}); "
                    f"found {', '.join(names)}."
                )
            found[column] = given[column]
        elif there := [name for name in usual if name in names]:
            found[column] = there[0]
    if "path" not in found:
        raise DataError(
            f"{table}, line 1: there is no column of audio files; found {', '.join(names)}; expected a header with "
            f"one of {', '.join(COLUMNS['path'])}, or its name in corpus.columns.path."
        )
    return found


def read_table(
    table: Path, columns: Mapping[str, str | None], audio_root: Path | None = None, *, inside: bool = False
) -> list[Item]:
    """Read a table of audio files.

    ``*.csv`` has commas (or semicolons, bars) between columns and quotes around text that holds them; ``*.tsv`` tabs
    and no quotes; ``*.jsonl`` an object a line, as in NeMo's manifests. The first line of the former two names the
    columns. Where there are times (``TIMES``), an utterance is that part of its file, and a file may have several.

    Args:
        table: The file.
        columns: The table's own names of ``path``, ``text``, ``speaker`` and ``id``; of those that are missing or
            None, the usual ones are looked for (``COLUMNS``).
        audio_root: What relative paths start from; the table's folder if None.
        inside: Whether all audio must lie in that folder.

    Raises:
        DataError: The table, or what a line says, is not what it should be; file and line are named.
    """
    root = audio_root or table.parent
    rows = read_rows(table)
    names = find_columns(table, list(dict.fromkeys(name for _, row in rows for name in row)), columns)
    timed = _time_columns(table, list(dict.fromkeys(name for _, row in rows for name in row)))
    items: list[Item] = []
    files: dict[tuple[str, float, float | None], int] = {}
    ids: dict[str, int] = {}
    for line, row in rows:
        where = f"{table}, line {line}"
        fields = {column: as_text(row.get(name), name, where) for column, name in names.items()}
        value = {column: " ".join(field.split()) for column, field in fields.items()}
        path = fields["path"]
        path = path if path and (root / path).is_file() else path.strip()
        if not path:
            raise DataError(f"{where}: {names['path']} is empty; expected an audio file.")
        audio = root / path
        if not audio.is_file():
            there = (root / folder / path for folder in _BESIDE)
            audio = next((one for one in there if one.is_file()), audio)
        if inside and not audio.resolve().is_relative_to(root.resolve()):
            raise DataError(f"{where}: {path} is outside {root}; expected a file of that folder.")
        if not audio.is_file():
            raise DataError(f"{where}: the audio file {path!r} is missing; looked for {audio}.")
        start, end = _times(row, timed, where)
        place = (str(audio), start, end)
        if place in files:
            same = "" if end is None and not start else ", with these times"
            raise DataError(f"{where}: {path!r} is there already, on line {files[place]}{same}; remove one of them.")
        files[place] = line
        key = value.get("id")
        if key is not None and (not key or " " in key):
            raise DataError(f"{where}: {names['id']} is {key!r}; expected one on every line, without spaces.")
        if key in ids:
            raise DataError(f"{where}: id {key!r} is there already, on line {ids[key]}; every id must be unique.")
        if key is not None:
            ids[key] = line
        items.append(Item(where, audio, value.get("text"), value.get("speaker") or None, key, start, end))
    return items


def _time_columns(table: Path, names: list[str]) -> dict[str, str]:
    """Return the table's names of ``TIMES``. Raises DataError where they say the same thing twice."""
    found = {column: there[0] for column, usual in TIMES.items() if (there := [one for one in usual if one in names])}
    if "end" in found and "duration" in found and "start" not in found:
        raise DataError(
            f"{table}, line 1: there are columns {found['end']} and {found['duration']}, but none where utterances "
            f"begin; expected one of {', '.join(TIMES['start'])}, or rename {found['end']}."
        )
    return found


def _times(row: Mapping[str, Any], timed: Mapping[str, str], where: str) -> tuple[float, float | None]:
    """Where an utterance begins, and where it ends; None for the end of the file."""
    given: dict[str, float] = {}
    for column, name in timed.items():
        value = as_text(row.get(name), name, where).strip()
        if not value:
            continue
        given[column] = finite(value)
        if not given[column] >= 0:
            raise DataError(f"{where}: {name} is {value!r}; expected seconds from 0 on, such as 12.5.")
    start = given.get("start", 0.0)
    end = given.get("end", start + given["duration"] if "duration" in given else None)
    if end is not None and end <= start:
        raise DataError(
            f"{where}: the utterance begins at {start:g} s and ends at {end:g} s; expected an end after it."
        )
    return start, end
