"""``seqkd shots``: from sound to files; whatever song it is, and whatever is wrong with what was asked."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile

from seqkd.cli import main as cli
from seqkd.cli import shots
from seqkd.shots.classes import SHOTS
from seqkd.shots.editing.timecode import parse_rate
from seqkd.shots.language import FilmLanguage


def music(seconds: float, rate: int = 22050, seed: int = 0) -> np.ndarray:
    """Four chords on a beat of half a second, with a drum on every fourth."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    chord = np.array([220.0, 261.6, 329.6, 196.0])[(time // 8).astype(int) % 4]
    since = time % 0.5
    beat = np.where(time % 2 < 0.5, 0.5, 0.15) * np.exp(-since * 25) * rng.standard_normal(len(time))
    return 0.25 * np.sin(2 * np.pi * chord * time) * np.exp(-since * 3) + 0.5 * beat


@pytest.fixture(scope="session")
def shot_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was never trained, of the features that the tool computes."""
    import torch

    from seqkd.shots.audio.features import analyse
    from seqkd.shots.model import Architecture, ShotModel, ShotNetwork, save_shot_model

    folder = tmp_path_factory.mktemp("model")
    soundfile.write(folder / "a.wav", music(20), 22050)
    track = analyse(folder / "a.wav")
    torch.manual_seed(1)
    network = ShotNetwork(Architecture(sizes=(12, 8)), len(track.names))
    network.normalise(track.frames.mean(0), track.frames.std(0))
    with torch.no_grad():
        network.head.weight *= 6
    language = FilmLanguage(np.full(8, 1 / 8), np.full((8, 8), 0.05) + 0.6 * np.eye(8), np.full(8, 1 / 8))
    save_shot_model(folder / "model", ShotModel(network.eval(), tuple(track.names), language))
    return folder / "model"


@pytest.fixture
def place(tmp_path: Path, shot_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a song, which is the current one, and a model that the environment names."""
    soundfile.write(tmp_path / "song.wav", music(12.34), 22050)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQKD_SHOTS_MODEL", str(shot_model))
    monkeypatch.setitem(cli.COMMANDS, "shots", "cut songs")
    return tmp_path


def run(*arguments: object) -> int:
    return cli.main(["shots", *(str(argument) for argument in arguments)])


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# ---- what it does


def test_a_song_to_every_format(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"cut.{name}" for name in ("otio", "fcpxml", "edl", "csv", "srt", "json", "html")]
    options = [word for name in names for word in ("-o", f"out/{name}")]
    assert run("song.wav", *options, "--fps", "29.97", "--start-tc", "01:00:00:00", "--drafts", "2") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("song.wav: 0 min 12.3 s, 120 beats a minute (confidence ")
    assert "drafts of " in printed
    drafted = [f"out/cut-draft1.{name}" for name in ("csv", "edl", "fcpxml", "otio", "srt")]
    assert listing(place) == ["out", *drafted, *(f"out/{name}" for name in sorted(names)), "song.wav"]
    read = json.loads(Path("out/cut.json").read_text())
    assert read["fps"] == "29.97df"
    assert read["start_timecode"] == "01:00:00;00"
    assert read["audio"] == "../song.wav"
    assert read["frames"] == int(12.34 * 30000 / 1001)
    assert read["tempo"] == pytest.approx(120, abs=1)
    beats = set(read["beats"])
    for draft in read["drafts"]:
        assert draft["shots"][0]["start_frame"] == 0
        assert draft["shots"][-1]["end_frame"] == read["frames"]
        assert all(shot["start_frame"] in beats for shot in draft["shots"][1:])
        assert all(shot["type"] in SHOTS for shot in draft["shots"])
    assert len(read["drafts"][1]["shots"]) > 1


def test_the_same_again(place: Path) -> None:
    for name in ("a", "b"):
        assert run("song.wav", "-o", f"{name}/cut.json", "-o", f"{name}/cut.html", "--drafts", 3, "--seed", 5) == 0
    for name in ("cut.json", "cut.html"):
        assert (place / "a" / name).read_bytes() == (place / "b" / name).read_bytes()
    assert run("song.wav", "-o", "c/cut.json", "--drafts", 3, "--seed", 6) == 0
    first, other = (json.loads((place / name / "cut.json").read_text())["drafts"] for name in ("a", "c"))
    assert first[0] == other[0]
    assert first[1:] != other[1:]


