"""What the user sees when a song, its shot list or a set of songs is wrong: one sentence, and nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora.songs.shot_lists import read_shot_list
from seqkd.errors import DataError
from seqkd.shots.audio.features import SongFeatureSettings, make_features, read_features
from seqkd.shots.data import Shot, Song, read_songs, write_songs
from seqkd.shots.editing.timecode import parse_rate

RATE = 8000
LONG = 40  # seconds

FAULTS: list[tuple] = []


def fault(says: str, settings: SongFeatureSettings | None = None) -> Callable:
    """Register a way to break a set; ``says`` is the whole sentence, with * for what may differ and {set} for it."""

    def register(breaks: Callable[[Path], None]) -> Callable[[Path], None]:
        FAULTS.append(pytest.param(breaks, settings, says, id=breaks.__name__))
        return breaks

    return register


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of two songs, a of 4 s and b of 40 s, labelled."""
    rng = np.random.default_rng(0)
    songs = []
    for name, seconds in (("a", 4), ("b", LONG)):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(seconds * RATE), RATE, subtype="FLOAT")
        songs.append(Song(name, tmp_path / f"{name}.wav", (Shot(0, 2, "CU"), Shot(2, seconds, "LS"))))
    write_songs(tmp_path / "set", songs)
    return tmp_path / "set"


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


# ---- the set


