"""Shot lists that people have, in whatever format, read into shots of a song.

==================  ============================================================================================
``.csv .tsv .txt``  a header with ``start``, ``end`` and ``type`` (other columns are ignored), between commas,
                    semicolons or tabs, or these three without a header, as Audacity's labels; times in seconds (with
                    a decimal comma, too), as ``[hours:]minutes:seconds``, or as timecode with frames
                    (``00:01:02:03``). PySceneDetect's list with a column ``type`` put in
``.edl``            CMX 3600: record times of the video events; the type is the beginning of
                    ``* FROM CLIP NAME:``, else the reel
``.otio``           the first video track; the type is ``metadata.seqkd.type``, else the beginning of the clip's name
``.fcpxml .xml``    FCPXML: the spine of the first sequence; the type is the beginning of the clip's name
``.eaf``            ELAN: the tier called ``shots``, or the only one
``.srt``            subtitles that begin with the type
``.json``           what ``seqkd shots`` writes (draft 0), or a list of objects with start, end and type
==================  ============================================================================================

Text is UTF-8 or UTF-16. Timecodes and timelines count from the first shot, wherever the clock stood, past midnight too,
as do times of day (``20:15:00``); seconds count from the song's beginning. At 29.97 and 59.94 timecodes are drop-frame
or not as ``FCM:`` in an EDL says, else as they are written: ``00:01:00;02`` is drop-frame, ``00:01:00:02`` is not.
Types are those of ``SHOTS`` or their long names, in either case. Where every shot ends exactly a frame before the next
begins, out-points are the last frames shown, and a frame is added to each.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from seqkd.corpora.songs.list_edl import read_edl
from seqkd.corpora.songs.list_programs import read_eaf, read_fcpxml, read_json, read_otio, read_srt
from seqkd.corpora.songs.list_tables import read_table_list
from seqkd.corpora.songs.listed import ListEntry
from seqkd.errors import DataError
from seqkd.shots.classes import SHOTS, parse_kind
from seqkd.shots.data import Shot
from seqkd.shots.editing.timecode import FrameRate

NEAR = 0.05  # seconds by which two shots may miss one another: a frame at 24 a second and what rounding adds
LATE = 0.5  # seconds by which a list may end before or after its song: the last shot ends with the song

READERS: dict[str, Callable[[Path, FrameRate], list[ListEntry]]] = {
    ".csv": read_table_list,
    ".tsv": read_table_list,
    ".edl": read_edl,
    ".otio": read_otio,
    ".fcpxml": read_fcpxml,
    ".eaf": read_eaf,
    ".srt": read_srt,
    ".json": read_json,
    ".txt": read_table_list,
    ".xml": read_fcpxml,
}
SUFFIXES = tuple(READERS)
# Beside a song these may as well be lyrics or notes: one that is no list is said, and the song has none.
LOOSE = (".txt", ".xml")


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
    entries = _out_points_taken_in(READERS[file.suffix.lower()](file, rate), float(1 / rate.fps))
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


def _joined(entry: ListEntry, due: float, duration: float) -> Shot:
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


def _out_points_taken_in(entries: list[ListEntry], frame: float) -> list[ListEntry]:
    """Shots whose ends are their last frames, one frame before the next shot begins, with ends made exclusive."""
    gaps = [after.start - before.end for before, after in itertools.pairwise(entries)]
    if gaps and all(abs(gap - frame) < 0.2 * frame for gap in gaps):
        return [replace(entry, end=entry.end + frame) for entry in entries]
    return entries
