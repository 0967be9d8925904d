"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

# Tests of one room must not take the cores that another's run on.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with features: train (24), extra (12, no transcripts) and dev (8) of the tone corpus."""
    from seqkd.data.features import FeatureSettings, make_features
    from tests.tone_corpus import RATE, make_tone_set

    data = tmp_path_factory.mktemp("tones")
    make_tone_set(data, "train", 24, seed=1)
    make_tone_set(data, "extra", 12, seed=2, transcripts=False)
    make_tone_set(data, "dev", 8, seed=3)
    for name in ("train", "extra", "dev"):
        make_features(data / name, FeatureSettings(sample_rate=RATE, num_mel_bins=20), nj=1)
    return data


@pytest.fixture(scope="session")
def tone_exp(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment directory with a tokenizer and a (barely trained) teacher for the tone corpus."""
    from tests.runs import train_here

    exp = tmp_path_factory.mktemp("exp")
    train_here(exp, tones, "teacher")
    return exp
