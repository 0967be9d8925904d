"""A cut as text: CSV for tables, SRT for players, JSON for programs, CMX 3600 EDL for any editing system.

Times: CSV and JSON in seconds and in frames from the song's beginning, and as timecodes; SRT in milliseconds, which
are nearest to one frame only at every rate here; EDL as timecodes alone.
"""

from __future__ import annotations

import csv
import io
import json
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqkd.shots.classes import LONG_NAMES, SHOTS
from seqkd.shots.editing.timeline import BEAT, DOWNBEAT, SECTION, Clip, Timeline

CSV_HEADER = ("shot", "start", "end", "type", "name", "in", "out", "start_frame", "end_frame", "probability", *SHOTS)
EDL_EVENTS = 999  # what the standard's three digits count to


def to_csv(cut: Timeline) -> str:
    """One line a shot, of what ``CSV_HEADER`` names; the last columns are the probability of each class."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(CSV_HEADER)
    for number, clip in enumerate(cut.clips, start=1):
        times = f"{float(cut.seconds(clip.start)):.6f}", f"{float(cut.seconds(clip.end)):.6f}"
        codes = cut.timecode(clip.start), cut.timecode(clip.end)
        row = (number, *times, clip.kind, LONG_NAMES[clip.kind], *codes, clip.start, clip.end)
        table.writerow((*row, f"{clip.probability:.6f}", *(f"{value:.6f}" for value in clip.probabilities)))
    return text.getvalue()


def to_srt(cut: Timeline) -> str:
    """Subtitles that name the shot over the song, or over a rough cut of it."""
    entries = [
        f"{number}\n{_clock(cut, clip.start)} --> {_clock(cut, clip.end)}\n"
        f"{number} {clip.kind} {LONG_NAMES[clip.kind]} ({100 * clip.probability:.0f} %)\n"
        for number, clip in enumerate(cut.clips, start=1)
    ]
    return "\n".join(entries)


def to_json(drafts: Sequence[Timeline], folder: Path | None = None) -> str:
    """All drafts and what they share; the song's path is relative to ``folder`` where that is given."""
    return json.dumps(as_data(drafts, folder), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_data(drafts: Sequence[Timeline], folder: Path | None = None) -> dict[str, Any]:
    """What JSON and the storyboard hold.

    Args:
        drafts: Of one song.
        folder: Where the file will be, from which the song's path is given.
    """
    cut = drafts[0]
    return {
        "song": cut.song,
        "audio": readable(relative(cut.audio, folder)),
        "duration": cut.duration,
        "tempo": cut.tempo,
        "beat_confidence": round(cut.confidence, 3),
        "fps": cut.rate.name,
        "frame_rate": [cut.rate.fps.numerator, cut.rate.fps.denominator],
        "start_timecode": cut.timecode(0),
        "frames": cut.frames,
        "classes": {kind: LONG_NAMES[kind] for kind in SHOTS},
        "sections": [{"frame": marker.frame, "label": marker.name} for marker in cut.marked(SECTION)],
        "beats": [marker.frame for marker in cut.marked(BEAT, DOWNBEAT)],
        "downbeats": [marker.frame for marker in cut.marked(DOWNBEAT)],
        "drafts": [
            {"draft": draft.draft, "shots": [_shot(draft, clip) for clip in draft.clips]}
            | ({"note": draft.note} if draft.note else {})
            for draft in drafts
        ],
    }  # fmt: skip


def to_edl(cut: Timeline) -> str:
    """CMX 3600: one video event a shot, cuts only.

    Each class is a reel, as if one camera kept to it, and runs in step with the song: source and record timecodes are
    the same, so that the recordings of a concert conform by relinking eight reels. FROM CLIP NAME names which shot it
    is, LOC (a locator, a comment to systems that have none) where a section begins.
    """
    title = _ascii(cut.song) + (f" draft {cut.draft}" if cut.draft else "")
    lines = [f"TITLE: {title[:70]}", f"FCM: {'DROP FRAME' if cut.rate.drop else 'NON-DROP FRAME'}", ""]
    sections = list(cut.marked(SECTION))
    for number, clip in enumerate(cut.clips, start=1):
        span = f"{cut.timecode(clip.start)} {cut.timecode(clip.end)}"
        lines.append(f"{number:03}  {clip.kind:<8} V     C        {span} {span}")
        lines.append(f"* FROM CLIP NAME: {clip.kind} {LONG_NAMES[clip.kind].upper()}")
        while sections and sections[0].frame < clip.end:
            section = sections.pop(0)
            lines.append(f"* LOC: {cut.timecode(section.frame)} GREEN   SECTION {_ascii(section.name)}")
    return "\n".join(lines) + "\n"


def relative(path: Path, folder: Path | None) -> str:
    """A path with slashes as seen from a folder, or as it is."""
    if folder is None:
        return path.as_posix()
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def readable(text: str) -> str:
    """A name as text that any file can hold: control characters and bytes that are no UTF-8 become ``_``."""
    return "".join(letter if letter.isprintable() else "_" for letter in text)


def _shot(cut: Timeline, clip: Clip) -> dict[str, Any]:
    return {
        "type": clip.kind,
        "start": round(float(cut.seconds(clip.start)), 6),
        "end": round(float(cut.seconds(clip.end)), 6),
        "start_frame": clip.start,
        "end_frame": clip.end,
        "in": cut.timecode(clip.start),
        "out": cut.timecode(clip.end),
        "probabilities": dict(zip(SHOTS, clip.probabilities, strict=True)),
    }


def _clock(cut: Timeline, frame: int) -> str:
    """Hours, minutes, seconds and milliseconds of SubRip."""
    seconds, thousandths = divmod(round(cut.seconds(frame) * 1000), 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},{thousandths:03}"


def _ascii(text: str) -> str:
    """Printable ASCII on one line: what an EDL may hold. Accents are dropped, other characters become ``_``."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return " ".join("".join(letter if " " <= letter <= "~" else "_" for letter in plain).split()) or "untitled"
