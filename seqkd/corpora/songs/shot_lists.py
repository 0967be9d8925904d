"""Shot lists that people have: CSV tables, CMX 3600 EDLs and OpenTimelineIO timelines, read into shots of a song.

===========  ===================================================================================================
``.csv``     a header with ``start``, ``end`` and ``type`` (other columns are ignored); times in seconds, as
             ``[hours:]minutes:seconds``, or as timecode with frames (``00:01:02:03``)
``.edl``     CMX 3600: record times of the video events; the type is the first word of ``* FROM CLIP NAME:``, else the
             reel
``.otio``    the first video track; the type is ``metadata.seqkd.type``, else the first word of the clip's name
===========  ===================================================================================================

Timecodes and timelines count from the first shot, wherever the clock stood; seconds from the song's beginning. Types
are those of ``SHOTS`` or their long names, in either case.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqkd.data.tables import number
from seqkd.errors import ConfigError, DataError
from seqkd.shots.classes import SHOTS, parse_kind
from seqkd.shots.data import Shot
from seqkd.shots.editing.timecode import FrameRate

SUFFIXES = (".csv", ".edl", ".otio")
NEAR = 0.05  # seconds by which two shots may miss one another: a frame at 24 a second and what rounding adds
LATE = 0.5  # seconds by which a list may end before or after its song: the last shot ends with the song

_EVENT = re.compile(r"\s*(\d+)\s+(\S+)\s+(\S+)\s+(\S+)(?:\s+\d+)?((?:\s+\d\d:\d\d:\d\d[:;]\d\d){4})\s*$")
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")
_TIMECODE = re.compile(r"\d\d:\d\d:\d\d[:;]\d\d")


@dataclass(frozen=True)
class _Entry:
    """A shot as it was found: where (for messages), when (s), and of which type as it is spelt."""

    where: str
    start: float
    end: float
    kind: str


def read_shot_list(file: Path, duration: float, rate: FrameRate) -> tuple[Shot, ...]:
    """Read the shots of a song.

    Args:
        file: A shot list; its suffix says which kind.
        duration: Of the song, in seconds.
        rate: Frame rate of timecodes.

    Returns:
        Shots from 0 to ``duration`` without gap or overlap.

    Raises:
        DataError: Whatever is wrong, with file and line.
        ConfigError: The file is a timeline and OpenTimelineIO is not installed.
    """
    reader = {".csv": _read_csv, ".edl": _read_edl, ".otio": _read_otio}[file.suffix.lower()]
    entries = reader(file, rate)
    if not entries:
        raise DataError(f"{file} has no shots; expected at least one, or no list at all for a song without labels.")
    shots: list[Shot] = []
    for entry in entries:
        shots.append(_joined(entry, shots[-1].end if shots else 0.0, duration))
    last = shots[-1]
    if last.end < duration - LATE:
        raise DataError(
            f"{entries[-1].where}: the last shot ends at {last.end:.2f} s, but the song at {duration:.2f} s; add the "
            "shots that are missing, or cut the audio."
        )
    return (*shots[:-1], Shot(last.start, duration, last.kind))


def _joined(entry: _Entry, due: float, duration: float) -> Shot:
    """One shot that begins where the one before it ended."""
    kind = parse_kind(entry.kind)
    if kind is None:
        raise DataError(f"{entry.where}: type {entry.kind!r} is not known; expected one of {', '.join(SHOTS)}.")
    if not entry.end > entry.start >= 0:
        raise DataError(
            f"{entry.where}: the shot lasts from {entry.start:g} to {entry.end:g} s; expected times from 0 on, the end "
            "after the start."
        )
    if entry.start > due + NEAR:
        raise DataError(
            f"{entry.where}: a gap from {due:.2f} to {entry.start:.2f} s; every moment needs a shot, add one or move "
            "the cut."
        )
    if entry.start < due - NEAR:
        raise DataError(
            f"{entry.where}: the shot starts at {entry.start:.2f} s, before the one above it ends at {due:.2f} s; "
            "shots stand in order and do not overlap."
        )
    if entry.end > duration + LATE or due >= duration:
        raise DataError(
            f"{entry.where}: the shot ends at {entry.end:.2f} s, but the song at {duration:.2f} s; is it the list of "
            "another song?"
        )
    if entry.end <= due:
        raise DataError(
            f"{entry.where}: the shot is shorter than the {NEAR:g} s by which it overlaps the one above it."
        )
    return Shot(due, entry.end, kind)


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not valid UTF-8 (byte {error.start + 1}); convert it, for instance with iconv."
        ) from error


def _time(text: str, where: str, rate: FrameRate) -> tuple[float, bool]:
    """Seconds, and whether they were given as timecode."""
    text = text.strip()
    if _TIMECODE.fullmatch(text):
        try:
            return float(rate.seconds(rate.parse(text))), True
        except ConfigError as error:
            raise DataError(f"{where}: {error}") from error
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = clock.groups()
        return 3600 * int(hours or 0) + 60 * int(minutes) + float(seconds), False
    seconds = number(text)
    if seconds != seconds:
        raise DataError(f"{where}: {text!r} is no time; expected seconds, minutes:seconds, or a timecode with frames.")
    return seconds, False


def _read_csv(file: Path, rate: FrameRate) -> list[_Entry]:
    table = csv.reader(io.StringIO(_text(file), newline=""))
    try:
        rows = [(table.line_num, row) for row in table if any(field.strip() for field in row)]
    except csv.Error as error:
        raise DataError(f"{file}, line {table.line_num}: cannot be read as CSV ({error}).") from error
    header = [name.strip().lower() for name in rows[0][1]] if rows else []
    missing = [name for name in ("start", "end", "type") if header.count(name) != 1]
    if missing:
        found = ",".join(header) or "nothing"
        raise DataError(f"{file}, line 1: found {found!r}, expected a header with start, end and type, once each.")
    columns = [header.index(name) for name in ("start", "end", "type")]
    entries, origin = [], None
    for line, row in rows[1:]:
        where = f"{file}, line {line}"
        if len(row) <= max(columns):
            raise DataError(f"{where}: found {len(row)} fields, expected {len(header)}: {', '.join(header)}.")
        (start, coded), (end, _) = (_time(row[column], where, rate) for column in columns[:2])
        if origin is None:
            origin = start if coded else 0.0
        entries.append(_Entry(where, start - origin, end - origin, row[columns[2]].strip()))
    return entries


def _read_edl(file: Path, rate: FrameRate) -> list[_Entry]:
    found: list[tuple[str, float, float, str]] = []
    for line, text in enumerate(_text(file).splitlines(), start=1):
        where = f"{file}, line {line}"
        if text.strip().upper() == "FCM: DROP FRAME" and not rate.drop:
            raise DataError(
                f"{where}: the list is drop-frame, which {rate.name} frames a second is not; set fps to 29.97 or 59.94."
            )
        if event := _EVENT.match(text):
            reel, channel, kind = event.group(2), event.group(3), event.group(4)
            if not channel.upper().startswith(("V", "B")):
                continue
            if kind.upper() != "C":
                raise DataError(
                    f"{where}: event {event.group(1)} is not a cut but {kind!r}; make the transition a cut."
                )
            codes = event.group(5).split()[2:]
            found.append((where, *(_time(code, where, rate)[0] for code in codes), reel))
        elif re.match(r"\s*\d+\s", text):
            raise DataError(
                f"{where}: found {text.strip()!r}, expected an event: number, reel, V, C and four timecodes."
            )
        elif found and (name := re.match(r"\*\s*FROM CLIP NAME:\s*(.+)", text.strip(), re.I)):
            found[-1] = (*found[-1][:3], name.group(1))
    origin = found[0][1] if found else 0.0
    return [_Entry(where, start - origin, end - origin, _kind(name)) for where, start, end, name in found]


def _kind(name: str) -> str:
    """A clip's name may be the type, or begin with it."""
    return name if parse_kind(name) or not name.split() else name.split()[0]


