"""Features of songs: what they say of music that is known, of odd files, and how they are kept."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.errors import DataError
from seqkd.shots.audio import beats as beats_module
from seqkd.shots.audio.beats import (
    LEAST_CONFIDENCE,
    beat_columns,
    beat_confidence,
    find_downbeats,
    tempo_of,
    track_beats,
)
from seqkd.shots.audio.compiled import load_librosa
from seqkd.shots.audio.features import (
    SongFeatureSettings,
    Track,
    analyse,
    load_track,
    make_features,
    read_features,
    save_track,
)
from seqkd.shots.audio.spectrum import HOPS, RATE, measure
from seqkd.shots.audio.structure import describe, find_sections, novelty
from seqkd.shots.audio.tagger import read_tagger
from seqkd.shots.data import Song, write_songs
from tests.shots.real_music import require


def clicks(seconds: float, tempo: float, rate: int = RATE) -> np.ndarray:
    """Noise bursts on every beat, a low thump on every fourth, over a chord that changes with the bar."""
    rng = np.random.default_rng(0)
    times = np.arange(int(seconds * rate)) / rate
    samples = np.zeros(len(times))
    for number, beat in enumerate(np.arange(0, seconds, 60 / tempo)):
        at = int(beat * rate)
        tail = times[: min(int(0.2 * rate), len(times) - at)]
        samples[at : at + len(tail)] += 0.3 * rng.standard_normal(len(tail)) * np.exp(-tail / 0.02)
        if number % 4 == 0:
            samples[at : at + len(tail)] += 0.8 * np.sin(2 * np.pi * 70 * tail) * np.exp(-tail / 0.08)
            bar = slice(at, at + int(240 / tempo * rate))
            pitch = 220 * 2 ** ((number // 4 * 5 % 12) / 12)
            samples[bar] += 0.1 * np.sin(2 * np.pi * pitch * times[bar])
    return samples


@pytest.fixture
def song(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "song.wav", clicks(40, 118), RATE)
    return tmp_path / "song.wav"


def columns(track: Track) -> dict[str, np.ndarray]:
    return dict(zip(track.names, track.frames.T, strict=True))


def test_tempo_beats_and_bars_are_found(song: Path) -> None:
    told: list[tuple[str, float]] = []
    track = analyse(song, progress=lambda what, share: told.append((what, share)))
    assert track.frames.shape == (40, len(track.names)) and track.frames.dtype == np.float32
    assert len(set(track.names)) == len(track.names)
    assert track.tempo == pytest.approx(118, rel=0.01)
    beats = np.arange(0, 40, 60 / 118)
    assert np.mean([np.abs(track.beats - beat).min() < 0.05 for beat in beats]) > 0.9
    late = [track.beats[np.abs(track.beats - beat).argmin()] - beat for beat in beats]
    assert abs(np.median(late)) < 0.02  # a hop: neither early nor late on the whole
    assert np.mean([np.abs(track.downbeats - beat).min() < 0.05 for beat in beats[::4]]) > 0.9
    assert set(track.downbeats) <= set(track.beats)
    assert (track.sections[0].start, track.sections[-1].end) == (0.0, track.duration)
    assert told[0] == ("loading librosa", 0.0) and told[-1] == ("done", 1.0)
    assert ("reading", 1.0) in told


def test_a_row_describes_its_own_second(tmp_path: Path) -> None:
    """A burst in second 7 is in row 7, and pitches are in their pitch class."""
    samples = 0.01 * np.random.default_rng(0).standard_normal(12 * RATE)
    samples[7 * RATE : 8 * RATE] += np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    found = columns(analyse(tmp_path / "a.wav"))
    assert found["loudness_max"].argmax() == 7 and found["loudness_mean"].argmax() == 7
    assert np.argmax([found[f"chroma_{k:02d}"][7] for k in range(12)]) == 9  # an A, counted from C
    assert found["onset_max"].argmax() in (6, 7)
    np.testing.assert_allclose(found["song_position"], (np.arange(12) + 0.5) / 12)


def test_blocks_leave_no_seam(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure(song, 40)
    monkeypatch.setattr("seqkd.shots.audio.spectrum._BLOCK", 7)
    parts = measure(song, 40)
    for name in ("mel", "contrast", "chroma", "loudness", "onsets", "low_onsets", "rises"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=2e-3, err_msg=name)
    assert len(whole.onsets) == 40 * HOPS


def test_librosa_agrees(song: Path) -> None:
    """The block-wise spectrum is librosa's own."""
    librosa = load_librosa()

    samples, _ = soundfile.read(song, dtype="float32")
    mel = librosa.feature.melspectrogram(y=samples, sr=RATE, n_fft=2048, hop_length=441, n_mels=40)
    expected = 10 * np.log10(np.maximum(mel, 1e-10))
    means = expected[:, : 40 * HOPS].reshape(40, 40, HOPS).mean(axis=2).T
    # librosa's stft pads with zeros at the beginning as we do; its centred end differs in the last hop at most.
    np.testing.assert_allclose(measure(song, 40).mel[:-1], means[:-1], atol=0.01)


