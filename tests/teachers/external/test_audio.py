from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from seqkd.data.kaldi import Utterance, write_data_dir
from seqkd.errors import ConfigError, DataError
from seqkd.teachers.external.audio import Speech, check_rate, read_speech

RATE = 16000


def tone(seconds: float, hertz: float = 440.0, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Utterances a, b, c of .5, .4 and .3 s."""
    made = []
    for name, seconds in {"a": 0.5, "b": 0.4, "c": 0.3}.items():
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, tone(seconds), RATE, subtype="FLOAT")
        made.append(Utterance(name, path, name, None))
    write_data_dir(tmp_path / "set", made)
    return tmp_path / "set"


def test_utterances_come_in_the_order_that_is_asked(data: Path) -> None:
    found = list(read_speech(data, ["c", "a"], RATE))
    assert [one.id for one in found] == ["c", "a"]
    assert [one.sample_rate for one in found] == [RATE, RATE]
    assert torch.equal(found[1].samples, torch.from_numpy(tone(0.5)))
    assert [one.id for one in read_speech(data, None, RATE)] == ["a", "b", "c"]


def test_several_directories(data: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "bb.wav", tone(0.1), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "c2.wav", tone(0.2), RATE, subtype="FLOAT")
    others = [Utterance("bb", tmp_path / "bb.wav", "b", None), Utterance("c", tmp_path / "c2.wav", "c", None)]
    write_data_dir(tmp_path / "more", others)
    found = {one.id: len(one.samples) for one in read_speech([data, tmp_path / "more"], ["bb", "a", "c", "b"], RATE)}
    assert list(found.items()) == [("bb", 1600), ("a", 8000), ("c", 4800), ("b", 6400)]
    assert [one.id for one in read_speech([data, tmp_path / "more"], None, RATE)] == ["a", "b", "bb", "c"]
    with pytest.raises(DataError) as caught:
        read_speech([data, tmp_path / "more"], ["x"], RATE)
    assert str(caught.value) == (f"utterance 'x' is not in {data} and {tmp_path}/more; name the directory that has it")


def test_segments(data: Path) -> None:
    (data / "segments").write_text("u1 a 0.1 0.3\nu2 a 0.25 0.5\nu3 c 0 0.3\n")
    (data / "utt2spk").write_text("u1 u\nu2 u\nu3 u\n")
    (data / "spk2utt").unlink()
    found = {one.id: one.samples for one in read_speech(data, None, RATE)}
    whole = torch.from_numpy(tone(0.5))
    assert torch.equal(found["u1"], whole[1600:4800])
    assert torch.equal(found["u2"], whole[4000:8000])
    assert len(found["u3"]) == 4800


def test_audio_is_brought_to_the_teachers_rate(data: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        down = next(read_speech(data, ["a"], 8000))
    assert down.sample_rate == 8000
    expected = torch.from_numpy(tone(0.5, rate=8000))
    assert len(down.samples) == len(expected)
    assert float((down.samples - expected)[200:-200].abs().max()) < 1e-3  # but for the ends


def test_audio_with_less_than_the_teacher_is_used_to_is_worth_one_warning(data: Path) -> None:
    with pytest.warns(UserWarning) as caught:
        found = list(read_speech(data, None, 24000))
    assert [str(one.message) for one in caught] == [
        f"{data}: audio of 16000 Hz is resampled to the teacher's 24000 Hz; it has nothing above 8000 Hz, which the "
        "teacher is used to, so check the teacher's WER on it."
    ]
    assert [len(one.samples) for one in found] == [12000, 9600, 7200]


def test_no_audio_is_read_for_a_teacher_that_does_not_listen(data: Path) -> None:
    (data.parent / "a.wav").write_bytes(b"broken")
    assert [(one.id, len(one.samples), one.sample_rate) for one in read_speech(data, ["a"], None)] == [("a", 0, None)]


def test_an_utterance_that_is_not_there(data: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_speech(data, ["a", "x"], RATE)
    assert str(caught.value) == f"utterance 'x' is not in {data}; name the directory that has it"


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((100, 2), np.float32), "has 2 channels, expected one; mix them down or pick one"),
        (np.zeros(0, np.float32), "has no samples; remove the utterance or write its audio again"),
        (np.array([0, np.nan], np.float32), "has samples that are no finite numbers; write the audio again"),
    ],
)
def test_audio_that_no_teacher_can_hear(data: Path, samples: np.ndarray, message: str) -> None:
    soundfile.write(data.parent / "b.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(DataError) as caught:
        list(read_speech(data, None, RATE))
    assert str(caught.value) == f"utterance 'b', {data}/../b.wav: {message}"


def test_audio_that_cannot_be_read(data: Path) -> None:
    (data.parent / "b.wav").write_bytes(b"no audio at all")
    with pytest.raises(DataError) as caught:
        list(read_speech(data, None, RATE))
    assert str(caught.value).startswith(f"utterance 'b', {data}/../b.wav: cannot be read as audio (")
    assert str(caught.value).endswith("); write the audio again")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("b.flac", r"cannot be read as audio \(.+\); write the audio again"),
        (
            "b.mp3",
            r"breaks off: its header promises [\d,]+ bytes of sound, and [\d,]+ are there; write the audio again",
        ),
    ],
)
def test_truncated_audio(data: Path, name: str, message: str) -> None:
    path = data.parent / name
    soundfile.write(path, tone(2.0, 800.0), RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    (data / "wav.scp").write_text((data / "wav.scp").read_text().replace("b.wav", name))
    with pytest.raises(DataError, match=rf"^utterance 'b', .*/{name}: {message}$"):
        list(read_speech(data, ["b"], RATE))


def test_another_rate_names_both_sides() -> None:
    with pytest.raises(ConfigError) as caught:
        check_rate(Speech("a", torch.zeros(80), 8000), 16000, "base")
    assert str(caught.value) == "utterance 'a' has 8000 Hz and base takes 16000 Hz; give it speech at its own rate"
    with pytest.raises(ConfigError) as caught:
        check_rate(Speech("a", torch.zeros(0), None), 16000, "base")
    assert str(caught.value) == "utterance 'a' was not read and base takes 16000 Hz; give it speech at its own rate"
