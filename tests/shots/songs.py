"""Made-up songs for the tests of models and training: features that tell the shot, as far as they are asked to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from seqkd.cli.settings import parse, parser
from seqkd.config import compose
from seqkd.files import write_json
from seqkd.shots.audio.features import SongFeatureSettings, Track, save_track
from seqkd.shots.data import Song, shots_of, write_songs
from seqkd.shots.language import FilmLanguage
from seqkd.tasks.shots import TASK
from seqkd.training.run import train

FEATURES = 6
CLASSES = 8


def chain(classes: int = CLASSES, stay: float = 0.75) -> FilmLanguage:
    """A film language in which each shot mostly goes on, and else leads to the next class more than to others."""
    transition = np.full((classes, classes), (1 - stay) / 2 / (classes - 1))
    transition += stay * np.eye(classes) + (1 - stay) / 2 * np.roll(np.eye(classes), 1, axis=1)
    transition /= transition.sum(-1, keepdims=True)
    return FilmLanguage(np.full(classes, 1 / classes), transition, np.full(classes, 1 / classes))


def make_songs(
    count: int, frames: int, *, noise: float = 1.0, seed: int = 0, prefix: str = "song"
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Frames (T, F) and classes (T,) by song id: a centre a class, and Gaussian noise."""
    centres = 2 * np.random.default_rng(99).normal(size=(CLASSES, FEATURES))
    songs, classes = {}, {}
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        shots = chain().sample(np.zeros((frames + number % 3, CLASSES)), rng)
        name = f"{prefix}{number:03d}"
        songs[name] = (centres[shots] + noise * rng.normal(size=(len(shots), FEATURES))).astype(np.float32)
        classes[name] = shots
    return songs, classes


def write_set(
    data: Path, name: str, count: int, frames: int, *, noise: float = 1.0, seed: int = 0, prefix: str = "song"
) -> None:
    """A labelled set with features, as stages 0 and 1 would leave it; the audio files are not audio."""
    songs, classes = make_songs(count, frames, noise=noise, seed=seed, prefix=prefix)
    audio = data / "audio" / name
    audio.mkdir(parents=True)
    made = []
    for key in songs:
        (audio / f"{key}.wav").write_bytes(b"not read")
        made.append(Song(key, audio / f"{key}.wav", tuple(shots_of(classes[key]))))
        track = Track(songs[key], [f"f{i}" for i in range(FEATURES)], duration=float(len(songs[key])))
        save_track(data / name / "features" / f"{key}.safetensors", track)
    write_songs(data / name, made)
    settings = asdict(SongFeatureSettings())
    write_json(data / name / "features" / "done.json", {"settings": settings, "songs": dict.fromkeys(songs, "")})


TINY = [
    "model.sizes=[10,8]",
    "model.dropout=0.2",
    "training.updates=12",
    "training.validate_every=4",
    "training.batch=6",
    "training.window=24",
    "training.lr=5e-3",
    "teacher.codes=4",
    "interaction.rounds=2",
]


def arguments(exp: Path, data: Path, *overrides: str) -> list[str]:
    """Command-line arguments of a tiny run."""
    return ["--task", "shots", "--exp", str(exp), "--data", str(data), "--nj", "1", *TINY, *overrides]


def settings(exp: Path, data: Path, *overrides: str) -> DictConfig:
    """The composed settings of a tiny run."""
    return compose(parse(parser("test", ""), arguments(exp, data, *overrides)))


def train_here(exp: Path, data: Path, *systems: str, overrides: Sequence[str] = ()) -> list[Path]:
    """Train systems, in order, in this process."""
    return [train(TASK, settings(exp, data, f"system={system}", *overrides)) for system in systems]