def test_levels_are_relative_to_the_song(song: Path, tmp_path: Path) -> None:
    samples, _ = soundfile.read(song)
    samples += 0.001 * np.random.default_rng(0).standard_normal(len(samples))  # no recording is free of noise
    soundfile.write(tmp_path / "quiet.wav", samples / 10, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "same.wav", samples, RATE, subtype="FLOAT")
    quiet, same = analyse(tmp_path / "quiet.wav"), analyse(tmp_path / "same.wav")
    difference = np.abs(quiet.frames - same.frames).mean(axis=0)
    assert all(value < 0.5 for name, value in zip(same.names, difference, strict=True) if name != "tempo")
    np.testing.assert_array_equal(quiet.beats, same.beats)


@pytest.mark.parametrize(
    ("rate", "channels", "name"), [(8000, 1, "a.wav"), (44100, 2, "a.flac"), (48000, 2, "a.mp3"), (22050, 1, "a.ogg")]
)
def test_rates_channels_and_formats(rate: int, channels: int, name: str, tmp_path: Path) -> None:
    samples = clicks(20, 118, rate)
    soundfile.write(tmp_path / name, np.tile(samples[:, None], channels), rate)
    track = analyse(tmp_path / name)
    assert np.isfinite(track.frames).all() and len(track.frames) in (20, 21)
    assert track.tempo == pytest.approx(118, rel=0.02)


def test_silence_speech_and_a_snippet(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(30 * RATE), RATE)
    track = analyse(tmp_path / "silence.wav")
    assert len(track.beats) == len(track.downbeats) == 0 and track.tempo == 0
    assert [section.label for section in track.sections] == ["A"]
    assert np.isfinite(track.frames).all()

    rng = np.random.default_rng(0)
    speech = np.repeat(rng.random(75) ** 2, 0.2 * RATE) * rng.standard_normal(15 * RATE) * 0.1  # syllables of noise
    soundfile.write(tmp_path / "speech.wav", speech, RATE)
    assert np.isfinite(analyse(tmp_path / "speech.wav").frames).all()

    soundfile.write(tmp_path / "snippet.wav", clicks(2, 120), RATE)
    track = analyse(tmp_path / "snippet.wav")
    assert track.frames.shape[0] == 2 and np.isfinite(track.frames).all()
    assert track.sections[-1].end == pytest.approx(2)


