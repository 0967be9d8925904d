"""Audio is decoded once, whatever is refused after that, and copied in little memory."""

from __future__ import annotations

import resource
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from seqkd.corpora.own import clips, convert, damage
from seqkd.corpora.own.audio import make_corpus
from seqkd.corpora.own.convert import convert_audio
from seqkd.data.kaldi import Utterance
from seqkd.data.sound import look_at
from seqkd.errors import DataError

RATE = 8000
MANY = 30


def table(folder: Path, count: int = MANY, **changed: str) -> Path:
    lines = ["path,text"]
    for n in range(count):
        soundfile.write(folder / f"{n}.wav", np.random.default_rng(n).uniform(-0.1, 0.1, RATE // 4), RATE)
        lines.append(f"{n}.wav,{changed.get(f'n{n}', 'ab')}")
    (folder / "all.csv").write_text("\n".join(lines) + "\n")
    return folder / "all.csv"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    found: list[Path] = []
    monkeypatch.setattr(damage, "look_at", lambda file: found.append(file) or look_at(file))
    return found


def refused_for_its_rate(folder: Path) -> dict:
    return {"train": table(folder), "sample_rate": 16000}


def refused_for_an_overlap(folder: Path) -> dict:
    (folder / "dev.csv").write_text("path,text\n0.wav,ab\n")
    return {"train": table(folder), "dev": folder / "dev.csv", "sample_rate": RATE}


def refused_for_one_that_is_damaged(folder: Path) -> dict:
    given = table(folder)
    (folder / "7.wav").write_bytes(b"no sound")
    return {"train": given, "sample_rate": RATE}


@pytest.mark.parametrize(
    ("refused", "again"), [(refused_for_its_rate, 0), (refused_for_an_overlap, 0), (refused_for_one_that_is_damaged, 1)]
)
def test_a_refused_import_need_not_decode_again(refused, again: int, decoded: list[Path], tmp_path: Path) -> None:
    settings = refused(tmp_path)
    for count in (MANY, again):
        with pytest.raises(DataError):
            make_corpus(tmp_path / "data", nj=1, **settings)
        assert len(decoded) == count
        decoded.clear()
    assert sorted(file.name for file in (tmp_path / "data").iterdir()) == [".looks.json"]


def test_nor_does_one_that_was_broken_off(decoded: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = table(tmp_path)

    def breaks_off(file: Path) -> object:
        if file.name == "20.wav":
            raise KeyboardInterrupt
        return look_at(file)

    with monkeypatch.context() as patch:
        patch.setattr(damage, "look_at", breaks_off)
        with pytest.raises(KeyboardInterrupt):
            make_corpus(tmp_path / "data", nj=1, train=given, sample_rate=RATE)
    make_corpus(tmp_path / "data", nj=1, train=given, sample_rate=RATE)
    assert 0 < len(decoded) <= MANY - 20


def test_classes_are_read_once_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(20):
        path = tmp_path / "mine" / "ab"[n % 2] / f"{n}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(n).uniform(-0.1, 0.1, RATE), RATE)
    (tmp_path / "mine" / "a" / "bad.wav").write_bytes(b"no sound")
    read: list[Path] = []
    monkeypatch.setattr(
        clips, "in_parallel", lambda function, paths, *_: [read.append(p) or function(p) for p in paths]
    )
    for count in (21, 1):
        with pytest.raises(DataError, match=r"bad\.wav cannot be read as audio"):
            clips.make_corpus(tmp_path / "data", nj=1, folder=tmp_path / "mine", sample_rate=RATE)
        assert len(read) == count
        read.clear()


# ---- copies


def copied(path: Path, folder: Path, rate: int, start: float = 0.0, end: float | None = None) -> Path:
    found = {"train": [Utterance("u", path, "u", None, start, end)]}
    return convert_audio(found, {path: look_at(path)}, folder, rate, 1)["train"][0].audio


@pytest.mark.parametrize("rate", [44100, 16000, 11025, 8000])
@pytest.mark.parametrize("seconds", [0.01, 9.99, 10.0, 25.3])
def test_a_copy_in_blocks_is_the_copy_of_the_whole(rate: int, seconds: float, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * rate), 2)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, rate, "FLOAT")
    made, to = soundfile.read(copied(tmp_path / "x.wav", tmp_path / "copies", 16000), dtype="float32")
    whole = soxr.resample(samples.mean(axis=1), rate, 16000)
    assert to == 16000 and len(made) == len(whole)
    assert np.abs(made - whole).max() < 4e-5  # a step of 16 bits
    if seconds > 20:
        made, _ = soundfile.read(copied(tmp_path / "x.wav", tmp_path / "copies", 16000, 1.5, 22.25), dtype="float32")
        whole = soxr.resample(samples[round(1.5 * rate) : round(22.25 * rate)].mean(axis=1), rate, 16000)
        assert np.abs(made - whole).max() < 4e-5


def test_a_long_recording_is_copied_in_little_memory(tmp_path: Path) -> None:
    """Ten minutes of stereo at 44.1 kHz are 212 MB in memory."""
    with soundfile.SoundFile(tmp_path / "x.flac", "w", 44100, 2, "PCM_16") as file:
        for _ in range(60):
            file.write(np.random.default_rng(0).integers(-99, 99, (441000, 2)).astype(np.int16))
    found = {"train": [Utterance("u", tmp_path / "x.flac", "u", None)]}
    looks = {tmp_path / "x.flac": look_at(tmp_path / "x.flac")}
    tracemalloc.start()
    try:
        made = convert_audio(found, looks, tmp_path / "copies", 16000, 1)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 50e6
    assert soundfile.info(made["train"][0].audio).duration == pytest.approx(600)


def test_a_disk_that_takes_no_copy_is_a_sentence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 99999), 16000)
    looks = {tmp_path / "x.wav": look_at(tmp_path / "x.wav")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    utterance = Utterance("u", tmp_path / "x.wav", "u", None)
    (tmp_path / "copies").mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(
            DataError, match=r"u\.\w+\.flac cannot be written \(.*\); make room, or name another --data"
        ):
            convert_audio({"train": [utterance]}, looks, tmp_path / "copies", 8000, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in (tmp_path / "copies").iterdir() if path.suffix == ".flac"]
    assert convert.convert_audio({"train": [utterance]}, looks, tmp_path / "copies", 8000, 1)