def _read_otio(file: Path, rate: FrameRate) -> list[_Entry]:
    del rate  # a timeline has its own
    try:
        import opentimelineio as otio
    except ImportError as error:
        raise ConfigError(
            f"{file} needs OpenTimelineIO, which is not installed; get it with: pip install 'seqkd[edit]'"
        ) from error
    try:
        timeline: Any = otio.adapters.read_from_string(_text(file), "otio_json")
        tracks = timeline.video_tracks()
    except (otio.exceptions.OTIOError, ValueError, AttributeError) as error:
        raise DataError(f"{file} cannot be read as a timeline of OpenTimelineIO ({error}).") from error
    if not tracks:
        raise DataError(f"{file} has no video track; expected one with a clip a shot.")
    entries = []
    for place, item in enumerate(tracks[0], start=1):
        where = f"{file}, item {place} of track {tracks[0].name!r}"
        if isinstance(item, otio.schema.Transition):
            continue  # it lies over the cut between its neighbours and takes no time of its own
        span = item.range_in_parent()
        start, end = span.start_time.to_seconds(), span.end_time_exclusive().to_seconds()
        if isinstance(item, otio.schema.Gap):
            raise DataError(f"{where}: a gap from {start:.2f} to {end:.2f} s; every moment needs a shot, add one.")
        if not isinstance(item, otio.schema.Clip):
            raise DataError(f"{where} is a {type(item).__name__}; expected clips only, flatten the timeline first.")
        own = item.metadata.get("seqkd", {})
        entries.append(_Entry(where, start, end, str(own.get("type") or _kind(item.name or ""))))
    return entries
