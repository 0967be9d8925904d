"""The scripts of examples/ run, and do what they claim."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_it_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


def test_a_loss_in_a_loop():
    teacher, student = load("loss_in_a_loop").main(updates=200)
    assert teacher < student < 12  # without training it is above 40


def test_two_systems():
    assert load("score_two_systems").main() < 0.01


def test_a_hugging_face_teacher():
    pytest.importorskip("transformers")
    distances = load("distil_hf_ctc").main(updates=30)
    assert distances[-1] < 0.8 * distances[0]


def test_a_song(tmp_path):
    pytest.importorskip("librosa")
    import soundfile

    from seqkd.shots.audio.features import analyse
    from seqkd.shots.language import FilmLanguage
    from seqkd.shots.model import Architecture, ShotModel, ShotNetwork, save_shot_model

    time = np.arange(16 * 22050) / 22050
    song = tmp_path / "song.wav"
    beat = np.where(time % 2 < 0.5, 0.5, 0.15) * np.exp(-(time % 0.5) * 25) * np.sin(2 * np.pi * 3000 * time)
    soundfile.write(song, 0.3 * np.sin(2 * np.pi * 220 * time) + beat, 22050)
    track = analyse(song)
    torch.manual_seed(1)
    network = ShotNetwork(Architecture(sizes=(12, 8)), len(track.names))
    network.normalise(track.frames.mean(0), track.frames.std(0))
    language = FilmLanguage(np.full(8, 1 / 8), np.full((8, 8), 0.05) + 0.6 * np.eye(8), np.full(8, 1 / 8))
    save_shot_model(tmp_path / "model", ShotModel(network.eval(), tuple(track.names), language))
    shots = load("song_to_timeline").main(tmp_path / "model", song, tmp_path / "cut.csv")
    assert len((tmp_path / "cut.csv").read_text().splitlines()) == shots + 1
