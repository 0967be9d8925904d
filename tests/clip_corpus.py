"""Clips that a tiny classifier learns in seconds: a class is a pair of tones, each of which is a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from omegaconf import DictConfig

from seqkd.cli.settings import parse, parser
from seqkd.config import compose

RATE = 8000
TONES = {"a": 300.0, "e": 800.0, "i": 1700.0, "o": 2800.0}
CLASSES = {"low": ("a", "e"), "high": ("i", "o"), "rising": ("a", "o")}
COUNTS = {"train": 8, "dev": 4, "test": 4}

ROLES = ("teacher", "student")
MODEL = ("widths=[4,4,4,4]", "strides=[2,1,2,1]", "hidden=8", "dropout=0.1")
TRAINING = ("updates=12", "validate_every=4", "batch=8", "warmup=2", "lr=0.01")
SETTINGS = [
    *("features.sample_rate=8000", "features.num_mel_bins=12", "features.max_seconds=0.3"),
    *(f"{role}.model.{one}" for role in ROLES for one in MODEL),
    *(f"{role}.training.{one}" for role in ROLES for one in TRAINING),
]


def write_tables(directory: Path, tables: Mapping[str, Mapping[str, str]]) -> Path:
    """Tables of a set, sorted by id."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        (directory / name).write_text("".join(f"{key} {rows[key]}\n" for key in sorted(rows)))
    return directory


def write_classes(data: Path, names: Sequence[str] = tuple(CLASSES)) -> None:
    """``classes.txt``."""
    data.mkdir(parents=True, exist_ok=True)
    (data / "classes.txt").write_text("".join(f"{name}\n" for name in names))


def tone(phone: str, seconds: float, rng: np.random.Generator, rate: int = RATE) -> np.ndarray:
    """(N,) samples of a phone, in some noise."""
    time = np.arange(round(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * TONES[phone] * time) + 0.02 * rng.standard_normal(len(time))


def make_clip_set(data: Path, name: str, of_each: int, seed: int) -> Path:
    """Write ``data/name`` with so many clips of each class, of 0.16 to 0.3 s, with their phones, groups and folds."""
    rng = np.random.default_rng(seed)
    tables: dict[str, dict[str, str]] = {key: {} for key in ("wav.scp", "label", "group", "fold")}
    phones = []
    (data / "audio").mkdir(parents=True, exist_ok=True)
    for index in range(of_each):
        for label, sounds in CLASSES.items():
            key, path = f"{label}-{name}{index:02d}", data / "audio" / f"{label}-{name}{index:02d}.wav"
            seconds = [round(float(rng.uniform(0.08, 0.15)), 3) for _ in sounds]
            pieces = [tone(sound, one, rng) for sound, one in zip(sounds, seconds, strict=True)]
            soundfile.write(path, np.concatenate(pieces), RATE, subtype="PCM_16")
            values = (f"../audio/{path.name}", label, f"{name}-speaker{index % 4}", str(index % 4))
            for table, value in zip(tables.values(), values, strict=True):
                table[key] = value
            starts = np.cumsum([0, *seconds])
            phones += [f"{key} 1 {at:.3f} {one} {s}" for at, one, s in zip(starts, seconds, sounds, strict=False)]
    directory = write_tables(data / name, tables)
    (directory / "phones.ctm").write_text("\n".join(phones) + "\n")
    return directory


def make_corpus(data: Path, counts: Mapping[str, int] = COUNTS) -> Path:
    """Train, dev and test, and the names of the classes."""
    write_classes(data)
    for seed, (name, of_each) in enumerate(counts.items()):
        make_clip_set(data, name, of_each, seed)
    return data


def arguments(exp: Path, data: Path, *overrides: str) -> list[str]:
    """Command-line arguments of a tiny run."""
    return ["--task", "classification", "--exp", str(exp), "--data", str(data), "--nj", "1", *SETTINGS, *overrides]


def settings(exp: Path, data: Path, *overrides: str) -> DictConfig:
    """The composed settings of a tiny run."""
    return compose(parse(parser("test", ""), arguments(exp, data, *overrides)))


def prepare(exp: Path, data: Path, *overrides: str) -> None:
    """Features."""
    from seqkd.tasks.classification import TASK

    TASK.prepare(settings(exp, data, *overrides))


def train_here(exp: Path, data: Path, *systems: str, overrides: Sequence[str] = ()) -> list[Path]:
    """Train systems, in order, in this process."""
    from seqkd.tasks.classification import TASK
    from seqkd.training.run import train

    return [train(TASK, settings(exp, data, f"system={system}", *overrides)) for system in systems]
