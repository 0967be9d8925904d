"""Sweeps by Hydra's launchers."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import yaml

from seqkd.cli.main import main
from seqkd.models.storage import model_hash
from tests.machines.same import assert_same
from tests.runs import arguments, train_here

RATES = ("0.001", "0.004")


@pytest.fixture
def exp(tone_exp: Path, tmp_path: Path) -> Path:
    place = tmp_path / "exp of mine"
    shutil.copytree(tone_exp, place)
    return place


@pytest.mark.recipe
@pytest.mark.timeout(300)
def test_submitit_trains_every_combination(exp: Path, tones: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = arguments(
        exp, tones, "system=kd", "book=live", f"student.training.lr={','.join(RATES)}", "hydra/launcher=submitit_local"
    )
    assert main(["train", "--multirun", *sweep]) == 0
    printed = capsys.readouterr().out
    for rate in RATES:
        name = f"student.training.lr={rate}"
        run = exp / "sweep" / name / "kd" / "seed0"
        assert f"| {name}/kd/seed0 | best_dev_wer | " in printed
        assert_same(run, train_here(exp, tones, "kd", "book=live", name))
    assert not (exp / "sweep" / "kd").exists() and list((exp / "sweep" / ".submitit").iterdir())
    stamps = {path: path.stat().st_mtime_ns for path in exp.glob("sweep/*/kd/seed0/model/*")}
    here = [setting for setting in sweep if not setting.startswith("hydra/launcher")]
    assert main(["train", "--multirun", *here]) == 0  # in this process, and nothing is left to do
    assert len(stamps) >= 2 * len(RATES) and all(path.stat().st_mtime_ns == when for path, when in stamps.items())


def test_teachers_are_trained_too_and_students_share_one(
    exp: Path, tones: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    updates = "teacher.training.updates=3", "student.training.updates=2", "book=live"
    assert main(["train", "--multirun", *arguments(exp, tones, "system=teacher,teacher_guided,kd", *updates)]) == 0
    for system in ("teacher", "teacher_guided", "kd"):
        run = exp / "sweep" / f"system={system}" / system / "seed0"
        assert json.loads((run / "summary.json").read_text())["steps"] == (2 if system == "kd" else 3)
    taught = yaml.safe_load((run / "config.yaml").read_text())["teacher"]
    assert taught == model_hash(exp / "teacher" / "seed0" / "model")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["system=student"], "--multirun has nothing to vary; expected at least one key=v1,v2"),
        (["seed=0,1", "student.training.lrr=1"], "there is no setting student.training.lrr; did you mean"),
        (["seed=0,one"], "setting seed is 'one'; expected a whole number"),
        (["seed=0,1", "processes=2"], "a run of this sweep asks for 1 node(s) × 2 process(es), but its launcher"),
        (["seed=0,1", "hydra/launcher=pbs"], "hydra/launcher/pbs is not installed; known: basic"),
    ],
)
def test_a_mistake_is_one_sentence(
    exp: Path, tones: Path, settings: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.basicConfig()  # or the first command of a process would
    before = logging.getLogger().handlers[:]
    assert main(["train", "--multirun", *arguments(exp, tones, "system=student", *settings)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert logging.getLogger().handlers == before
    assert last.startswith(f"seqkd train: {said}")
