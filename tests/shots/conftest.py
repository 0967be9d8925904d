"""A tiny corpus and its assistants and teacher, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shots.songs import train_here, write_set

ASSISTANTS = ("assistant_1s", "assistant_2s", "assistant_4s")


@pytest.fixture(scope="session")
def songs_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets train (8 songs of 50 s), dev (4) and test (4)."""
    data = tmp_path_factory.mktemp("songs")
    for seed, (name, count) in enumerate({"train": 8, "dev": 4, "test": 4}.items()):
        write_set(data, name, count, 50, noise=2.0, seed=seed)
    return data


@pytest.fixture(scope="session")
def shots_exp(songs_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment directory with assistants and their teacher, seed 0."""
    exp = tmp_path_factory.mktemp("shots_exp")
    train_here(exp, songs_data, *ASSISTANTS, "teacher")
    return exp
