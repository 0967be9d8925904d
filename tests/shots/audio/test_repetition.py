"""What repeats in a song: closed forms, and a song whose parts are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.errors import ConfigError
from seqkd.shots.audio.features import SongFeatureSettings, analyse
from seqkd.shots.audio.repetition import repeats, repetition_columns
from seqkd.shots.audio.spectrum import HOPS, RATE
from seqkd.shots.audio.structure import Section
from tests.shots.audio.test_features import clicks

PARTS = "ABABCB"
LENGTH = 20  # seconds of a part


def a_song(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[Section]]:
    """Parts that are alike where their letters are: described (T, 26), chroma, loudness, beats and sections."""
    blocks = {letter: (rng.standard_normal((LENGTH, 26)), rng.random((2 * LENGTH, 12))) for letter in "ABC"}
    described = np.concatenate([blocks[letter][0] for letter in PARTS])
    chroma = np.repeat(np.concatenate([blocks[letter][1] for letter in PARTS]), HOPS // 2, axis=0)
    loudness = np.repeat([{"A": -10.0, "B": -2.0, "C": -20.0}[letter] for letter in PARTS], LENGTH)
    edges = LENGTH * np.arange(len(PARTS) + 1.0)
    sections = [Section(*span) for span in zip(edges[:-1], edges[1:], PARTS, strict=True)]
    return described, chroma, loudness, np.arange(0, len(described), 0.5), sections


def test_parts_that_come_again_are_known() -> None:
    described, chroma, loudness, beats, sections = a_song(np.random.default_rng(0))
    found = repetition_columns(described, chroma, loudness, beats, sections)
    assert all(column.shape == (120,) and np.isfinite(column).all() for column in found.values())
    inside = (np.arange(120) % LENGTH >= 5) & (np.arange(120) % LENGTH < 15)
    part = np.array(list(PARTS))[np.arange(120) // LENGTH]
    again, last = np.arange(120) >= 2 * LENGTH, np.arange(120) >= 4 * LENGTH
    for name in ("harmony", "timbre"):
        past, future, lag = (found[f"{name}_{what}"] for what in ("past", "future", "lag"))
        assert past[inside & again & (part != "C")] == pytest.approx(1, abs=1e-5)
        assert past[inside & (~again | (part == "C"))].max() < 0.8
        assert future[inside & ~again] == pytest.approx(1, abs=1e-5)
        assert future[inside & (last | (part == "A") & again)].max() < 0.8
        assert np.expm1(lag[inside & again & (part != "C")]) == pytest.approx(2 * LENGTH)
        often = found[f"{name}_often"]
        assert often[inside & (part == "B")].mean() > often[inside & (part == "C")].mean()
    middle = inside & (np.arange(120) % LENGTH >= 9) & (np.arange(120) % LENGTH < 11)
    assert found["loudness_rank"][middle & (part == "B")].min() > found["loudness_rank"][middle & (part == "A")].max()
    assert found["section_share"][50] == pytest.approx(2 / 6) and found["section_share"][70] == pytest.approx(3 / 6)
    assert found["section_loudness"][[10, 30, 90]] == pytest.approx([0.5, 5 / 6, 1 / 6])
    assert np.expm1(found["section_seen"][[10, 30, 50, 110]]) == pytest.approx([0, 0, 1, 2])
    assert np.expm1(found["section_times"][[10, 30, 90]]) == pytest.approx([2, 3, 1])
    assert np.expm1(found["section_from_end"][[10, 110]]) == pytest.approx([5, 0])


def test_harmony_does_not_depend_on_the_tempo() -> None:
    """The same chords, a beat each, faster the second time; the clock does not find them again."""
    rng = np.random.default_rng(1)
    chords = rng.random((64, 12))
    beats = np.r_[np.arange(0, 32, 0.5), 32 + np.arange(0, 25.6, 0.4)]
    hops = np.clip(np.searchsorted(beats, np.arange(57 * HOPS) / HOPS, "right") - 1, 0, 127)
    chroma, described = np.concatenate([chords, chords])[hops], rng.standard_normal((57, 26))
    sections = [Section(0.0, 57.6, "A")]
    by_beat = repetition_columns(described, chroma, np.zeros(57), beats, sections)["harmony_past"]
    by_clock = repetition_columns(described, chroma, np.zeros(57), np.zeros(0), sections)["harmony_past"]
    assert by_beat[37:52].mean() > 0.85 > 0.6 > by_clock[37:52].mean()


def test_repeats_in_closed_form() -> None:
    rows = np.eye(40, dtype=np.float32)
    rows[25] = rows[5]
    past, future, often, lag = repeats(rows, np.arange(40))
    assert np.flatnonzero(past).tolist() == [25] and np.flatnonzero(future).tolist() == [5]
    assert np.expm1(lag[25]) == pytest.approx(20)
    assert often[25] == pytest.approx(1 / round(0.1 * (16 + 5)))
    assert all(not column.any() for column in repeats(np.eye(8, dtype=np.float32), np.arange(8)))


def test_it_is_a_variant_of_the_features(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", clicks(24, 118), RATE)
    plain = analyse(tmp_path / "a.wav")
    more = analyse(tmp_path / "a.wav", settings=SongFeatureSettings(structure="repetition"))
    assert more.names[: len(plain.names)] == plain.names
    np.testing.assert_array_equal(more.frames[:, : len(plain.names)], plain.frames)
    added = more.names[len(plain.names) :]
    assert len(added) == 19 and "harmony_past" in added and "section_share" in added
    with pytest.raises(ConfigError, match="structure"):
        SongFeatureSettings(structure="chorus")


def test_a_second_of_song_and_silence(tmp_path: Path) -> None:
    for name, samples in (("short", clicks(1.2, 118)), ("silence", np.zeros(14 * RATE))):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE)
        track = analyse(tmp_path / f"{name}.wav", settings=SongFeatureSettings(structure="repetition"))
        assert np.isfinite(track.frames).all()
