"""What is written reads back the same: by Python's own csv and json, by readers written here, by OpenTimelineIO."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora.songs.imports import find_songs
from seqkd.corpora.songs.shot_lists import read_shot_list
from seqkd.errors import ConfigError, DataError
from seqkd.shots.classes import LONG_NAMES, SHOTS
from seqkd.shots.editing.export_files import FORMATS, file_names, format_of, write_drafts
from seqkd.shots.editing.export_otio import to_fcpxml, to_otio
from seqkd.shots.editing.export_text import to_csv, to_edl, to_json, to_srt
from seqkd.shots.editing.timecode import RATES, FrameRate
from seqkd.shots.editing.timeline import Marker, Timeline
from tests.shots.editing.cuts import HOUR, a_cut, a_long_cut, some_drafts, spans

by_rate = pytest.mark.parametrize("rate", RATES, ids=lambda rate: rate.name)


# ---- text


@by_rate
def test_csv(rate: FrameRate) -> None:
    cut = a_cut(rate)
    rows = list(csv.DictReader(io.StringIO(to_csv(cut))))
    read = [(int(row["start_frame"]), int(row["end_frame"]), row["type"]) for row in rows]
    assert read == spans(cut)
    for row, clip in zip(rows, cut.clips, strict=True):
        # Seconds and timecodes say the same frames.
        assert rate.nearest(float(row["start"])) == clip.start
        assert rate.nearest(float(row["end"])) == clip.end
        assert rate.parse(row["in"]) - rate.parse(HOUR) == clip.start
        assert rate.parse(row["out"]) - rate.parse(HOUR) == clip.end
        assert tuple(float(row[kind]) for kind in SHOTS) == clip.probabilities
        assert float(row["probability"]) == clip.probability
        assert row["name"] == LONG_NAMES[row["type"]]
    assert [int(row["shot"]) for row in rows] == list(range(1, len(rows) + 1))


@by_rate
def test_srt(rate: FrameRate) -> None:
    cut = a_cut(rate)
    entries = to_srt(cut).rstrip("\n").split("\n\n")
    read = []
    for number, entry in enumerate(entries, start=1):
        first, times, words = entry.split("\n")
        assert first == str(number)
        found = re.fullmatch(r"(\d\d):(\d\d):(\d\d),(\d{3}) --> (\d\d):(\d\d):(\d\d),(\d{3})", times)
        assert found
        parts = [int(part) for part in found.groups()]
        start, end = (((h * 60 + m) * 60 + s) + Fraction(ms, 1000) for h, m, s, ms in (parts[:4], parts[4:]))
        read.append((rate.nearest(start), rate.nearest(end), words.split()[1]))
    assert read == spans(cut)


@by_rate
def test_json(rate: FrameRate, tmp_path: Path) -> None:
    drafts = some_drafts(rate, start=rate.parse(HOUR), drafts=3, audio=tmp_path / "music" / "a song.wav")
    read = json.loads(to_json(drafts, tmp_path / "cuts"))
    assert Fraction(*read["frame_rate"]) == rate.fps
    assert rate.parse(read["start_timecode"]) == drafts[0].start
    assert read["audio"] == "../music/a song.wav"
    assert read["frames"] == drafts[0].frames
    assert read["classes"] == LONG_NAMES
    sections = [marker.frame for marker in drafts[0].marked("section")]
    assert [section["frame"] for section in read["sections"]] == sections
    assert set(read["downbeats"]) < set(read["beats"])
    for number, (found, cut) in enumerate(zip(read["drafts"], drafts, strict=True)):
        assert found["draft"] == number
        assert [(shot["start_frame"], shot["end_frame"], shot["type"]) for shot in found["shots"]] == spans(cut)
        for shot, clip in zip(found["shots"], cut.clips, strict=True):
            assert tuple(shot["probabilities"].values()) == clip.probabilities
            assert tuple(shot["probabilities"]) == SHOTS
            assert rate.nearest(shot["end"]) == clip.end
            assert rate.parse(shot["out"]) - cut.start == clip.end


# ---- CMX 3600

EVENT = re.compile(r"(\d{3,})  (\S{1,8}) +(\S+) +(\S+) +" + " ".join([r"(\d\d:\d\d:\d\d[:;]\d\d)"] * 4))


def count_frames(label: str, nominal: int, drop: bool) -> int:
    """Frames before a label, by counting the minutes that begin with dropped ones."""
    hours, minutes, seconds, frames = (int(part) for part in re.split("[:;]", label))
    passed = hours * 60 + minutes
    dropped = sum(nominal // 15 for minute in range(1, passed + 1) if minute % 10) if drop else 0
    return (passed * 60 + seconds) * nominal + frames - dropped


@by_rate
def test_edl(rate: FrameRate) -> None:
    cut = a_cut(rate)
    title, mode, *lines = to_edl(cut).splitlines()
    assert title == "TITLE: a song"
    drop = mode == "FCM: DROP FRAME"
    assert drop == rate.drop
    assert drop or mode == "FCM: NON-DROP FRAME"
    read, names, locators = [], [], []
    nominal = -(-rate.fps.numerator // rate.fps.denominator)
    for line in lines:
        if not line:
            continue
        if line.startswith("* FROM CLIP NAME: "):
            names.append(line.removeprefix("* FROM CLIP NAME: "))
        elif line.startswith("* LOC: "):
            locators.append(line.split()[2:])
        else:
            found = EVENT.fullmatch(line)
            assert found, line
            number, reel, track, edit, *times = found.groups()
            assert int(number) == len(read) + 1
            assert (track, edit) == ("V", "C")
            assert times[:2] == times[2:]
            start, end = (count_frames(time, nominal, drop) for time in times[2:])
            read.append((start, end, reel))
    base = count_frames(HOUR, nominal, drop)
    assert [(start - base, end - base, reel) for start, end, reel in read] == spans(cut)
    assert names == [f"{clip.kind} {LONG_NAMES[clip.kind].upper()}" for clip in cut.clips]
    sections = list(cut.marked("section"))
    assert [(count_frames(label[0], nominal, drop) - base, label[-1]) for label in locators] == [
        (section.frame, section.name) for section in sections
    ]
    assert "M2" not in to_edl(cut)


def test_edl_is_plain_ascii() -> None:
    cut = replace(a_cut(RATES[2]), song="Überraschung\n001 M2 漢字 " + "x" * 90, draft=2)
    cut = replace(cut, markers=(Marker(0, "section", "Réfrain\n* M2"),))
    lines = to_edl(cut).splitlines()
    assert lines[0].isascii()
    assert lines[0].startswith("TITLE: Uberraschung 001 M2 __ xxx") or lines[0].startswith("TITLE: Uberraschung_001")
    assert len(lines[0]) <= 77
    assert [line for line in lines if "LOC" in line] == ["* LOC: 01:00:00:00 GREEN   SECTION Refrain_* M2"]
    assert len([line for line in lines if re.match(r"\d{3}  ", line)]) == len(cut.clips)


@pytest.mark.parametrize("name", ["csv", "edl", "otio", "fcpxml", "srt", "json"])
@pytest.mark.parametrize("length", [a_cut, a_long_cut])
@by_rate
def test_a_corpus_can_be_made_of_it(
    rate: FrameRate, length: Callable[[FrameRate], Timeline], name: str, tmp_path: Path
) -> None:
    """What is written is read as it was, at every rate, in songs long enough for drop-frame to matter."""
    cut = length(rate)
    (path,) = write_drafts([tmp_path / f"cut.{name}"], [cut])
    shots = read_shot_list(path, cut.duration, rate)
    assert [(rate.nearest(shot.start), shot.kind) for shot in shots] == [(clip.start, clip.kind) for clip in cut.clips]
    assert shots[-1].end == cut.duration
    assert find_songs_list(path, cut.duration) == [(path.with_suffix(".wav"), path)]


def find_songs_list(path: Path, duration: float) -> list[tuple[Path, Path | None]]:
    """What the importers find beside a song of the list's name."""
    soundfile.write(path.with_suffix(".wav"), np.zeros(int(8000 * min(duration, 1))), 8000)
    return find_songs(path.parent)


