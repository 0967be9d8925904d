"""Made-up concerts: what can be heard, what is written, and that it depends on the settings alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora.songs.concerts import make_corpus, on_beats, plan_song
from seqkd.corpora.songs.instruments import voice
from seqkd.corpora.songs.songwriting import SECTIONS, context_of, write_score
from seqkd.corpora.songs.synth import render
from seqkd.errors import ConfigError
from seqkd.shots.audio.features import analyse
from seqkd.shots.audio.spectrum import RATE
from seqkd.shots.data import Shot, frame_classes, frame_count, read_songs, shots_of
from seqkd.shots.truth import read_bound, read_truth

SETS = {"train": {"songs": 2}, "test": {"songs": 1}}


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("concerts")
    make_corpus(folder, nj=1, seed=1, sets=SETS, seconds=[40, 50])
    return folder


def test_processes_and_interruptions_change_nothing(corpus: Path, tmp_path: Path) -> None:
    make_corpus(tmp_path, nj=3, seed=1, sets=SETS, seconds=[40, 50])
    assert digests(tmp_path) == digests(corpus)
    # What a killed run leaves: a song missing, another half-written, no tables.
    (tmp_path / "audio" / "train" / "train0001.flac").unlink()
    (tmp_path / "audio" / "train" / ".tmp-x.flac").write_bytes(b"fLaC")
    (tmp_path / "train" / "wav.scp").unlink()
    kept = tmp_path / "audio" / "train" / "train0000.flac"
    before = kept.stat().st_mtime_ns
    make_corpus(tmp_path, nj=1, seed=1, sets=SETS, seconds=[40, 50])
    assert digests(tmp_path) == digests(corpus)
    assert kept.stat().st_mtime_ns == before


def test_other_settings_make_other_songs(corpus: Path, tmp_path: Path) -> None:
    make_corpus(tmp_path, nj=1, seed=1, sets={"test": {"songs": 1}}, seconds=[40, 50], director={"stay": 4.0})
    audio = "audio/test/test0000.flac"
    assert digests(tmp_path)[audio] == digests(corpus)[audio]  # the director makes no sound
    assert digests(tmp_path)["test/shots.csv"] != digests(corpus)["test/shots.csv"]
    make_corpus(tmp_path, nj=1, seed=2, sets={"test": {"songs": 1}}, seconds=[40, 50])
    assert digests(tmp_path)[audio] != digests(corpus)[audio]


def test_no_song_is_in_two_sets(corpus: Path) -> None:
    sounds = [soundfile.read(path)[0][:200_000] for path in sorted(corpus.glob("audio/*/*.flac"))]
    for i, one in enumerate(sounds):
        for other in sounds[:i]:
            n = min(len(one), len(other))
            assert abs(np.corrcoef(one[:n], other[:n])[0, 1]) < 0.2


def test_lists_truth_and_audio_agree(corpus: Path) -> None:
    for name in SETS:
        truths = read_truth(corpus / name)
        for song in read_songs(corpus / name):
            duration = soundfile.info(song.audio).duration
            classes = truths[song.id].classes
            assert len(classes) == frame_count(duration)
            assert song.shots[-1].end == pytest.approx(duration)
            np.testing.assert_array_equal(frame_classes(song.shots, len(classes)), classes)
            # Cuts are on beats where a beat is near.
            beats = plan_song(1, name, int(song.id[-4:]), (40.0, 50.0)).beats
            inside = [cut.start for cut in song.shots[1:] if beats[0] < cut.start < beats[-1]]
            on = [np.abs(beats - cut).min() < 0.002 for cut in inside]
            assert np.mean(on) > 0.4
        assert 0.5 < read_bound(corpus / name).accuracy < 0.95


def test_cuts_move_to_beats_and_frames_keep_their_shots() -> None:
    classes = [0, 1, 1, 2, 0]
    moved = on_beats(shots_of(classes), np.array([0.9, 3.3, 3.85, 9.0]), 4.6)
    assert [shot.start for shot in moved] == [0.0, 0.9, 3.0, 3.85]
    assert moved[-1] == Shot(3.85, 4.6, "CU")
    assert frame_classes(moved, 5).tolist() == classes


@pytest.mark.parametrize("seed", range(4))
def test_what_is_played_can_be_heard(seed: int, tmp_path: Path) -> None:
    """librosa finds the beat; the singer, the energy and the applause are in the sound."""
    rng = np.random.default_rng(seed)
    score = write_score(rng, (50.0, 60.0))
    samples = render(score, rng)
    assert samples.dtype == np.float32 and 0.25 < np.abs(samples).max() < 0.95
    soundfile.write(tmp_path / "song.wav", samples, 22050)
    track = analyse(tmp_path / "song.wav")
    hit = np.mean([np.abs(track.beats - beat).min() < 0.07 for beat in score.beats])
    assert hit > 0.8
    heard, columns = context_of(score), dict(zip(track.names, track.frames.T, strict=True))
    applause = heard.section == SECTIONS.index("applause")
    assert columns["onset_std"][applause].mean() < columns["onset_std"][~applause].mean()
    loud, quiet = (columns["loudness_mean"][~applause & (heard.energy == level)] for level in (2, 0))
    if len(loud) > 3 and len(quiet) > 3:
        assert loud.mean() > quiet.mean() + 2


def test_the_song_is_heard_in_part(tmp_path: Path) -> None:
    """A linear probe of three seconds of features, on songs it has not seen: better than guessing, short of knowing."""
    rows, heard = [], []
    for seed in range(14):
        rng = np.random.default_rng([seed, 9])
        score = write_score(rng, (45.0, 50.0))
        soundfile.write(tmp_path / "song.wav", render(score, rng), 22050)
        frames = analyse(tmp_path / "song.wav").frames
        around = np.pad(frames, ((1, 1), (0, 0)), mode="edge")
        rows.append(np.concatenate([around[:-2], frames, around[2:], np.ones((len(frames), 1))], axis=1))
        heard.append(context_of(score))
    train, test = np.concatenate(rows[:10]), np.concatenate(rows[10:])
    spread = train.std(axis=0) + 1e-6
    train, test = train / spread, test / spread
    for name, classes in (("section", len(SECTIONS)), ("energy", 3), ("vocal", 2)):
        values = [getattr(context, name).astype(int) for context in heard]
        known, true = np.eye(classes)[np.concatenate(values[:10])], np.concatenate(values[10:])
        weights = np.linalg.solve(train.T @ train + 30 * np.eye(train.shape[1]), train.T @ known)
        accuracy = ((test @ weights).argmax(axis=1) == true).mean()
        guess = np.bincount(true).max() / len(true)
        assert guess + 0.1 < accuracy < 0.97, (name, guess, accuracy)


def test_songs_have_the_form_of_songs() -> None:
    seen = set()
    for seed in range(20):
        score = write_score(np.random.default_rng(seed), (70.0, 130.0))
        names = [bar.section for bar in score.bars if bar.number == 0]
        assert names[0] == "intro" and names[-1] == "outro" and "chorus" in names
        assert 60 < score.duration < 145
        assert np.allclose(np.diff([bar.start for bar in score.bars]), score.bar_seconds)
        seen |= {*names}
    assert seen == {*SECTIONS} - {"applause"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sets": {}}, "The corpus has no sets; name at least one under `sets`."),
        ({"sets": {"train": {}}}, "Set 'train' has no 'songs', the number of songs to make."),
        ({"sets": {"train": {"songs": 0}}}, "Set 'train': songs is 0, expected a number from 1 to 9999."),
        ({"seconds": [10, 20]}, "seconds is 10, expected a number from 40 to 3600."),
        ({"director": {"taste": -1}}, "director.taste is -1, expected a number from 0 to 20."),
        (
            {"director": {"mood": 1}},
            "director has unknown key 'mood'; known are downbeat, energy, jump, phrase, seed, sharpness, stay, taste, "
            "vocal.",
        ),
    ],
)
def test_wrong_settings(settings: dict[str, object], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        make_corpus(tmp_path, **{"nj": 1, "seed": 1, "sets": SETS} | settings)
    assert str(caught.value) == sentence
    assert not list(tmp_path.rglob("*.flac"))


def test_a_voice_has_its_pitch_and_its_vowels() -> None:
    """An open and a close vowel on one note: the same harmonics, each vowel's formants stronger in its own."""
    rng = np.random.default_rng(0)
    samples = voice([(0.0, 2.0, 57, 0), (2.0, 2.0, 57, 2)], 5 * RATE, rng)
    assert not samples[int(4.2 * RATE) :].any()
    hertz = np.fft.rfftfreq(RATE, 1 / RATE)
    harmonic = np.abs((hertz + 110) % 220 - 110) < 25  # of 220 Hz, with room for the vibrato
    shares = []
    for start in (0.5, 2.5):
        power = np.abs(np.fft.rfft(samples[int(start * RATE) :][:RATE] * np.hanning(RATE))) ** 2
        assert power[harmonic & (hertz < 1000)].sum() > 0.9 * power[hertz < 1000].sum()
        shares.append([power[np.abs(hertz - formant) < 250].sum() / power.sum() for formant in (773, 1155, 2110)])
    ratios = np.array(shares[0]) / shares[1]  # the first two formants of the open vowel, the second of the close one
    assert ratios[0] > 3 and ratios[1] > 3 and ratios[2] < 1 / 3
