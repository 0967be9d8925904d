"""A cut for editing systems: OpenTimelineIO, and Final Cut Pro's XML through its adapter.

The picture track holds one clip a shot. There is no footage yet: each class refers to a recording of its own, as if one
camera kept to it and ran in step with the song, so that eight recordings fill the whole cut. The sound track holds the
song, with a marker at each section and beat.

FCPXML: the adapter counts in floats and knows rates of whole numbers only, so it is given the frames at the rate's
nominal number; afterwards every time becomes an exact fraction of the true rate, and what the adapter leaves out
(frame size, timecode of the first frame, the shots' probabilities as notes) is put in.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from seqkd.errors import ConfigError
from seqkd.shots.classes import LONG_NAMES, SHOTS
from seqkd.shots.editing.timecode import FrameRate
from seqkd.shots.editing.timeline import SECTION, Clip, Timeline

if TYPE_CHECKING:
    from opentimelineio.schema import Timeline as OtioTimeline

NAMESPACE = "seqkd"
_SONG = "song"  # stands for its name while the adapter works, which fails at names with an apostrophe
_FORMATS = {"23.976": "2398", "29.97df": "2997", "29.97ndf": "2997", "59.94df": "5994", "59.94ndf": "5994"}
_MISSING = "OpenTimelineIO and FCPXML need libraries that are not installed; get them with: pip install 'seqkd[edit]'"


def require_otio() -> Any:
    """The module ``opentimelineio``; ConfigError with the way to get it where it is missing."""
    try:
        import opentimelineio
    except ImportError as error:
        raise ConfigError(_MISSING) from error
    return opentimelineio


def require_fcpxml() -> Any:
    """As `require_otio`, with the adapter for FCPXML."""
    otio = require_otio()
    if "fcpx_xml" not in otio.adapters.available_adapter_names():
        raise ConfigError(_MISSING)
    return otio


def to_otio(cut: Timeline) -> str:
    """Return a timeline as OpenTimelineIO's JSON."""
    otio = require_otio()
    return otio.adapters.write_to_string(build(cut, float(cut.rate.fps)), "otio_json", indent=1) + "\n"