# ---- files


def test_formats_by_name() -> None:
    assert [format_of(Path(f"cut.{name.upper()}")) for name in FORMATS] == list(FORMATS)
    says = "-o cut.xml: .xml is no format of a cut; expected one of .otio, .fcpxml, .edl, .csv, .srt, .json, .html."
    with pytest.raises(ConfigError, match=f"^{re.escape(says)}$"):
        format_of(Path("cut.xml"))


def test_every_draft_is_a_file_but_where_one_holds_all(tmp_path: Path) -> None:
    drafts = some_drafts(RATES[2], drafts=3)
    paths = [tmp_path / f"cut.{name}" for name in ("edl", "csv", "json")]
    written = write_drafts(paths, drafts)
    assert written == [path for given in paths for path in file_names(given, 3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cut-draft1.csv", "cut-draft1.edl", "cut-draft2.csv", "cut-draft2.edl", "cut.csv", "cut.edl", "cut.json",
    ]  # fmt: skip
    assert (tmp_path / "cut-draft2.csv").read_text() == to_csv(drafts[2])
    assert len(json.loads((tmp_path / "cut.json").read_text())["drafts"]) == 3


def test_all_files_or_none(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a directory")
    with pytest.raises(DataError, match="cannot be written"):
        write_drafts([tmp_path / "cut.edl", tmp_path / "taken" / "cut.csv"], some_drafts(RATES[2]))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_same_song_gives_the_same_bytes(tmp_path: Path) -> None:
    for left, right in itertools.pairwise(some_drafts(RATES[3], drafts=1)[0] for _ in range(2)):
        assert to_otio(left) == to_otio(right)
        assert to_fcpxml(left, tmp_path) == to_fcpxml(right, tmp_path)
        assert (to_edl(left), to_csv(left), to_srt(left)) == (to_edl(right), to_csv(right), to_srt(right))
