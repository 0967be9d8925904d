"""What is up to date is decided by content: a touched file changes nothing, a corrected one with an older time does."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd import uptodate
from seqkd.corpora.own.convert import convert_audio
from seqkd.corpora.speech.audio_sets import Header
from seqkd.data.features import FeatureSettings, data_fingerprint, finished_features, make_features
from seqkd.data.kaldi import Utterance, read_data_dir, write_data_dir
from seqkd.decoding.fusion import Fusion
from seqkd.errors import DataError
from seqkd.shots import data as songs
from seqkd.shots.audio import features as song_features
from seqkd.uptodate import CACHE, content_hash, content_hashes, is_current, write_stamp

RATE = 8000


def tone(path: Path, hertz: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hertz * np.arange(3 * RATE) / RATE), RATE)
    return path


def speech(folder: Path) -> Path:
    utterances = [Utterance(f"s-{name}", tone(folder / f"{name}.wav", 200), "s", "do re") for name in "ab"]
    write_data_dir(folder / "set", utterances)
    return folder / "set"


def songs_of(folder: Path) -> Path:
    made = [songs.Song(name, tone(folder / f"{name}.wav", 200), (songs.Shot(0.0, 3.0, "LS"),)) for name in "ab"]
    songs.write_songs(folder / "set", made)
    return folder / "set"


# A kind makes something of an input, which it returns together with what says from which content it was made.
def of_speech(folder: Path) -> Callable[[], object]:
    data = speech(folder)
    return lambda: data_fingerprint(read_data_dir(data), data / CACHE)


def features_of_speech(folder: Path) -> Callable[[], object]:
    data = speech(folder)

    def make() -> object:
        make_features(data, FeatureSettings(sample_rate=RATE, num_mel_bins=8), nj=1)
        return finished_features(data), made(data / "feats")

    return make


def of_songs(folder: Path) -> Callable[[], object]:
    data = songs_of(folder)
    return lambda: songs.data_fingerprint(songs.read_songs(data), data / CACHE)


def features_of_songs(folder: Path) -> Callable[[], object]:
    data = songs_of(folder)

    def make() -> object:
        song_features.make_features(data)
        return made(data / "features", "*.safetensors")

    return make


def converted_copies(folder: Path) -> Callable[[], object]:
    audio = tone(folder / "a.wav", 200)
    utterances = {"train": [Utterance("s-a", audio, "s", "do")]}

    def make() -> object:
        convert_audio(utterances, {audio: Header(3.0, RATE, 1)}, folder / "copies", RATE // 2, nj=1)
        return made(folder / "copies", "*.flac")

    return make


def words_of_a_lexicon(folder: Path) -> Callable[[], object]:
    tone(folder / "a.wav", 200)  # any file will do
    return Fusion(folder / "a.wav", None, 0.5, 0.0).fingerprint


def made(folder: Path, pattern: str = "*") -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.glob(pattern)}


KINDS = [of_speech, features_of_speech, of_songs, features_of_songs, converted_copies, words_of_a_lexicon]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_made_of_a_touched_file_is_current(kind: Callable, tmp_path: Path):
    make = kind(tmp_path)
    before = make()
    os.utime(tmp_path / "a.wav")
    assert make() == before
    os.utime(tmp_path / "a.wav", (1, 1))
    assert make() == before
    shutil.copy(tmp_path / "a.wav", tmp_path / "copy")
    (tmp_path / "copy").replace(tmp_path / "a.wav")  # another inode
    assert make() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["replaced", "written"])
def test_what_was_made_of_a_corrected_file_is_not_though_its_time_is_older(kind: Callable, way: str, tmp_path: Path):
    make = kind(tmp_path)
    before, old = make(), (tmp_path / "a.wav").stat()
    corrected = tone(tmp_path / "corrected.wav", 300)  # of the same size
    os.utime(corrected, ns=(old.st_atime_ns, old.st_mtime_ns - 10**12))
    if way == "replaced":
        shutil.copy2(corrected, tmp_path / "new.wav")  # as rsync -a does
        (tmp_path / "new.wav").replace(tmp_path / "a.wav")
    else:
        shutil.copy2(corrected, tmp_path / "a.wav")  # as cp -p does
    assert make() != before


def test_the_very_same_times_do_not_hide_a_change(tmp_path: Path):
    file, cache = tmp_path / "file", tmp_path / CACHE
    file.write_text("one")
    before, state = content_hash(file, cache), file.stat()
    file.write_text("two")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_ino) == (state.st_size, state.st_ino)
    assert content_hash(file, cache) != before


def test_changes_one_after_the_other_are_all_seen(tmp_path: Path):
    """Faster than a file system's clock ticks."""
    file, cache = tmp_path / "file", tmp_path / CACHE
    found = []
    for number in range(10):
        file.write_text(str(number))
        found.append(content_hash(file, cache))
    assert len(set(found)) == 10


