"""A corpus of one's own: songs with shot lists beside them, in every format."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora.songs.imports import deal, find_songs, make_corpus, song_id
from seqkd.corpora.songs.listed import kind_in
from seqkd.corpora.songs.shot_lists import read_shot_list
from seqkd.errors import ConfigError, DataError
from seqkd.shots.audio.features import make_features, read_features
from seqkd.shots.classes import LONG_NAMES
from seqkd.shots.data import Shot, Song, read_songs
from seqkd.shots.editing.timecode import FrameRate, parse_rate
from tests.shots.real_music import require

SHOT_LIST = (Shot(0.0, 2.4, "LS"), Shot(2.4, 5.0, "CU"), Shot(5.0, 10.0, "MIS"))
FPS = parse_rate("25")


def tone(path: Path, seconds: float = 10, pitch: float = 440, rate: int = 8000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate), rate)
    return path


def as_csv(path: Path, shots: tuple[Shot, ...] = SHOT_LIST) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("start", "end", "type"), *((s.start, s.end, s.kind) for s in shots)])
    return path


def as_edl(path: Path, shots: tuple[Shot, ...], rate: FrameRate, start: str) -> Path:
    first = rate.parse(start)
    codes = [tuple(rate.timecode(first + rate.nearest(t)) for t in (s.start, s.end)) for s in shots]
    lines = ["TITLE: SONG", f"FCM: {'DROP FRAME' if rate.drop else 'NON-DROP FRAME'}", ""]
    for number, (shot, (begin, end)) in enumerate(zip(shots, codes, strict=True), start=1):
        lines.append(f"{number:03}  CAM1     V     C        00:00:00:00 00:00:01:00 {begin} {end}")
        lines.append(f"* FROM CLIP NAME: {LONG_NAMES[shot.kind].upper()}")
        lines.append(f"{number:03}  SONG     AA    C        00:00:00:00 00:00:01:00 {begin} {end}")
    path.write_text("\r\n".join(lines))
    return path


def as_otio(path: Path, shots: tuple[Shot, ...], fps: float, gap: bool = False) -> Path:
    otio = pytest.importorskip("opentimelineio")
    timeline = otio.schema.Timeline(name="song")
    track = otio.schema.Track(name="V1", kind=otio.schema.TrackKind.Video)
    timeline.tracks.append(otio.schema.Track(name="A1", kind=otio.schema.TrackKind.Audio))
    timeline.tracks.append(track)
    for shot in shots:
        frames = round(shot.end * fps) - round(shot.start * fps)
        length = otio.opentime.RationalTime(frames, fps)
        span = otio.opentime.TimeRange(otio.opentime.RationalTime(86400, fps), length)
        if gap and shot is shots[1]:
            track.append(otio.schema.Gap(source_range=otio.opentime.TimeRange(duration=length)))
        else:
            track.append(otio.schema.Clip(name=f"{shot.kind} take 2", source_range=span))
    otio.adapters.write_to_file(timeline, str(path))
    return path


def same(found: tuple[Shot, ...], expected: tuple[Shot, ...], off: float = 1e-9) -> bool:
    return [s.kind for s in found] == [s.kind for s in expected] and all(
        abs(a.start - b.start) <= off and abs(a.end - b.end) <= off for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize(
    "table",
    [
        "start,end,type\n0,2.4,LS\n2.4,5,CU\n5,10,MIS\n",
        "shot,Type,Start,End,note\n1,long shot,0:00,0:02.4,x\n2,Close-up,0:02.4,0:05,\n\n3,mis,0:05,0:00:10,\n",
        "start,end,type\n01:00:00:00,01:00:02:10,LS\n01:00:02:10,01:00:05:00,CU\n01:00:05:00,01:00:10:00,MIS\n",
        "start;end;type\n0;2,4;LS\n2,4;5,0;CU\n5;10;MIS\n",
        "start\tend\ttype\n0\t2,4\tLS\n0:02,4\t0:05\tCU\n5\t10\tMIS\n",
        "start,end,type\n00:00:00:00,00:00:02:09,LS\n00:00:02:10,00:00:04:24,CU\n00:00:05:00,00:00:09:24,MIS\n",
        "start,end,type\n23:59:58:00,00:00:00:10,LS\n00:00:00:10,00:00:03:00,CU\n00:00:03:00,00:00:08:00,MIS\n",
        "start,end,type\n23:59:57:15,24:00:00:00,LS\n00:00:00:00,00:00:02:15,CU\n00:00:02:15,00:00:07:15,MIS\n",
        "start,end,type\n23:59:57,23:59:59.4,LS\n23:59:59.4,00:00:02,CU\n00:00:02,00:00:07,MIS\n",
        "0.000000\t2.400000\tLS\n2.400000\t5.000000\tCU\n5.000000\t10.000000\tMIS\n",
        "Timecode List:,00:00:02.400,00:00:05.000\nScene Number,Start Frame,Start Timecode,Start Time (seconds),End "
        "Frame,End Timecode,End Time (seconds),type\n1,1,00:00:00.000,0.0,60,00:00:02.400,2.4,LS\n"
        "2,61,00:00:02.400,2.4,125,00:00:05.000,5.0,CU\n3,126,00:00:05.000,5.0,250,00:00:10.000,10.0,MIS\n",
        "\ufeffstart,end,type\r\n0,2.42,LS\r\n2.4,4.97,CU\r\n5,9.8,MIS\r\n",  # frames rounded here and there
    ],
    ids=[
        "seconds", "clock, long names and other columns", "timecode", "semicolons", "tabs", "inclusive out-points",
        "past midnight", "a shot until midnight", "times of day", "Audacity's", "PySceneDetect's",
        "rounded, with a byte order mark",
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_tables(table: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table if encoding == "utf-8" else table.lstrip("\ufeff"), encoding, newline="")
    found = read_shot_list(tmp_path / "a.csv", 10.0, FPS)
    assert same(found, SHOT_LIST, 0.04)
    assert found[0].start == 0 and found[-1].end == 10.0
    assert all(a.end == b.start for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(("fps", "start"), [("25", "00:00:00:00"), ("24", "01:00:00:00"), ("29.97df", "00:59:58;00")])
def test_edit_decision_lists(fps: str, start: str, tmp_path: Path) -> None:
    rate = parse_rate(fps)
    file = as_edl(tmp_path / "a.edl", SHOT_LIST, rate, start)
    assert same(read_shot_list(file, 10.0, rate), SHOT_LIST, 0.5 / float(rate.fps) + 1e-6)


def test_the_reel_is_the_type_where_no_clip_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.edl").write_text("001  MLS  V  C  00:00:00:00 00:00:10:00 00:00:00:00 00:00:10:00\n")
    assert read_shot_list(tmp_path / "a.edl", 10.0, FPS) == (Shot(0.0, 10.0, "MLS"),)


def test_the_list_says_how_its_timecodes_count(tmp_path: Path) -> None:
    """Read at 29.97, which alone is drop-frame: a list that is not would be .4 s off after seven minutes."""
    drop, plain = parse_rate("29.97"), parse_rate("29.97ndf")
    shots = (Shot(0.0, 210.0, "LS"), Shot(210.0, 420.0, "CU"))
    for written, read in ((drop, drop), (plain, drop), (drop, plain), (plain, plain)):
        file = as_edl(tmp_path / "a.edl", shots, written, "00:00:00:00")
        assert same(read_shot_list(file, 420.0, read), shots, 0.5 / 29.97 + 1e-6)


@pytest.mark.parametrize("suffix", [".edl", ".csv"])
def test_timecodes_are_counted_as_they_are_written(suffix: str, tmp_path: Path) -> None:
    """Where nothing else says it, ``;`` is drop-frame and ``:`` is not, whatever is set."""
    drop, plain = parse_rate("29.97"), parse_rate("29.97ndf")
    shots = (Shot(0.0, 190.0, "LS"), Shot(190.0, 420.0, "CU"))
    for written, read in ((drop, drop), (plain, drop), (drop, plain), (plain, plain)):
        codes = [[written.timecode(written.nearest(time)) for time in (shot.start, shot.end)] for shot in shots]
        file = tmp_path / f"a{suffix}"
        if suffix == ".edl":
            as_edl(file, shots, written, "00:00:00:00")
            file.write_text("\n".join(line for line in file.read_text().splitlines() if "FCM" not in line))
        else:
            rows = [f"{start},{end},{shot.kind}" for (start, end), shot in zip(codes, shots, strict=True)]
            file.write_text("\n".join(["start,end,type", *rows]))
        assert same(read_shot_list(file, 420.0, read), shots, 0.5 / 29.97 + 1e-6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CU.mov", "CU"), ("CU_take2.mov", "CU"), ("LS-wide.mp4", "LS"), ("medium close-up 2", "medium close-up"),
        ("medium_shot_take_3.MXF", "medium_shot"), ("Close-up", "Close-up"), ("CULT.mov", "CULT"), ("", ""),
    ],
)  # fmt: skip
def test_types_in_names_of_clips(name: str, kind: str) -> None:
    assert kind_in(name) == kind


def test_events_as_editing_systems_write_them(tmp_path: Path) -> None:
    (tmp_path / "a.edl").write_text(
        "FCM: NON-DROP FRAME\n"
        "001  AX  AA/V  C  00:00:00:00 00:00:04:00 23:59:56:00 00:00:00:00\n* FROM CLIP NAME: CU.mov\n"
        "002  LS  V     C  00:00:00:00 00:00:06:00 00:00:00:00 00:00:06:00\n* FROM CLIP NAME: (NULL)\n"
        "003  AX  AA    C  00:00:00:00 00:00:06:00 00:00:00:00 00:00:06:00\n"
    )
    assert read_shot_list(tmp_path / "a.edl", 10.0, FPS) == (Shot(0.0, 4.0, "CU"), Shot(4.0, 10.0, "LS"))
    (tmp_path / "a.edl").write_text(  # the end of the day, half of a transition, channels without a slash
        "001  AX  A1A2V  C  00:00:00:00 00:00:04:00 23:59:56:00 24:00:00:00\n* FROM CLIP NAME: CU_take2.mov\n"
        "002  BL  V      C  00:00:00:00 00:00:00:00 00:00:00:00 00:00:00:00\n"
        "002  LS  B      C  00:00:00:00 00:00:05:24 00:00:00:00 00:00:06:00\n* FROM CLIP NAME: NULL\n"
    )
    assert read_shot_list(tmp_path / "a.edl", 10.0, FPS) == (Shot(0.0, 4.0, "CU"), Shot(4.0, 10.0, "LS"))


def test_lists_of_other_programs(tmp_path: Path) -> None:
    expected = (Shot(0.0, 4.0, "CU"), Shot(4.0, 10.0, "LS"))
    slots = "".join(f'<TIME_SLOT TIME_SLOT_ID="t{n}" TIME_VALUE="{v}"/>' for n, v in enumerate((0, 4000, 10000)))
    notes = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION TIME_SLOT_REF1="t{n}" TIME_SLOT_REF2="t{n + 1}"><ANNOTATION_VALUE>{kind}'
        "</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
        for n, kind in enumerate(("CU", "long shot"))
    )
    texts = {
        "a.eaf": f'<A><TIME_ORDER>{slots}</TIME_ORDER><TIER TIER_ID="Shots">{notes}</TIER></A>',
        "a.srt": "1\n00:00:00,000 --> 00:00:04,000\nclose-up\n\n2\n00:00:04,000 --> 00:00:10,000\n<i>2 LS</i> long\n",
        "a.json": '[{"start": 0, "end": "0:04", "type": "CU"}, {"start": 4, "end": 10, "type": "LS"}]',
        "a.xml": '<fcpxml><sequence><spine><clip name="CU.mov" offset="3600s" duration="4s"/>'
        '<title name="LS wide" offset="3604s" duration="12/2s"/></spine></sequence></fcpxml>',
        "a.txt": "start\tend\ttype\n0\t4\tCU\n4\t10\tLS\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert read_shot_list(tmp_path / name, 10.0, FPS) == expected, name


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "Scene Number,Start Time (seconds),End Time (seconds)\n1,0,10\n",
         "is PySceneDetect's list, which has no types; add a column 'type'"),
        ("a.xml", "<xmeml/>", "is XML of another kind ('xmeml'); expected FCPXML."),
        ("a.fcpxml", "<fcpxml", "cannot be read as XML"),
        ("a.fcpxml", "<fcpxml/>", "has no sequence with a spine"),
        ("a.fcpxml", '<fcpxml><sequence><spine><gap offset="0s" duration="1s"/></spine></sequence></fcpxml>',
         "item 1 of the spine is a 'gap'; every moment needs a shot"),
        ("a.json", "{}", "is not a list of shots"),
        ("a.eaf", "<A/>", "has annotations on the tiers none; expected one tier"),
    ],
)  # fmt: skip
def test_lists_that_are_none(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        read_shot_list(tmp_path / name, 10.0, FPS)
    assert says in str(caught.value) and name in str(caught.value)


def test_nothing_beside_a_song_is_left_out_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    as_csv(tone(folder / "a.wav").with_suffix(".csv"))
    tone(folder / "b.wav", pitch=500).with_suffix(".txt").write_text("La la la\n")
    (folder / "a.txt").write_text("its words")
    (folder / "c.mp4").write_bytes(b"video")
    make_corpus(tmp_path / "data", source=folder, dev=0, test=0)
    said = capsys.readouterr().out
    assert f"not taken for a shot list: {folder}/b.txt, line 1: found 'la la la'" in said
    assert f"ffmpeg -i {folder}/c.mp4 -vn {folder}/c.flac" in said
    assert [song.id for song in read_songs(tmp_path / "data" / "unlabelled")] == ["b"]
    as_csv(folder / "c.csv")
    with pytest.raises(DataError, match=r"c\.mp4 has sound that is not read as it is; take it out: ffmpeg -i "):
        make_corpus(tmp_path / "data", source=folder, dev=0, test=0)


def test_timelines(tmp_path: Path) -> None:
    assert same(read_shot_list(as_otio(tmp_path / "a.otio", SHOT_LIST, 25), 10.0, FPS), SHOT_LIST)
    with pytest.raises(DataError, match=r"a\.otio, item 2 of track 'V1': a gap from 2\.40 to 5\.00 s; every moment"):
        read_shot_list(as_otio(tmp_path / "a.otio", SHOT_LIST, 25, gap=True), 10.0, FPS)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = as_otio(tmp_path / "a.otio", SHOT_LIST, 25)
    monkeypatch.setitem(__import__("sys").modules, "opentimelineio", None)
    with pytest.raises(ConfigError, match=r"needs OpenTimelineIO, which is not installed; get it with: pip install"):
        read_shot_list(file, 10.0, FPS)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ten labelled songs in three formats and one without a list."""
    folder = tmp_path / "source"
    for number in range(10):
        audio = tone(
            folder / f"disc {number % 2}" / f"{number:02}.{('wav', 'flac', 'ogg')[number % 3]}", 10, 300 + number
        )
        if number % 3 == 1:
            as_edl(audio.with_suffix(".edl"), SHOT_LIST, FPS, "01:00:00:00")
        else:
            as_csv(audio.with_suffix(".csv"))
    tone(folder / "live" / "encore.wav", 12)
    (folder / "readme.txt").write_text("not a song")
    return folder