def sound_of(kind: str, seconds: int = 40) -> np.ndarray:
    """Sounds with a beat and without."""
    rng, times = np.random.default_rng(0), np.arange(seconds * RATE) / RATE
    noise = 0.1 * rng.standard_normal(len(times))
    if kind == "chords of an organ":
        chords = [220 * 2 ** (rng.integers(0, 12) / 12) for _ in range(2 * seconds)]
        fade = np.minimum(1, np.minimum(times % 0.5, 0.5 - times % 0.5) / 0.02)
        pitches = np.repeat(chords, RATE // 2)
        return 0.1 * fade * sum(np.sin(2 * np.pi * pitches * part * times) for part in (1, 1.25, 1.5, 2, 3))
    if kind == "two tempos":
        return np.concatenate([clicks(seconds / 2, 118), clicks(seconds / 2, 150)])
    if kind == "clicks in noise":
        return clicks(seconds, 118) + 3 * noise
    if kind == "clicks at random":
        track = np.zeros(len(times))
        track[rng.integers(0, len(times), 2 * seconds)] = 1
        return np.convolve(track, np.exp(-np.arange(RATE // 5) / 400))[: len(times)] * 10 * noise
    tones = {
        "tone": (440.0,), "chord": (220.0, 277.2, 329.6), "noise": (), "faint noise": (440.0,), "fade": (441.37,),
    }  # fmt: skip
    sound = 0.1 * sum((np.sin(2 * np.pi * pitch * times) for pitch in tones[kind]), start=0 * times)
    if "noise" in kind:
        sound += noise * (1 if kind == "noise" else 0.001)
    return sound * np.minimum(1, (seconds - times) / 5) if kind == "fade" else sound


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("tone", 0.0, 0.05), ("chord", 0.0, 0.05), ("fade", 0.0, 0.05), ("faint noise", 0.0, 0.05),
        ("noise", 0.0, 0.1), ("clicks at random", 0.0, 0.1),
        ("clicks in noise", 0.2, 0.6), ("chords of an organ", 0.6, 1.0), ("two tempos", 0.5, 1.0),
    ],
)  # fmt: skip
def test_there_is_a_beat_where_sound_repeats(kind: str, low: float, high: float, tmp_path: Path) -> None:
    """The tracker finds beats in all of them."""
    soundfile.write(tmp_path / "a.wav", sound_of(kind), RATE)
    track = analyse(tmp_path / "a.wav")
    assert low <= track.confidence <= high
    assert (len(track.beats) > 50) == (track.tempo > 0) == (low > LEAST_CONFIDENCE)
    assert any(columns(track)["beats"]) == (low > LEAST_CONFIDENCE)
    if not len(track.beats):
        assert len(track_beats(measure(tmp_path / "a.wav", 40).onsets)) > 50


def test_a_confidence_in_closed_form() -> None:
    """Ones on every beat of 25 hops repeat to the full, and half as much where only every second beat sounds."""
    beats = np.arange(0, 30, 0.5)
    rises = np.zeros(30 * HOPS)
    rises[:: HOPS // 2] = 5.0
    assert beat_confidence(beats, rises) == pytest.approx(1, abs=0.01)
    assert beat_confidence(beats, rises / 10) == pytest.approx(0.5, abs=0.01)  # of half a dB
    rises[HOPS // 2 :: HOPS] = 0
    assert beat_confidence(beats, rises) == pytest.approx(0.5, abs=0.03)
    assert beat_confidence(beats[:3], rises) == beat_confidence(beats, 0 * rises) == 0


@pytest.mark.parametrize(
    ("gains", "level"), [((1, -1), 1), ((1, 1), 1), ((-1, 0.9), 0.95), ((1, -1, 1, -1), 1), ((-1, 0.5), 0.25)]
)
def test_channels_do_not_cancel(gains: tuple[float, ...], level: float, tmp_path: Path) -> None:
    """Channels of opposite phase are turned round before they are added; the last pair does not cancel."""
    sound = clicks(25, 118)
    soundfile.write(tmp_path / "mono.wav", sound, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "a.wav", sound[:, None] * np.array(gains), RATE, subtype="FLOAT")
    mono, found = (measure(tmp_path / name, 40).loudness for name in ("mono.wav", "a.wav"))
    loud = mono > -60
    np.testing.assert_allclose(found[loud], mono[loud] + 20 * np.log10(level), atol=0.01)


def test_channels_are_turned_without_a_step(tmp_path: Path) -> None:
    """Opposite phase in the middle of a song, and silence in between."""
    tone = 0.3 * np.sin(2 * np.pi * 441 * np.arange(60 * RATE) / RATE)
    pair = np.stack([tone, tone], axis=1)
    pair[20 * RATE : 40 * RATE, 1] *= -1
    pair[30 * RATE : 32 * RATE] = 0
    soundfile.write(tmp_path / "a.wav", pair, RATE, subtype="FLOAT")
    found = measure(tmp_path / "a.wav", 40)
    level = found.loudness.reshape(60, HOPS)[:, 5:-5]
    assert level[31].max() < -90
    assert np.delete(level, (30, 31), axis=0).min() > -15


def test_silent_stretches_have_no_beats(tmp_path: Path) -> None:
    samples = clicks(40, 120)
    samples[15 * RATE : 30 * RATE] = 0
    soundfile.write(tmp_path / "pause.wav", samples, RATE)
    track = analyse(tmp_path / "pause.wav")
    assert not ((track.beats > 18) & (track.beats < 27)).any()
    assert (track.beats < 15).sum() > 20 and (track.beats > 30).sum() > 12


def test_long_songs_are_tracked_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats do not depend on where the windows meet, but for the tracker's own wavering."""
    rng = np.random.default_rng(0)
    onsets = 0.05 * rng.random(120 * HOPS)
    true = np.arange(0.5, 119.5, 0.5)
    onsets[np.round(true * HOPS).astype(int)] += 1
    whole = track_beats(onsets)
    monkeypatch.setattr(beats_module, "_WINDOW", 40 * HOPS)
    parts = track_beats(onsets)
    assert np.abs(parts[:, None] - true).min(axis=0).max() < 0.05
    assert len(parts) == pytest.approx(len(whole), abs=2)
    assert (np.diff(parts) > 0.3).all()
    assert tempo_of(parts) == pytest.approx(120, rel=0.01)


def test_bars_survive_a_beat_too_many() -> None:
    beats = np.arange(0, 60, 0.5)
    low, chroma = np.zeros(60 * HOPS), np.full((60 * HOPS, 12), 0.5)
    first = beats[::4]
    low[np.round(first * HOPS).astype(int)] = 1
    assert find_downbeats(beats, low, chroma).tolist() == first.tolist()
    extra = np.sort(np.append(beats, 30.25))  # the tracker adds one
    found = find_downbeats(extra, low, chroma)
    assert np.mean(np.isin(first, found)) > 0.85
    assert find_downbeats(beats[:5], low, chroma).size == 0


def test_beat_columns_in_closed_form() -> None:
    found = beat_columns(np.arange(0, 8, 0.8), np.arange(0, 8, 3.2), 8)
    assert found["tempo"][:7] == pytest.approx(75.0)
    phase = 2 * np.pi * (np.arange(7) + 0.5) / 0.8
    np.testing.assert_allclose(found["beat_sin"][:7], np.sin(phase[:7]), atol=1e-9)
    np.testing.assert_allclose(found["bar_cos"], np.cos(2 * np.pi * (np.arange(8) + 0.5) / 3.2), atol=1e-9)
    assert found["beats"].tolist() == [2, 1, 1, 1, 2, 1, 1, 1]
    assert found["downbeats"].tolist() == [1, 0, 0, 1, 0, 0, 1, 0]
    assert not any(column.any() for column in beat_columns(np.zeros(0), np.zeros(0), 5).values())


def test_sections_begin_where_the_sound_changes() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.standard_normal((2, 20))
    order = (0, 1, 0)
    features = np.concatenate([blocks[k] + 0.3 * rng.standard_normal((30, 20)) for k in order])
    features -= features.mean(axis=0)
    curve = novelty(features)
    assert curve.shape == (90,) and curve.min() >= 0 and curve.max() <= 1
    sections = find_sections(features, curve, 90.0, np.array([29.5, 61.4]))
    assert [section.label for section in sections] == ["A", "B", "A"]
    assert [section.start for section in sections] == [0.0, 29.5, 60.0]  # the second bar is too far to move to


def test_novelty_is_the_checkerboard_on_the_whole_matrix() -> None:
    """The band gives what Foote's definition gives on all of the self-similarity."""
    features = np.random.default_rng(1).standard_normal((300, 5))
    half = 6
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similar = np.pad(unit, ((half, half), (0, 0)), mode="edge")
    similar = similar @ similar.T
    offsets = np.arange(-half, half) + 0.5
    side = np.sign(offsets) * np.exp(-0.5 * (offsets / (half / 2)) ** 2)
    kernel = np.outer(side, side) / np.abs(np.outer(side, side)).sum()
    expected = [(kernel * similar[t : t + 2 * half, t : t + 2 * half]).sum() for t in range(300)]
    np.testing.assert_allclose(novelty(features, half), np.maximum(expected, 0), atol=1e-12)
    assert describe(np.zeros((3, 40)), np.zeros((3, 12)), np.zeros(3)).shape == (3, 26)


def test_memory_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    """Ten minutes more cost what their hops take, not what their samples do (53 MB)."""
    peaks = []
    for minutes in (2, 12):
        with soundfile.SoundFile(tmp_path / "long.wav", "w", 8000, 1) as sound:
            for _ in range(minutes):
                sound.write(clicks(60, 120, 8000))
        tracemalloc.start()
        measure(tmp_path / "long.wav", 40)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 10e6


def test_features_are_kept_and_made_again_only_when_needed(song: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.wav"
    soundfile.write(other, clicks(12, 100), RATE)
    write_songs(tmp_path / "set", [Song("a", song), Song("b", other)])
    assert make_features(tmp_path / "set", nj=2) == 2
    files = {key: tmp_path / "set" / "features" / f"{key}.safetensors" for key in "ab"}
    made = {key: file.stat().st_mtime_ns for key, file in files.items()}
    found = read_features(tmp_path / "set")
    np.testing.assert_array_equal(found["a"].frames, analyse(song).frames)
    assert found["a"].sections == analyse(song).sections

    soundfile.write(other, clicks(14, 100), RATE)
    (tmp_path / "set" / "features" / "done.json").unlink()
    (tmp_path / "set" / "features" / ".tmp-half").write_bytes(b"x")
    make_features(tmp_path / "set", nj=1)
    assert files["a"].stat().st_mtime_ns == made["a"]
    assert len(read_features(tmp_path / "set")["b"].frames) == 14
    assert sorted(path.name for path in files["a"].parent.iterdir()) == ["a.safetensors", "b.safetensors", "done.json"]
    make_features(tmp_path / "set", SongFeatureSettings(mel_bands=24))
    assert files["a"].stat().st_mtime_ns != made["a"]


def test_a_track_comes_back_as_it_was(song: Path, tmp_path: Path) -> None:
    track = analyse(song)
    save_track(tmp_path / "t.safetensors", track, "mark")
    found = load_track(tmp_path / "t.safetensors")
    for name in ("frames", "beats", "downbeats"):
        np.testing.assert_array_equal(getattr(found, name), getattr(track, name))
    assert (found.names, found.sections, found.duration, found.tempo) == (
        track.names, track.sections, track.duration, track.tempo)  # fmt: skip
    (tmp_path / "t.safetensors").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"t\.safetensors is missing or damaged .* run ./run.sh --stage prepare"):
        load_track(tmp_path / "t.safetensors")


def test_a_tagger_adds_its_columns(song: Path, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((400, 3))  # ten a second
    np.save(tmp_path / "song.npy", rows)
    found, names = read_tagger(tmp_path / "song.npy", 40.0)
    assert names == ["tag_000", "tag_001", "tag_002"]
    np.testing.assert_allclose(found, rows.reshape(40, 10, 3).mean(axis=1))
    (tmp_path / "slow.csv").write_text("rock,pop\n" + "".join(f"{k / 10},{1 - k / 10}\n" for k in range(10)))
    found, names = read_tagger(tmp_path / "slow.csv", 40.0)  # one row every four seconds
    assert names == ["tag_rock", "tag_pop"]
    np.testing.assert_allclose(found[:, 0], np.repeat(np.arange(10) / 10, 4))
    track = analyse(song, tagger=tmp_path / "slow.csv")
    assert track.names[-2:] == names
    np.testing.assert_allclose(track.frames[:, -2:], found, rtol=1e-6)

    write_songs(tmp_path / "set", [Song("song", song)])
    make_features(tmp_path / "set", SongFeatureSettings(tagger=str(tmp_path)))
    assert read_features(tmp_path / "set")["song"].names[-3:] == ["tag_000", "tag_001", "tag_002"]
    np.save(tmp_path / "song.npy", rows[:, :2])
    make_features(tmp_path / "set", SongFeatureSettings(tagger=str(tmp_path)))
    assert read_features(tmp_path / "set")["song"].names[-2:] == ["tag_000", "tag_001"]
    assert json.loads((tmp_path / "set" / "features" / "done.json").read_text())["settings"]["tagger"] == str(tmp_path)


def test_real_music() -> None:
    """A game's soundtrack: eight bars at 130 beats a minute last 14.8 s, where its parts begin."""
    tracks = {path.stem: analyse(path) for path in require()}
    assert len(tracks) == 6
    for name, track in tracks.items():
        assert np.isfinite(track.frames).all(), name
        assert len(track.frames) == -(-track.duration // 1), name
        assert track.tempo == pytest.approx(150 if "city" in name or "toy" in name else 130, rel=0.01), name
        assert len(track.beats) > 0.9 * track.duration * track.tempo / 60, name
    title = tracks["we_are_tumiki_fighters"]
    starts = np.array([section.start for section in title.sections])
    part = 8 * 4 * 60 / 130
    assert all(np.abs(starts - k * part).min() < 1.0 for k in (1, 2, 3))