def test_several_songs_into_a_directory(place: Path) -> None:
    soundfile.write("other.flac", music(5, 48000), 48000)
    assert run("song.wav", "other.flac", "-o", "cuts", "--format", "edl, .json", "--snap", "frame") == 0
    assert listing(place / "cuts") == ["other.edl", "other.json", "song.edl", "song.json"]
    assert json.loads(Path("cuts/other.json").read_text())["song"] == "other"


def test_a_least_length(place: Path) -> None:
    assert run("song.wav", "-o", "cut.json", "--min-shot", "3", "--drafts", "4", "--fps", "24") == 0
    for draft in json.loads(Path("cut.json").read_text())["drafts"]:
        assert min(shot["end_frame"] - shot["start_frame"] for shot in draft["shots"]) >= 72


SONGS = {
    "two_seconds.wav": lambda: (music(2.0), 22050),
    "silence.wav": lambda: (np.zeros(8 * 16000), 16000),
    "telephone.wav": lambda: (music(6, 8000), 8000),
    "tone.wav": lambda: (0.3 * np.sin(2 * np.pi * 440 * np.arange(8 * 22050) / 22050), 22050),
    "antiphase.wav": lambda: (np.stack([music(6, 44100), -music(6, 44100)], axis=1), 44100),
    "loud.flac": lambda: (np.clip(20 * music(6, 44100), -1, 1), 44100),
    "stereo.ogg": lambda: (np.stack([music(6, 44100), 0 * music(6, 44100)], axis=1), 44100),
    "six.wav": lambda: (np.stack([music(4, 48000)] * 6, axis=1), 48000),
    "music.mp3": lambda: (music(6, 44100), 44100),
    "a; rm -rf 'ü' #1 <b>.wav": lambda: (music(3), 22050),
    "a\x01\n\tb.wav": lambda: (music(3), 22050),
}