def test_a_directory_becomes_sets(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_corpus(tmp_path / "data", source=source, dev=2, test=0.3)
    sets = {name: read_songs(tmp_path / "data" / name) for name in ("train", "dev", "test", "unlabelled")}
    assert {name: len(songs) for name, songs in sets.items()} == {"train": 5, "dev": 2, "test": 3, "unlabelled": 1}
    ids = [song.id for songs in sets.values() for song in songs]
    assert len(set(ids)) == 11 and "disc_0_04" in ids
    assert sets["unlabelled"][0].shots is None
    for song in (*sets["train"], *sets["dev"], *sets["test"]):
        assert same(song.shots, SHOT_LIST, 0.02)
        assert song.audio.resolve().is_relative_to(source)
    assert "train: 5 songs, 1 labelled minutes" in capsys.readouterr().out
    before = {name: (tmp_path / "data" / name / "wav.scp").read_text() for name in sets}
    make_corpus(tmp_path / "data", nj=2, source=source, dev=2, test=0.3)
    assert {name: (tmp_path / "data" / name / "wav.scp").read_text() for name in sets} == before
    make_corpus(tmp_path / "data", source=source, dev=0, test=0)
    assert not (tmp_path / "data" / "dev").exists()
    assert len(read_songs(tmp_path / "data" / "train")) == 10


def test_deals_depend_on_seed_and_ids_alone() -> None:
    songs = [Song(f"s{k}", Path("x"), SHOT_LIST) for k in range(20)]
    one, two = deal(songs, 3, 4, 0), deal(songs[::-1], 3, 4, 0)
    assert one == two
    assert deal(songs, 3, 4, 1) != one
    assert sum(len(part) for part in one.values()) == 20
    assert {name: len(part) for name, part in deal(songs[:3], 0.1, 0.1, 0).items()} == {"dev": 1, "test": 1, "train": 1}


def test_ids_are_file_names() -> None:
    assert song_id(Path("disc 1/Été (live).flac")) == "disc_1_t_live"
    assert song_id(Path("ö.wav")) == "song"


def two_audio(folder: Path) -> None:
    tone(folder / "a.ogg", 10, 100)


def lonely_list(folder: Path) -> None:
    (folder / "a.wav").rename(folder / "b.wav")


def two_lists_one_of_scenes(folder: Path) -> None:
    (folder / "a-Scenes.csv").write_text("")


def two_lists(folder: Path) -> None:
    (folder / "a.edl").write_text("")


def same_song(folder: Path) -> None:
    (folder / "b.wav").write_bytes((folder / "a.wav").read_bytes())


def same_id(folder: Path) -> None:
    tone(folder / "a!.wav", 10, 100)


def no_audio(folder: Path) -> None:
    (folder / "a.wav").unlink()
    (folder / "a.csv").unlink()


def not_audio(folder: Path) -> None:
    (folder / "a.wav").write_text("no sound")


@pytest.mark.parametrize(
    ("breaks", "sentence"),
    [
        (two_audio, "{0}/a.ogg and a.wav are two audio files of one song; keep one of them."),
        (two_lists_one_of_scenes, "{0}/a.csv and a-Scenes.csv are two shot lists of one song; keep one of them."),
        (two_lists, "{0}/a.csv and a.edl are two shot lists of one song; keep one of them."),
        (lonely_list, "{0}/a.csv has no audio file beside it; expected a with .wav or .flac or .ogg or .mp3."),
        (same_song, "{0}/a.wav and {0}/b.wav are the same recording, which could come to be in training and test; "
         "remove one."),
        (same_id, "{0}/a!.wav and {0}/a.wav would both have id 'a'; rename one."),
        (no_audio, "{0} has no audio files; expected some of .wav, .flac, .ogg, .mp3."),
        (not_audio, "{0}/a.wav cannot be read as audio (*); expected a wav, flac, ogg or mp3 file."),
    ],
)  # fmt: skip
def test_wrong_directories(breaks: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    as_csv(tone(tmp_path / "in" / "a.wav").with_suffix(".csv"))
    breaks(tmp_path / "in")
    with pytest.raises(DataError) as caught:
        make_corpus(tmp_path / "data", source=tmp_path / "in", dev=0, test=0)
    start, _, end = sentence.format(tmp_path / "in").partition("*")
    assert str(caught.value).startswith(start) and str(caught.value).endswith(end)
    assert not (tmp_path / "data").exists()


def test_wrong_settings(source: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"corpus\.dev and corpus\.test take 6 and 4 of 10 songs with shot lists, which "
    ):
        make_corpus(tmp_path / "data", source=source, dev=6, test=4)
    with pytest.raises(ConfigError, match=r"corpus\.source .* is not a directory"):
        make_corpus(tmp_path / "data", source=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="'26' is no frame rate"):
        make_corpus(tmp_path / "data", source=source, fps=26)


def test_real_music_becomes_a_corpus(tmp_path: Path) -> None:
    """A soundtrack without labels, from directory to features."""
    folder = require()[0].parent
    assert len(find_songs(folder)) > 6  # its sound effects too
    music = tmp_path / "music"
    music.mkdir()
    for path in require()[:2]:
        (music / path.name).symlink_to(path)
    make_corpus(tmp_path / "data", source=music)
    assert make_features(tmp_path / "data" / "unlabelled") == 2
    tracks = read_features(tmp_path / "data" / "unlabelled")
    assert all(len(track.beats) > 40 for track in tracks.values())
