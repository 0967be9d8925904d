"""A tone model that has learned its words, exported once with its recipe."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqkd.cli.main import main
from seqkd.experiment.scores import score
from seqkd.layout import run_directory
from seqkd.tasks.asr import TASK
from tests.runs import arguments, settings, train_here
from tests.tone_corpus import TONES

SHIFT = 0.04  # seconds between encoder frames

# One layer that sees 0.2 s: its spikes cannot wander far from the tones.
LEARNED = [
    "systems=[student]",
    "student.training.updates=300",
    "student.training.validate_every=300",
    "student.training.lr=2e-2",
    "student.model.kernel=3",
    "student.model.layers=1",
    "student.augment.time_masks=0",
    "student.augment.freq_masks=0",
]


def truth(text: str, offset: float = 0.0) -> list[tuple[str, float, float]]:
    """Word, start and end of an utterance of the tone corpus: 0.1 s of silence, then tones of 0.2 s with it after."""
    assert all(word in TONES for word in text.split())
    return [(word, offset + 0.1 + 0.3 * n, offset + 0.3 + 0.3 * n) for n, word in enumerate(text.split())]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Commands switch logging on, at which no test here looks; others do, in the same process."""
    logger = logging.getLogger("seqkd")
    before = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(before)


@pytest.fixture(scope="session")
def learned(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment directory with a trained, decoded and scored student of the tone corpus."""
    exp = tmp_path_factory.mktemp("learned")
    train_here(exp, tones, "student", *LEARNED)
    cfg = settings(exp, tones, *LEARNED)
    TASK.decode(cfg, run_directory(cfg, "student", 0), "dev")
    score(TASK, cfg, "student", 0, "dev")
    return exp


@pytest.fixture(scope="session")
def exported(learned: Path, tones: Path) -> Path:
    """The export directory of that student. Not to be changed."""
    assert main(["export", *arguments(learned, tones, *LEARNED, "export.licence=CC0-1.0")]) == 0
    return learned / "student" / "seed0" / "export"