@pytest.mark.parametrize("name", SONGS)
def test_whatever_the_song(place: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    samples, rate = SONGS[name]()
    if name.endswith("mp3") and "MP3" not in soundfile.available_formats():
        pytest.skip("this libsndfile does not write MP3")
    soundfile.write(name, samples, rate)
    outputs = [word for kind in ("json", "html", "edl", "otio", "fcpxml") for word in ("-o", f"out/cut.{kind}")]
    assert run(name, *outputs) == 0
    read = json.loads(Path("out/cut.json").read_text())
    assert read["duration"] == pytest.approx(len(samples) / rate, abs=0.06)
    assert read["frames"] == parse_rate("25").floor(read["duration"])
    source = re.search(r'"source":"\./([^"]*)"', Path("out/cut.html").read_text("utf-8"))
    assert source
    assert (place / "out" / os.fsdecode(unquote_to_bytes(source[1]))).resolve() == place / name
    ElementTree.parse("out/cut.fcpxml")
    beatless = name in ("silence.wav", "two_seconds.wav", "tone.wav")
    printed = capsys.readouterr().out
    assert ("on the nearest frames, as with --snap frame" in printed) == beatless
    assert (read["tempo"] == 0) == beatless
    assert (read["beat_confidence"] > 0.15) == (not beatless)
    if name == "tone.wav":
        assert "no steady beat was found (confidence 0.00, at least 0.15 is needed)" in printed
        assert "beats a minute" not in printed and read["beats"] == []


# ---- what may be wrong

FAULTS: list = []


def fault(*arguments: str, says: str) -> Callable:
    """Register something that is wrong; ``says`` is the whole sentence, with * for what may differ."""

    def register(breaks: Callable[[Path, pytest.MonkeyPatch], None]) -> Callable[[Path, pytest.MonkeyPatch], None]:
        FAULTS.append(pytest.param(breaks, arguments, says, id=breaks.__name__))
        return breaks

    return register


@fault("none.wav", "-o", "cut.edl", says="none.wav does not exist; expected a song.")
def missing_song(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault(
    os.fsdecode(b"caf\xe9.wav"), "-o", "cut.edl",
    says="the name of 'caf\\udce9.wav' is not valid UTF-8, which audio libraries need; rename it.",
)  # fmt: skip
def name_in_another_encoding(place: Path, patch: pytest.MonkeyPatch) -> None:
    (place / os.fsdecode(b"caf\xe9.wav")).write_bytes((place / "song.wav").read_bytes())


@fault(".", "-o", "cut.edl", says=". is a directory; expected a song.")
def directory_for_a_song(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault(
    "song.wav", "-o", "cut.edl",
    says="song.wav cannot be read as audio (*); expected a wav, flac, ogg or mp3 file that is whole.",
)  # fmt: skip
def empty_song(place: Path, patch: pytest.MonkeyPatch) -> None:
    (place / "song.wav").write_bytes(b"")


@fault(
    "song.wav", "-o", "cut.edl",
    says="song.wav cannot be read as audio (*); expected a wav, flac, ogg or mp3 file that is whole.",
)  # fmt: skip
def no_audio(place: Path, patch: pytest.MonkeyPatch) -> None:
    (place / "song.wav").write_text("these are no samples" * 99)


@fault("song.flac", "-o", "cut.html", says="song.flac *; *.")
def song_that_breaks_off(place: Path, patch: pytest.MonkeyPatch) -> None:
    soundfile.write(place / "song.flac", music(8), 22050)
    data = (place / "song.flac").read_bytes()
    (place / "song.flac").write_bytes(data[: len(data) // 2])


@fault("song.wav", "-o", "cut.edl", says="song.wav lasts 0.40 s; expected at least 1 s of audio.")
def too_short(place: Path, patch: pytest.MonkeyPatch) -> None:
    soundfile.write(place / "song.wav", music(0.4), 22050)


@fault(
    "song.wav", "-o", "cut.html", "-o", "cut.xml",
    says="-o cut.xml: .xml is no format of a cut; expected one of .otio, .fcpxml, .edl, .csv, .srt, .json, .html.",
)  # fmt: skip
def unknown_ending(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault(
    "song.wav", "-o", "cut.edl", "--start-tc", "1:00:00",
    says="timecode '1:00:00' is not of the form HH:MM:SS:FF; write, for example, 00:00:00:00.",
)  # fmt: skip
def bad_timecode(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault(
    "song.wav", "-o", "cut.edl", "--fps", "29.97", "--start-tc", "01:01:00:01",
    says="timecode '01:01:00:01' is left out by drop-frame; the minute begins with 01:01:00;02.",
)  # fmt: skip
def dropped_timecode(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault(
    "song.wav", "-o", "cut.edl", "--start-tc", "23:59:50:00",
    says="'song' would pass midnight: it starts at 23:59:50:00 and lasts 12 s; choose an earlier --start-tc.",
)  # fmt: skip
def past_midnight(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault(
    "song.wav", "-o", "cut.edl", "--fps", "29",
    says="--fps '29' is no frame rate that editors know; choose one of 23.976, 24, 25, 29.97df, 29.97ndf, 30, 50, "
    "59.94df, 59.94ndf, 60.",
)  # fmt: skip
def bad_rate(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault(
    "song.wav", "-o", "cut.edl", "--min-shot", "60",
    says="--min-shot 60 s is longer than 'song', which lasts 12.34 s; choose a shorter one.",
)  # fmt: skip
def least_length_beyond_the_song(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault("song.wav", "-o", "cut.edl", "--min-shot", "two", says="--min-shot 'two' is not a number of seconds.")
def no_number(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault("song.wav", "-o", "cut.edl", "--drafts", "0", says="--drafts 0 leaves nothing to write; expected 1 or more.")
def no_drafts(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault(
    "song.wav", "-o", "cut.edl", "--snap", "bar",
    says="--snap 'bar' is not known; expected one of beat, downbeat, frame.",
)  # fmt: skip
def unknown_grid(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault(
    "song.wav", "-o", "cut.edl",
    says="there is no model yet: neither --model nor SEQKD_SHOTS_MODEL names one, and "
    "egs/synthetic_concerts/music2shot/exp/default/model does not exist; make one with "
    "./egs/synthetic_concerts/music2shot/run.sh --stop-stage export (about 12 minutes on two cores).",
)  # fmt: skip
def no_model(place: Path, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("SEQKD_SHOTS_MODEL")
    patch.setattr(shots, "__file__", str(place / "seqkd" / "cli" / "shots.py"))


@fault(
    "song.wav", "-o", "cut.edl", "--model", "nowhere",
    says="the model nowhere does not exist; make one with ./egs/synthetic_concerts/music2shot/run.sh --stop-stage "
    "export (about 12 minutes on two cores), which leaves it in egs/synthetic_concerts/music2shot/exp/default/model.",
)  # fmt: skip
def model_that_is_not_there(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault("song.wav", "-o", "cut.edl", "--model", ".", says=".: no model.yaml here; expected a directory of a shot model*")
def directory_without_a_model(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault(
    "song.wav", "-o", "song.wav/cut.edl",
    says="-o song.wav/cut.edl cannot be written: song.wav is not a directory; name another place.",
)  # fmt: skip
def place_that_is_a_file(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault("song.wav", "-o", "locked/cut.edl", says="-o locked/cut.edl cannot be written: locked is not writable; name *.")
def place_that_is_locked(place: Path, patch: pytest.MonkeyPatch) -> None:
    (place / "locked").mkdir()
    patch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")  # root may write anywhere


@fault(
    "song.wav", "song2.wav", "-o", "cut.edl",
    says="-o cut.edl is one file, but 2 songs are given; name a directory, and what to write there with --format edl.",
)  # fmt: skip
def two_songs_into_one_file(place: Path, patch: pytest.MonkeyPatch) -> None:
    soundfile.write(place / "song2.wav", music(2), 22050)


@fault(
    "song.wav", "song.flac", "-o", "cuts",
    says="cuts/song.html would be written twice, for song.wav and song.flac; rename one of them.",
)  # fmt: skip
def songs_of_one_name(place: Path, patch: pytest.MonkeyPatch) -> None:
    soundfile.write(place / "song.flac", music(2), 22050)


@fault(
    "song.wav", "-o", "cuts/", "--format", "edl,avi",
    says="--format 'avi' is not known; expected some of otio, fcpxml, edl, csv, srt, json, html.",
)  # fmt: skip
def unknown_format(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault(
    "song.wav", "-o", "cut.edl", "--format", "otio",
    says="--format is for directories, but -o cut.edl is a file; leave it out.",
)  # fmt: skip
def format_of_a_file(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault(
    "song.wav", "-o", "cut.html", "-o", "cut.otio",
    says="OpenTimelineIO and FCPXML need libraries that are not installed; get them with: pip install 'seqkd[edit]'",
)  # fmt: skip
def missing_library(place: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "opentimelineio", None)


@fault("song.wav", "-o", "cut.edl", "--tagger", "tags.csv",
       says="--tagger tags.csv does not exist; expected a CSV or npy file of posteriors.")  # fmt: skip
def missing_tagger(place: Path, patch: pytest.MonkeyPatch) -> None: ...


@fault("song.wav", "-o", "cut.edl", "--tagger", "tags.csv", says="The model reads * features, the song has *; make *.")
def features_that_the_model_does_not_know(place: Path, patch: pytest.MonkeyPatch) -> None:
    (place / "tags.csv").write_text("rock,pop\n" + "0.5,0.5\n" * 13)


@pytest.mark.parametrize(("breaks", "arguments", "says"), FAULTS)
def test_one_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], breaks: Callable,
    arguments: tuple[str, ...], says: str,
) -> None:  # fmt: skip
    breaks(place, monkeypatch)
    before = listing(place)
    assert run(*arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    sentence = captured.err.splitlines()[-1]
    pattern = f"seqkd shots: {says}".replace("[", "[[]")
    assert fnmatch.fnmatchcase(sentence, pattern), f"\nfound    {sentence}\nexpected {pattern}"
    assert "Traceback" not in captured.err
    assert listing(place) == before


def test_a_full_disk_leaves_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = Path.write_text

    def full(path: Path, text: str, **options: str) -> int:
        if path.suffix == ".json":
            raise OSError(28, "No space left on device", str(path))
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    assert run("song.wav", "-o", "cut.edl", "-o", "cut.json") == 1
    says = "seqkd shots: cut.json cannot be written: No space left on device; name another place with -o."
    assert capsys.readouterr().err.splitlines()[-1] == says
    assert listing(place) == ["song.wav"]


def test_help_answers_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        shots.main(["--help"])
    assert left.value.code == 0
    assert "seqkd shots song.wav -o cut.otio" in capsys.readouterr().out


def test_a_pace(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many shots as asked for; a cut of one says why, on the terminal, in JSON and on the storyboard."""
    assert run("song.wav", "-o", "cut.json", "--pace", "2", "--drafts", "2") == 0
    for draft in json.loads(Path("cut.json").read_text())["drafts"]:
        assert len(draft["shots"]) == 6
        assert "note" not in draft
    capsys.readouterr()
    assert run("song.wav", "-o", "one.json", "-o", "one.html", "--pace", "12") == 0
    says = "One shot: --pace 12 s asks for no more in 12.3 s."
    assert f"  {says}" in capsys.readouterr().out
    assert says in json.loads(Path("one.json").read_text())["drafts"][0]["note"]
    assert says in Path("one.html").read_text()
    assert run("song.wav", "-o", "cut.json", "--pace", "0.2") == 1
    assert "--pace 0.2 is no mean length of shots; expected seconds, 1 or more." in capsys.readouterr().err