def to_fcpxml(cut: Timeline, folder: Path) -> str:
    """FCPXML 1.8. Recordings are looked for in ``folder``, by the names ``CU.mov`` to ``MIS.mov``."""
    otio = require_fcpxml()
    raw = otio.adapters.write_to_string(build(cut, cut.rate.nominal, folder), "fcpx_xml")
    tree = ElementTree.fromstring(raw.encode())
    _exact_times(tree, cut.rate)
    _complete(tree, cut)
    ElementTree.indent(tree)
    text = ElementTree.tostring(tree, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{text}\n'


def build(cut: Timeline, fps: float, footage: Path | None = None) -> OtioTimeline:
    """The cut as an OpenTimelineIO timeline.

    Args:
        cut: What to show.
        fps: Rate that frames are counted at.
        footage: Folder of the recordings, as FCPXML cannot do without their files; else they are missing references.
    """
    otio = require_otio()
    schema, opentime = otio.schema, otio.opentime

    def span(start: int, frames: int) -> Any:
        return opentime.TimeRange(opentime.RationalTime(start, fps), opentime.RationalTime(frames, fps))

    def marker(frame: int, name: str, colour: str, kind: str) -> Any:
        return schema.Marker(name=name, marked_range=span(frame, 1), color=colour, metadata={NAMESPACE: {"kind": kind}})

    picture = schema.Track(name="Shots", kind=schema.TrackKind.Video)
    for clip in cut.clips:
        whole = span(cut.start, cut.frames)
        if footage is not None:
            url = (footage.resolve() / f"{clip.kind}.mov").as_uri()
            media = schema.ExternalReference(target_url=url, available_range=whole)
        else:
            media = schema.MissingReference(name=clip.kind, available_range=whole)
        shown = span(cut.start + clip.start, clip.frames)
        made = schema.Clip(name=clip.kind, media_reference=media, source_range=shown)
        made.metadata[NAMESPACE] = {
            "type": clip.kind,
            "name": LONG_NAMES[clip.kind],
            "probability": clip.probability,
            "probabilities": dict(zip(SHOTS, clip.probabilities, strict=True)),
        }
        picture.append(made)
    # Whole addresses: editing systems differ in what a relative one is relative to.
    url = cut.audio.resolve().as_uri()
    song = schema.Clip(
        name=cut.song if footage is None else _SONG,
        media_reference=schema.ExternalReference(target_url=url, available_range=span(0, cut.frames)),
        source_range=span(0, cut.frames),
    )
    colours = schema.MarkerColor.CYAN, schema.MarkerColor.PURPLE
    for found in cut.markers:
        section = found.kind == SECTION
        name = f"section {found.name}" if section else found.name
        song.markers.append(marker(found.frame, name, colours[not section], found.kind))
    sound = schema.Track(name="Song", kind=schema.TrackKind.Audio)
    sound.append(song)
    made = schema.Timeline(name=cut.song + (f" draft {cut.draft}" if cut.draft else ""))
    made.global_start_time = opentime.RationalTime(cut.start, fps)
    made.tracks.extend([picture, sound])
    made.metadata[NAMESPACE] = {
        "draft": cut.draft,
        "fps": cut.rate.name,
        "start_timecode": cut.timecode(0),
        "tempo": cut.tempo,
        "beat_confidence": round(cut.confidence, 3),
        "classes": dict(LONG_NAMES),
    }
    return made


def _exact_times(tree: ElementTree.Element, rate: FrameRate) -> None:
    """Turn times at the nominal rate into exact ones at the true rate."""
    stretch = rate.nominal / rate.fps  # 1001/1000 or 1
    for element in tree.iter():
        for name in ("duration", "offset", "start"):
            if (value := element.get(name)) is not None:
                frames = round(Fraction(value.removesuffix("s")) * rate.nominal)
                element.set(name, _time(frames * stretch / rate.nominal))


def _complete(tree: ElementTree.Element, cut: Timeline) -> None:
    """Put in what the adapter leaves out, and take out what it puts in more than once."""
    for element in tree.iter("format"):
        element.set("name", f"FFVideoFormat1080p{_FORMATS.get(cut.rate.name, cut.rate.name)}")
        element.set("frameDuration", _time(1 / cut.rate.fps))
        element.set("width", "1920")
        element.set("height", "1080")
    for asset in tree.iter("asset"):
        asset.set("name", asset.get("src", "").rpartition("/")[2] if asset.get("hasVideo") == "1" else cut.song)
    for element in tree.iter():
        if element.get("name") == _SONG:
            element.set("name", cut.song)
    seen: set[str | None] = set()
    for element in tree.findall("asset-clip"):
        if element.get("ref") in seen:
            tree.remove(element)
        seen.add(element.get("ref"))
    (project,) = tree.iter("project")
    project.attrib.pop("uid", None)
    (sequence,) = project.iter("sequence")
    start = _time(cut.rate.seconds(cut.start))
    sequence.set("tcStart", start)
    sequence.set("tcFormat", "DF" if cut.rate.drop else "NDF")
    shots = sequence.findall("./spine/clip")
    for clip, element in zip(cut.clips, shots, strict=True):
        note = ElementTree.Element("note")
        note.text = _note(clip)
        element.insert(0, note)
        # A recording begins at the song's first timecode, not at midnight.
        for video in element.findall("video"):
            video.set("offset", start)
            video.set("start", start)
    # The sound hangs on the first shot, which begins where its own recording does.
    for sound in shots[0].findall("clip"):
        sound.set("offset", start)


def _note(clip: Clip) -> str:
    order = sorted(zip(clip.probabilities, SHOTS, strict=True), key=lambda pair: -pair[0])
    return f"{LONG_NAMES[clip.kind]}: " + ", ".join(f"{kind} {value:.3f}" for value, kind in order)


def _time(seconds: Fraction) -> str:
    """A time as FCPXML writes it."""
    return f"{seconds.numerator}s" if seconds.denominator == 1 else f"{seconds.numerator}/{seconds.denominator}s"