def test_unchanged_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_text(file.name)
    found = content_hashes(files, tmp_path / CACHE)
    assert len(set(found.values())) == 3
    read: list[Path] = []
    monkeypatch.setattr(uptodate, "_read", lambda path, before=uptodate._read: read.append(path) or before(path))
    assert content_hashes(files, tmp_path / CACHE) == found
    assert read == []
    files[1].write_text("d")
    assert content_hashes(files, tmp_path / CACHE)[files[1]] != found[files[1]]
    assert read == files[1:2]
    assert content_hashes(files) == content_hashes(files, tmp_path / CACHE)
    assert read == [files[1], *files]  # without a cache all are


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"/nowhere": 1}', '{"/nowhere": [1, 2]}'])
def test_a_damaged_cache_is_made_anew(damage: str, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    before = content_hash(tmp_path / "file", tmp_path / CACHE)
    (tmp_path / CACHE).write_text(damage)
    assert content_hash(tmp_path / "file", tmp_path / CACHE) == before
    assert before in (tmp_path / CACHE).read_text()


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "taken").write_text("not a directory")
    assert content_hash(tmp_path / "file", tmp_path / "taken" / CACHE) == content_hash(tmp_path / "file")


def test_a_time_in_the_future_is_waited_for_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(uptodate, "file_state", lambda path: [1, 1, 1, time.time_ns() + 3600 * 10**9])
    began = time.monotonic()
    uptodate._let_time_pass([tmp_path])
    assert time.monotonic() - began < 1


def test_a_missing_file_is_one_sentence(tmp_path: Path):
    with pytest.raises(DataError, match=r"gone cannot be read: No such file or directory\."):
        content_hash(tmp_path / "gone")


def test_a_result_is_current_if_all_that_made_it_is_the_same(tmp_path: Path):
    stamp, output = tmp_path / "decode.json", tmp_path / "text"
    made_by = {"beam": 16, "sets": ("a", "b"), "of": {1: 0.5}}
    assert not is_current(stamp, made_by)
    write_stamp(stamp, made_by)
    assert is_current(stamp, made_by)
    assert not is_current(stamp, made_by, output)
    output.write_text("")
    assert is_current(stamp, made_by, output)
    for other in ({**made_by, "beam": 8}, {**made_by, "lm": None}, {"beam": 16}):
        assert not is_current(stamp, other)
    for damage in ("", "{", json.dumps([1])):
        stamp.write_text(damage)
        assert not is_current(stamp, made_by)


def test_what_earlier_versions_did_not_state_is_not_known_and_fits(tmp_path: Path):
    stamp = tmp_path / "stamp.json"
    write_stamp(stamp, {"model": "a"})
    wanted = {"model": "a", "rule": "mean"}
    assert not is_current(stamp, wanted)
    assert is_current(stamp, wanted, later=["rule"])
    assert not is_current(stamp, {"model": "b", "rule": "mean"}, later=["rule"])
    write_stamp(stamp, {"model": "a", "rule": "pick"})  # stated, and another
    assert not is_current(stamp, wanted, later=["rule"])
    assert not is_current(stamp, {"model": "a"}, later=["rule"])  # stated, and not wanted
    for damaged in ("[]", "null"):
        stamp.write_text(damaged)
        assert not is_current(stamp, wanted, later=["model", "rule"])
