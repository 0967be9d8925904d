"""Touched audio costs nothing; corrected audio makes features, decodings and models anew, and keeps the old model."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from seqkd.data.features import finished_features, make_features
from seqkd.data.kaldi import read_data_dir
from seqkd.decoding.run import decode_run
from seqkd.layout import moved_aside
from tests.runs import settings, train_here


@pytest.fixture
def data(tones: Path, tmp_path: Path) -> Path:
    """A copy of the tone corpus, whose files all have other inodes and times."""
    shutil.copytree(tones, tmp_path / "data", copy_function=shutil.copy)
    return tmp_path / "data"


@pytest.fixture
def exp(tone_exp: Path, tmp_path: Path) -> Path:
    shutil.copytree(tone_exp, tmp_path / "exp")
    return tmp_path / "exp"


def again(exp: Path, data: Path) -> tuple[int, int]:
    """Run the stages that are due; which files of the decoding and of the model there are then."""
    from seqkd.data.features import FeatureSettings

    for name in ("train", "extra", "dev"):
        made = FeatureSettings(**finished_features(data / name)["settings"])
        make_features(data / name, made, nj=1)
    run = train_here(exp, data, "teacher")
    decode_run(settings(exp, data), run, "dev")
    return (run / "decode_dev" / "decode.json").stat().st_ino, (run / "model" / "model.safetensors").stat().st_ino


def test_touched_audio_costs_nothing(exp: Path, data: Path):
    model = exp / "teacher" / "seed0" / "model" / "model.safetensors"
    before = model.stat().st_ino
    decoded, kept = again(exp, data)
    assert kept == before  # the copied data are the same data
    for name in ("train", "dev"):
        for utterance in read_data_dir(data / name):
            os.utime(utterance.audio)
    assert again(exp, data) == (decoded, kept)
    assert moved_aside(exp) == []


@pytest.mark.parametrize("name", ["train", "dev"])
def test_corrected_audio_with_an_older_time_is_noticed(
    exp: Path, data: Path, name: str, caplog: pytest.LogCaptureFixture
):
    before = again(exp, data)
    first, second = (utterance.audio for utterance in read_data_dir(data / name)[:2])
    old = first.stat()
    shutil.copy(second, first)
    os.utime(first, ns=(old.st_atime_ns, old.st_mtime_ns - 10**12))
    caplog.set_level(logging.INFO, "seqkd")
    after = again(exp, data)
    assert after[0] != before[0]
    assert after[1] != before[1]  # dev chooses the weights that a training keeps
    (aside,) = moved_aside(exp)
    assert (aside / "model" / "model.safetensors").stat().st_ino == before[1]
    assert aside == exp / "teacher" / "seed0.1"
    assert sum("kept as" in record.getMessage() for record in caplog.records) == 1
