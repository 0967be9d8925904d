"""Shot lists of programs: OpenTimelineIO, FCPXML, ELAN, subtitles, and the JSON that ``seqkd shots`` writes."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from seqkd.corpora.songs.listed import ListEntry, kind_in, text_of, time_of
from seqkd.errors import ConfigError, DataError
from seqkd.shots.editing.timecode import FrameRate

_ARROW = re.compile(r"\s*(\S+)\s+-->\s+(\S+)")
_TAGS = re.compile(r"<[^>]*>")
_NUMBERED = re.compile(r"^\d+\s+")
_SHOWN = ("clip", "asset-clip", "video", "ref-clip", "sync-clip", "mc-clip", "title")


def read_otio(file: Path, rate: FrameRate) -> list[ListEntry]:
    """The first video track of a timeline; the type is ``metadata.seqkd.type``, else in the clip's name."""
    del rate  # a timeline has its own
    try:
        import opentimelineio as otio
    except ImportError as error:
        raise ConfigError(
            f"{file} needs OpenTimelineIO, which is not installed; get it with: pip install 'seqkd[edit]'"
        ) from error
    try:
        timeline: Any = otio.adapters.read_from_string(text_of(file), "otio_json")
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
        entries.append(ListEntry(where, start, end, str(own.get("type") or kind_in(item.name or ""))))
    return entries


def read_fcpxml(file: Path, rate: FrameRate) -> list[ListEntry]:
    """The spine of the first sequence of an FCPXML; times are the file's own fractions, types in the clips' names."""
    del rate
    root = _xml(file)
    if root.tag != "fcpxml":
        raise DataError(
            f"{file} is XML of another kind ({root.tag!r}); expected FCPXML. Of Final Cut Pro 7's XML and others, "
            "export an EDL or OTIO instead."
        )
    spine = root.find(".//sequence/spine")
    if spine is None:
        raise DataError(f"{file} has no sequence with a spine; expected one with a clip a shot.")
    entries: list[ListEntry] = []
    due = Fraction(0)
    origin: Fraction | None = None
    for place, item in enumerate((one for one in spine if one.tag != "transition"), start=1):
        where = f"{file}, item {place} of the spine"
        start, length = _fraction(item.get("offset"), where, due), _fraction(item.get("duration"), where, None)
        origin = start if origin is None else origin
        due = start + length
        if item.tag not in _SHOWN:
            raise DataError(f"{where} is a {item.tag!r}; every moment needs a shot, put a clip there.")
        entries.append(ListEntry(where, float(start - origin), float(due - origin), kind_in(item.get("name") or "")))
    return entries


def read_eaf(file: Path, rate: FrameRate) -> list[ListEntry]:
    """The tier of an ELAN annotation whose name has ``shot`` in it, or the only one; times are milliseconds."""
    del rate
    root = _xml(file)
    tiers = [tier for tier in root.iter("TIER") if tier.find(".//ALIGNABLE_ANNOTATION") is not None]
    named = [tier for tier in tiers if "shot" in (tier.get("TIER_ID") or "").lower()]
    if len(named or tiers) != 1:
        names = ", ".join(repr(tier.get("TIER_ID")) for tier in tiers) or "none"
        raise DataError(f"{file} has annotations on the tiers {names}; expected one tier, or one called 'shots'.")
    slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    entries = []
    for place, item in enumerate((named or tiers)[0].iter("ALIGNABLE_ANNOTATION"), start=1):
        where = f"{file}, annotation {place}"
        times = [slots.get(item.get(name)) for name in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
        if None in times or not all(str(time).isdigit() for time in times):
            raise DataError(f"{where} has no time; expected time slots with TIME_VALUE at both of its ends.")
        start, end = (int(str(time)) / 1000 for time in times)
        entries.append(ListEntry(where, start, end, (item.findtext("ANNOTATION_VALUE") or "").strip()))
    return sorted(entries, key=lambda entry: entry.start)


def read_srt(file: Path, rate: FrameRate) -> list[ListEntry]:
    """Subtitles whose text begins with the type, after a number where there is one, as ``seqkd shots`` writes."""
    lines = text_of(file).splitlines()
    entries = []
    for line, text in enumerate(lines, start=1):
        if found := _ARROW.match(text):
            where = f"{file}, line {line}"
            start, end = (time_of(time, where, rate)[0] for time in found.groups())
            said = _TAGS.sub("", lines[line]).strip() if line < len(lines) else ""
            entries.append(ListEntry(where, start, end, kind_in(_NUMBERED.sub("", said))))
    return entries


def read_json(file: Path, rate: FrameRate) -> list[ListEntry]:
    """``shots`` (of the first of ``drafts``, where there are several), or a list: each with start, end and type."""
    try:
        found: Any = json.loads(text_of(file))
        if isinstance(found, dict):
            found = found["drafts"][0]["shots"] if "drafts" in found else found["shots"]
        shots = [(str(shot["start"]), str(shot["end"]), str(shot["type"])) for shot in found]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{file} is not a list of shots ({type(error).__name__}: {error}); expected what seqkd shots writes, or a "
            "list of objects with start, end and type."
        ) from error
    entries = []
    for place, (start, end, kind) in enumerate(shots, start=1):
        where = f"{file}, shot {place}"
        entries.append(ListEntry(where, time_of(start, where, rate)[0], time_of(end, where, rate)[0], kind))
    return entries


def _xml(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(file.read_bytes())
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{file} cannot be read as XML ({error}).") from error


def _fraction(text: str | None, where: str, default: Fraction | None) -> Fraction:
    """A time of FCPXML, such as ``1001/30000s``."""
    if text is None and default is not None:
        return default
    try:
        return Fraction((text or "").removesuffix("s"))
    except (ValueError, ZeroDivisionError):
        raise DataError(f"{where}: {text!r} is no time; expected one such as 3/25s.") from None