@fault("{set} does not exist; expected a directory with wav.scp and, if labelled, shots.csv.")
def no_set(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


@fault("{set}/wav.scp, line 2: the audio file of 'b' is missing; looked for {set}/../b.wav.")
def missing_audio(folder: Path) -> None:
    (folder / ".." / "b.wav").unlink()


@fault("{set}/wav.scp, line 1: 'a' is a command ('sox a.mp3 -t wav - |'), expected an audio file; commands in data "
       "files are never executed, write the audio to files first and name those.")  # fmt: skip
def command(folder: Path) -> None:
    change(folder / "wav.scp", "../a.wav", "sox a.mp3 -t wav - |")


@fault("{set}/wav.scp, line 1: id 'a/1' cannot name a file; expected one without '/' that does not start with '.'.")
def id_is_a_path(folder: Path) -> None:
    change(folder / "wav.scp", "a ", "a/1 ")


@fault("{set}/shots.csv, line 1: found 'song,start,end,type', expected the header 'id,start,end,type'.")
def other_header(folder: Path) -> None:
    change(folder / "shots.csv", "id,", "song,")


@fault("{set}/shots.csv, line 3: shot type 'WIDE' of 'a' is not known; expected one of CU, MCU, MS, MLS, LS, XLS, ADS, "
       "MIS.")  # fmt: skip
def unknown_type(folder: Path) -> None:
    change(folder / "shots.csv", "2,4,LS", "2,4,WIDE")


@fault("{set}/shots.csv, line 3: the shot of 'a' starts at 2.5 s, expected 2 s, where the one before it ends; shots "
       "follow one another from 0 on without gap or overlap, in order.")  # fmt: skip
def gap_in_the_set(folder: Path) -> None:
    change(folder / "shots.csv", "2,4,LS", "2.5,4,LS")


@fault("{set}/shots.csv, line 2: the shot of 'a' lasts from '2' to 'x'; expected seconds from 0 on, the end after the "
       "start.")  # fmt: skip
def no_time(folder: Path) -> None:
    change(folder / "shots.csv", "a,0,2,CU", "a,2,x,CU")


@fault("{set}/shots.csv: song 'b' of {set}/wav.scp has no shots; add them, or remove the song there.")
def list_without_a_song(folder: Path) -> None:
    lines = (folder / "shots.csv").read_text().splitlines(keepends=True)
    (folder / "shots.csv").write_text("".join(line for line in lines if not line.startswith("b,")))


# ---- audio


@fault("Song 'a': {set}/../a.wav cannot be read as audio (*); expected a wav, flac, ogg or mp3 file that is whole.")
def not_audio(folder: Path) -> None:
    (folder / ".." / "a.wav").write_text("this is no sound\n" * 100)


@fault("Song 'b': {set}/../b.wav is damaged after 10.0 s (*); get it again.")
def truncated(folder: Path) -> None:
    rng = np.random.default_rng(0)
    path = folder / ".." / "b.wav"
    soundfile.write(path, 0.1 * rng.standard_normal(LONG * RATE), RATE, format="FLAC", subtype="PCM_16")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@fault("Song 'b': {set}/../b.wav breaks off: its header promises * bytes of sound, and * are there; get it again.")
def truncated_mp3(folder: Path) -> None:
    path = folder / ".." / "b.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(LONG * RATE), RATE, format="MP3")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@fault("Song 'a': {set}/../a.wav has a sample that is no number at 2.50 s; write the audio again.")
def nan_sample(folder: Path) -> None:
    samples = np.zeros(4 * RATE)
    samples[int(2.5 * RATE)] = np.nan
    soundfile.write(folder / ".." / "a.wav", samples, RATE, subtype="FLOAT")


@fault("Song 'a': {set}/../a.wav lasts 0.00 s; expected at least 1 s of audio.")
def no_samples(folder: Path) -> None:
    soundfile.write(folder / ".." / "a.wav", np.zeros(0), RATE)


@fault("Song 'a': {set}/../a.wav lasts 0.50 s; expected at least 1 s of audio.")
def half_a_second(folder: Path) -> None:
    soundfile.write(folder / ".." / "a.wav", np.zeros(RATE // 2), RATE)


# ---- a tagger's posteriors


@fault("{tags} has neither a CSV nor an npy file of song 'b'; expected one of them for every song.",
       SongFeatureSettings(tagger="tags"))  # fmt: skip
def no_tags(folder: Path) -> None:
    (folder / "tags" / "b.csv").unlink()


@fault("Song 'a': {tags}/a.csv, line 3: found '1,x', expected 2 numbers.", SongFeatureSettings(tagger="tags"))
def tags_that_are_no_numbers(folder: Path) -> None:
    (folder / "tags" / "a.csv").write_text("rock,pop\n0,1\n1,x\n")


@fault("Song 'a': {tags}/a.csv, line 1: found '0.5,0.5', expected a line that names every tag once.",
       SongFeatureSettings(tagger="tags"))  # fmt: skip
def tags_without_a_header(folder: Path) -> None:
    (folder / "tags" / "a.csv").write_text("0.5,0.5\n0.1,0.9\n")


@fault("Song 'b': {tags}/b.csv has 1 rows for a song of 40 s; expected at least one every 30 s: is it the file of "
       "another song?", SongFeatureSettings(tagger="tags"))  # fmt: skip
def tags_of_another_song(folder: Path) -> None:
    (folder / "tags" / "b.csv").write_text("rock\n1\n")


@fault("Song 'a': {tags}/a.npy cannot be read as a NumPy array (*); expected a .npy of numbers, or a CSV.",
       SongFeatureSettings(tagger="tags"))  # fmt: skip
def pickled_tags(folder: Path) -> None:
    (folder / "tags" / "a.csv").unlink()
    np.save(folder / "tags" / "a.npy", np.array([{"rock": 1}], dtype=object), allow_pickle=True)


def matches(message: str, pattern: str) -> bool:
    import re

    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), message) is not None


@pytest.mark.parametrize(("breaks", "settings", "says"), FAULTS)
def test_features_are_refused_in_one_sentence(
    breaks: Callable[[Path], None], settings: SongFeatureSettings | None, says: str, folder: Path
) -> None:
    (folder / "tags").mkdir()
    for name in "ab":
        (folder / "tags" / f"{name}.csv").write_text("rock,pop\n" + "0.5,0.5\n" * 4)
    breaks(folder)
    if settings:
        settings = SongFeatureSettings(tagger=str(folder / "tags"))
    with pytest.raises(DataError) as caught:
        make_features(folder, settings)
    expected = says.replace("{set}", str(folder)).replace("{tags}", str(folder / "tags"))
    assert matches(str(caught.value), expected), str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(folder.rglob(".tmp-*")) and not (folder / "features" / "done.json").exists()
    with pytest.raises(DataError, match=r"has no finished features; run .*--stage prepare"):
        read_features(folder)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "", "{list}, line 1: found 'nothing', expected a header with start, end and type, once each."),
        ("a.csv", "start,end,type\n", "{list} has no shots; expected at least one, or no list at all for a song "
         "without labels."),
        ("a.csv", "start,end\n0,4\n", "{list}, line 1: found 'start,end', expected a header with start, end and type, "
         "once each."),
        ("a.csv", "start,end,type\n0,2,CU\n2,4\n", "{list}, line 3: found 2 fields, expected 3: start, end, type."),
        ("a.csv", "start,end,type\n0,2,CU\n2,4,crane\n", "{list}, line 3: type 'crane' is not known; expected one of "
         "CU, MCU, MS, MLS, LS, XLS, ADS, MIS."),
        ("a.csv", "start,end,type\n0,2,CU\n2.5,4,LS\n", "{list}, line 3: a gap from 2.00 to 2.50 s; every moment needs "
         "a shot, add one or move the cut."),
        ("a.csv", "start,end,type\n1,4,CU\n", "{list}, line 2: a gap from 0.00 to 1.00 s; every moment needs a shot, "
         "add one or move the cut."),
        ("a.csv", "start,end,type\n0,2.5,CU\n2,4,LS\n", "{list}, line 3: the shot starts at 2.00 s, before the one "
         "above it ends at 2.50 s; shots stand in order and do not overlap."),
        ("a.csv", "start,end,type\n0,2,CU\n2,9,LS\n", "{list}, line 3: the shot ends at 9.00 s, but the song at 4.00 "
         "s; is it the list of another song?"),
        ("a.csv", "start,end,type\n0,2,CU\n2,3,LS\n", "{list}, line 3: the last shot ends at 3.00 s, but the song at "
         "4.00 s; add the shots that are missing, or cut the audio."),
        ("a.csv", "start,end,type\n0,2,CU\n3,2,LS\n", "{list}, line 3: the shot lasts from 3 to 2 s; expected times "
         "from 0 on, the end after the start."),
        ("a.csv", "start,end,type\n0,soon,CU\n", "{list}, line 2: 'soon' is no time; expected seconds, "
         "minutes:seconds, or a timecode with frames."),
        ("a.csv", "start,end,type\n00:00:00:00,00:00:04:25,CU\n", "{list}, line 2: timecode '00:00:04:25' has 25 "
         "frames; at 25 frames a second 0 to 24 exist."),
        ("a.edl", "TITLE: x\nFCM: DROP FRAME\n", "{list}, line 2: the list is drop-frame, which 25 frames a second is "
         "not; set fps to 29.97 or 59.94."),
        ("a.edl", "001 CU V D 012 00:00:00:00 00:00:04:00 00:00:00:00 00:00:04:00\n", "{list}, line 1: event 001 is "
         "not a cut but 'D'; make the transition a cut."),
        ("a.edl", "001 CU V C 00:00:00:00 00:00:04:00\n", "{list}, line 1: found '001 CU V C 00:00:00:00 00:00:04:00', "
         "expected an event: number, reel, V, C and four timecodes."),
        ("a.otio", "{}", "{list} cannot be read as a timeline of OpenTimelineIO (*)."),
    ],
)  # fmt: skip
def test_shot_lists_are_refused_in_one_sentence(name: str, text: str, says: str, tmp_path: Path) -> None:
    if name.endswith("otio"):
        pytest.importorskip("opentimelineio")
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        read_shot_list(tmp_path / name, 4.0, parse_rate("25"))
    assert matches(str(caught.value), says.replace("{list}", str(tmp_path / name))), str(caught.value)


def test_a_good_set_is_not_refused(folder: Path) -> None:
    assert make_features(folder) == 2
    assert len(read_songs(folder)) == len(read_features(folder)) == 2
