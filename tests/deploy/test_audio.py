"""Reading recordings of any kind, and cutting long ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.deploy.audio import LONGEST, WINDOW, cut, quietest, read_blocks, read_pieces, seconds
from seqkd.errors import DataError

RATE = 1000


def tone(duration: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(duration * rate)) / rate)


def blocks(samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (samples[start : start + size] for start in range(0, len(samples), size))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 12_000), st.integers(1, 5000), st.sampled_from([1.0, 2.5]), st.integers(0, 5))
def test_pieces_are_the_stream(length: int, size: int, longest: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = (rng.standard_normal(length) * rng.choice([0, 1], length)).astype(np.float32)
    pieces = list(cut(blocks(samples, size), RATE, longest))
    assert np.array_equal(np.concatenate([np.zeros(0), *(piece.samples for piece in pieces)]), samples)
    heard = 0
    for piece in pieces:
        assert piece.start == pytest.approx(heard / RATE)
        assert 0 < len(piece.samples) <= longest * RATE
        heard += len(piece.samples)
    for piece in pieces[:-1]:
        assert len(piece.samples) >= longest * RATE / 2
    # How the stream was chopped up does not matter.
    again = [len(piece.samples) for piece in cut(blocks(samples, 777), RATE, longest)]
    assert [len(piece.samples) for piece in pieces] == again


def test_the_beginning_of_a_recording_is_checked_as_the_whole(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 300 * np.arange(40 * 16_000) / 16_000)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([tone, -tone], 1), 16_000)
    with pytest.raises(DataError, match="channels that cancel each other"):
        list(read_blocks(path, 8000, longest=1.0))
    soundfile.write(path, tone, 16_000)
    whole, part = (np.concatenate(list(read_blocks(path, 8000, longest=longest))) for longest in (math.inf, 2.0))
    assert 8000 * 2 <= len(part) < len(whole) == 8000 * 40
    np.testing.assert_array_equal(part[:8000], whole[:8000])


def test_it_cuts_in_the_silence() -> None:
    samples = np.ones(10_000, np.float32)
    for begin in (1300, 3100, 3900):
        samples[begin : begin + 250] = 0.001
    starts = [piece.start for piece in cut([samples], RATE, 2.0)]
    for start, silence in zip(starts[1:3], (1.3, 3.1), strict=True):
        assert silence + WINDOW / 2 - 0.02 <= start <= silence + 0.25 - WINDOW / 2 + 0.02


def test_the_quietest_place_by_looking_everywhere() -> None:
    samples = np.random.default_rng(0).standard_normal(4000)
    window = round(WINDOW * RATE)
    energy = {at: np.sum(samples[at : at + window] ** 2) for at in range(2000, 4000 - window, 10)}
    assert quietest(samples, RATE) == min(energy, key=energy.__getitem__) + window // 2


def test_where_all_is_as_quiet_pieces_are_long() -> None:
    first, *_ = cut([np.ones(5000, np.float32)], RATE, 2.0)
    assert len(first.samples) == 2000 - round(WINDOW * RATE / 2)


def test_a_recording_of_just_the_limit_is_one_piece() -> None:
    samples = np.ones(2000, np.float32)
    assert len(list(cut(blocks(samples, 300), RATE, 2.0))) == 1
    assert len(list(cut(blocks(np.ones(2001, np.float32), 300), RATE, 2.0))) == 2


def test_little_of_a_long_recording_is_held() -> None:
    given_out = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal given_out
        while True:
            given_out += 500
            yield np.ones(500, np.float32)

    pieces = cut(endless(), RATE, 2.0)
    used = sum(len(next(pieces).samples) for _ in range(50))
    assert given_out - used <= 2000 + 500


@pytest.mark.parametrize(("rate", "channels", "suffix"), [(8000, 1, "wav"), (44100, 2, "flac"), (11025, 3, "wav")])
def test_any_rate_and_number_of_channels(tmp_path: Path, rate: int, channels: int, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    levels = np.arange(1, channels + 1) / np.arange(1, channels + 1).mean()
    soundfile.write(path, tone(1.5, rate)[:, None] * levels, rate)
    (piece,) = read_pieces(path, 16000)
    assert len(piece.samples) == pytest.approx(24000, abs=2)
    assert piece.samples.dtype == np.float32
    expected = tone(1.5, 16000)[: len(piece.samples)]
    middle = slice(800, -800)  # resampling rings at the edges
    assert np.abs(piece.samples[: len(expected)] - expected)[middle].max() < 1e-3


def test_progress_adds_up(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(25.0, 8000), 8000)
    read: list[float] = []
    assert sum(len(block) for block in read_blocks(path, 8000, read.append)) == 200_000
    assert sum(read) == pytest.approx(25.0) == seconds(path)
    assert seconds(tmp_path / "none.wav") == 0.0


def nan_wav(path: Path) -> None:
    samples = tone(2.0, 8000)
    samples[12_000] = np.nan
    soundfile.write(path, samples, 8000, subtype="FLOAT")


BAD = {
    "cannot be read as audio (it does not exist); expected a wav, flac, ogg or mp3 file": lambda path: None,
    "cannot be read as audio (it is a directory); expected a wav, flac, ogg or mp3 file": Path.mkdir,
    "cannot be read as audio (": lambda path: path.write_text("not audio"),
    "holds no samples; expected a recording of speech": lambda path: soundfile.write(path, np.zeros(0), 8000),
    "has a sample that is no number at 1.50 s; write the audio again": nan_wav,
}


@pytest.mark.parametrize("says", BAD)
def test_bad_recordings(tmp_path: Path, says: str) -> None:
    path = tmp_path / "x.wav"
    BAD[says](path)
    with pytest.raises(DataError) as caught:
        list(read_pieces(path, 8000))
    assert str(caught.value).startswith(f"{path} {says}")


def test_a_flac_that_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(8000 * 60), 8000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"x.flac (breaks off at|is damaged after) \d+\.\d s"):
        list(read_pieces(path, 8000))
    assert LONGEST < 60
