"""Shot lists as tables: CSV, TSV and text, of people, of spreadsheets in any language, and of PySceneDetect."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from seqkd.corpora.songs.listed import ListEntry, is_clock, past_midnight, rate_of, text_of, time_of
from seqkd.data.tables import number
from seqkd.errors import DataError
from seqkd.shots.editing.timecode import FrameRate

# Names of columns, the ones that count most first. PySceneDetect's times are exact in its columns of seconds.
_NAMES = {
    "start": ("start", "start time (seconds)", "start time", "start timecode", "begin", "in"),
    "end": ("end", "end time (seconds)", "end time", "end timecode", "stop", "out"),
    "type": ("type", "shot type", "class", "kind", "label"),
}


def read_table_list(file: Path, rate: FrameRate) -> list[ListEntry]:
    """Read the shots of a table whose header names start, end and type, or that has these three columns and no header.

    Raises:
        DataError: Something is wrong; with file and line.
    """
    text = text_of(file)
    delimiter, skipped, header = _header(file, text)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(table.line_num, row) for row in table if any(field.strip() for field in row)][skipped + 1 :]
    except csv.Error as error:
        raise DataError(f"{file}, line {table.line_num}: cannot be read as CSV ({error}).") from error
    columns = [_column(header, part) for part in ("start", "end", "type")]
    rate = rate_of((row[column] for _, row in rows for column in columns[:2] if column < len(row)), rate)
    found, coded = [], []
    for line, row in rows:
        where = f"{file}, line {line}"
        if len(row) <= max(columns):
            raise DataError(f"{where}: found {len(row)} fields, expected {len(header)}: {', '.join(header)}.")
        times = [time_of(row[column], where, rate) for column in columns[:2]]
        coded.append(times[0][1])
        found.append((where, times[0][0], times[1][0], row[columns[2]].strip()))
    # A clock that shows an hour or more where the song begins is the time of day.
    of_day = bool(found) and found[0][1] >= 3600 and all(is_clock(row[columns[0]]) for _, row in rows)
    if not any(coded) and not of_day:
        return [ListEntry(*one) for one in found]
    day = 86400.0 if of_day else float(rate.seconds(rate.day))
    times = past_midnight([time for one in found for time in one[1:3]], day)
    origin = times[0]
    return [
        ListEntry(where, start - origin, end - origin, kind)
        for (where, _, _, kind), start, end in zip(found, times[::2], times[1::2], strict=True)
    ]


def _header(file: Path, text: str) -> tuple[str, int, list[str]]:
    """The delimiter, how many lines stand above the header (-1 where there is none), and its names in small letters."""
    lines = [line for line in text.splitlines() if line.strip()][:2]
    names: list[str] = []
    for skipped, line in enumerate(lines):
        for delimiter in (",", ";", "\t"):
            parts = [name.strip().lower() for name in next(csv.reader([line], delimiter=delimiter))]
            found = [_column(parts, part) for part in ("start", "end", "type")]
            if min(found) >= 0:
                return delimiter, skipped, parts
            if skipped == 0 and len(parts) == 3 and number(parts[0]) <= number(parts[1]):
                return delimiter, -1, ["start", "end", "type"]  # Audacity's labels
            if skipped == 0 and len(parts) > len(names):
                names = parts
            if min(found[:2]) >= 0 and "scene number" in parts:
                raise DataError(
                    f"{file} is PySceneDetect's list, which has no types; add a column 'type' with the shot of every "
                    "scene (CU, MCU, MS, MLS, LS, XLS, ADS or MIS)."
                )
    raise DataError(
        f"{file}, line 1: found {','.join(names) or 'nothing'!r}, expected a header with start, end and type, once "
        "each."
    )


def _column(header: list[str], part: str) -> int:
    """Where a part of a shot stands, or -1 where no column has one of its names, or two have the same."""
    for name in _NAMES[part]:
        if header.count(name) > 1:
            return -1
        if name in header:
            return header.index(name)
    return -1
