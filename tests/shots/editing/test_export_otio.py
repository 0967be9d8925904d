"""What editing systems get: exact to the frame at every rate, by OpenTimelineIO's reader and by one written here."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import pytest

from seqkd.errors import ConfigError
from seqkd.shots.classes import LONG_NAMES, SHOTS
from seqkd.shots.editing.export_otio import build, to_fcpxml, to_otio
from seqkd.shots.editing.export_text import to_edl, to_srt
from seqkd.shots.editing.timecode import RATES, FrameRate, parse_rate
from tests.shots.editing.cuts import HOUR, a_cut, some_drafts, spans

otio = pytest.importorskip("opentimelineio")
by_rate = pytest.mark.parametrize("rate", RATES, ids=lambda rate: rate.name)


@by_rate
def test_otio(rate: FrameRate, tmp_path: Path) -> None:
    cut = a_cut(rate, audio=tmp_path / "a söng.wav")
    read = otio.adapters.read_from_string(to_otio(cut), "otio_json")
    picture, sound = read.tracks
    assert (picture.kind, sound.kind) == ("Video", "Audio")
    assert read.global_start_time.rate == pytest.approx(float(rate.fps), abs=1e-12)
    assert read.global_start_time.value == rate.parse(HOUR)
    found = []
    for clip in picture:
        place = clip.range_in_parent()
        found.append((int(place.start_time.value), int(place.end_time_exclusive().value), clip.name))
        # One could relink to a recording that runs in step with the song.
        assert clip.source_range.start_time.value == cut.start + place.start_time.value
        media = clip.media_reference
        whole, shown = media.available_range, clip.source_range
        assert whole.start_time <= shown.start_time < shown.end_time_exclusive() <= whole.end_time_exclusive()
        assert media.is_missing_reference
    assert found == spans(cut)
    for clip, made in zip(picture, cut.clips, strict=True):
        about = clip.metadata["seqkd"]
        assert tuple(about["probabilities"][kind] for kind in SHOTS) == made.probabilities
        assert about["type"] == made.kind
    (song,) = sound
    assert song.media_reference.target_url == (tmp_path / "a söng.wav").as_uri()
    assert song.media_reference.available_range == song.source_range
    assert int(song.source_range.duration.value) == cut.frames == int(picture.duration().value)
    markers = [(int(m.marked_range.start_time.value), m.metadata["seqkd"]["kind"], m.name) for m in song.markers]
    assert markers == [
        (m.frame, m.kind, f"section {m.name}" if m.kind == "section" else m.name) for m in cut.markers
    ]  # fmt: skip
    if rate.name != "23.976":  # which it counts by another name, 23.98
        start = read.global_start_time
        assert otio.opentime.to_timecode(start, start.rate, rate.drop) == cut.timecode(0)


@by_rate
def test_fcpxml_in_exact_fractions(rate: FrameRate, tmp_path: Path) -> None:
    cut = a_cut(rate, audio=tmp_path / "it's a <b> & song.wav", song='it\'s a <b> & "song"')
    text = to_fcpxml(cut, tmp_path)
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n<fcpxml version="1.8">')
    tree = ElementTree.fromstring(text)

    def frames(element: ElementTree.Element, name: str) -> int:
        """A time as a number of frames; every one must be whole, or Final Cut complains."""
        value = Fraction(element.get(name, "0s").removesuffix("s")) * rate.fps
        assert value.denominator == 1, (element.tag, name, element.get(name))
        return value.numerator

    for element in tree.iter():
        for name in ("start", "offset", "duration", "tcStart"):
            frames(element, name)
    (shape,) = tree.iter("format")
    assert Fraction(shape.get("frameDuration", "").removesuffix("s")) == 1 / rate.fps
    (sequence,) = tree.iter("sequence")
    assert frames(sequence, "tcStart") == cut.start
    assert frames(sequence, "duration") == cut.frames
    assert sequence.get("tcFormat") == ("DF" if rate.drop else "NDF")
    assets = {asset.get("id"): asset for asset in tree.iter("asset")}
    clips = sequence.findall("./spine/clip")
    assert [
        (frames(clip, "offset"), frames(clip, "offset") + frames(clip, "duration"), clip.get("name")) for clip in clips
    ] == spans(cut)
    for clip in clips:
        (video,) = clip.findall("video")
        asset = assets[video.get("ref")]
        assert asset.get("src") == (tmp_path / f"{clip.get('name')}.mov").as_uri()
        # What is shown lies within the recording, and the recording within itself.
        assert frames(clip, "start") == cut.start + frames(clip, "offset")
        assert frames(video, "offset") == frames(video, "start") == frames(asset, "start") == cut.start
        assert frames(asset, "duration") == frames(video, "duration") == cut.frames
        assert clip[0].tag == "note"
        assert (clip.findtext("note") or "").startswith(LONG_NAMES[clip.get("name") or ""])
    (sound,) = [clip for clip in tree.iter("clip") if clip.get("lane") == "-1"]
    assert frames(sound, "offset") == frames(clips[0], "start")
    assert frames(sound, "duration") == cut.frames
    names = [tree.find("project").get("name"), sound.get("name"), tree.findall("asset-clip")[-1].get("name")]
    assert names == [cut.song] * 3
    assert assets[sound.find("gap/audio").get("ref")].get("src") == (tmp_path / "it's a <b> & song.wav").as_uri()
    assert [frames(marker, "start") for marker in sound.findall("marker")] == [marker.frame for marker in cut.markers]
    refs = [clip.get("ref") for clip in tree.findall("asset-clip")]
    assert sorted(refs) == sorted(assets)


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate.fps.denominator == 1], ids=lambda rate: rate.name)
def test_fcpxml_by_its_adapter(rate: FrameRate, tmp_path: Path) -> None:
    """Its reader knows whole rates only, and is a frame off where a float falls short."""
    cut = a_cut(rate)
    read = otio.adapters.read_from_string(to_fcpxml(cut, tmp_path), "fcpx_xml")
    tracks = {track.kind: [clip for clip in track if clip.schema_name() == "Clip"] for track in read.tracks}
    assert [clip.name for clip in tracks["Video"]] == [clip.kind for clip in cut.clips]
    for clip, made in zip(tracks["Video"], cut.clips, strict=True):
        assert abs(clip.source_range.start_time.value - cut.start - made.start) <= 1
        assert abs(clip.source_range.duration.value - made.frames) <= 1
        assert clip.media_reference.available_range.duration.value == pytest.approx(cut.frames, abs=1)
    (song,) = tracks["Audio"]
    assert len(song.markers) == len(cut.markers)


def test_two_hours_at_a_fractional_rate(tmp_path: Path) -> None:
    """The last cut is where it should be, in every format; a float's rate of 29.97 would be a fifth of a frame off."""
    rate = parse_rate("29.97")
    cut = some_drafts(rate, start=rate.parse("10:00:00;00"), seconds=7200.0)[0]
    cut = replace(cut, markers=cut.markers[-40:])
    assert cut.frames == 215784
    last = cut.clips[-1]
    assert to_edl(cut).splitlines()[-2].endswith(f"{rate.timecode(cut.start + last.start)} 12:00:00;00")
    (sequence,) = ElementTree.fromstring(to_fcpxml(cut, tmp_path)).iter("sequence")
    clip = sequence.findall("./spine/clip")[-1]
    assert Fraction(clip.get("offset", "").removesuffix("s")) == Fraction(last.start * 1001, 30000)
    picture = otio.adapters.read_from_string(to_otio(cut), "otio_json").tracks[0]
    assert int(picture[-1].range_in_parent().start_time.value) == last.start
    assert to_srt(cut).splitlines()[-2].endswith("--> 01:59:59,993")


def test_otio_of_a_draft_says_which(tmp_path: Path) -> None:
    names = [build(cut, 25.0).name for cut in some_drafts(RATES[2], drafts=3)]
    assert names == ["a song", "a song draft 1", "a song draft 2"]


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    says = "need libraries that are not installed; get them with: pip install 'seqkd[edit]'"
    for write in (lambda cut: to_otio(cut), lambda cut: to_fcpxml(cut, Path())):
        with pytest.raises(ConfigError, match=re.escape(says)):
            write(a_cut(RATES[2]))
