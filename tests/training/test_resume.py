"""kill -9 at any time, run again: weights, history and summary equal an uninterrupted run's, in every task."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from seqkd.tasks import task_of
from seqkd.training.checkpoints import newest_resume_point, resume_points
from seqkd.training.run import train
from tests.runs import start_training, train_here
from tests.training.cases import AGREE, ASR, CLIPS, GROWN, SHOTS, TRANSLATION, Kind, Place


@dataclass(frozen=True)
class Case:
    """A run to be killed twice: below these directories of the run, once a resume point of such an update is there."""

    kind: Kind
    overrides: list[str]
    kills: list[tuple[str, int]]


def student(updates: int) -> list[str]:
    return [f"student.training.updates={updates}", f"student.training.validate_every={updates // 16}"]


CASES = {
    "speech, from a book": Case(
        ASR,
        ["system=cons_kd_unlabelled", *student(96), "book=dense", "book.seeds=3"],
        [(".", 12), (".", 48)],
    ),
    "speech, with an adaptor": Case(ASR, ["system=kd", *student(96), *GROWN], [(".", 12), (".", 48)]),
    "translation, past self and two passes": Case(
        TRANSLATION, ["system=adaptive", "system.passes=2", *student(96), *AGREE], [(".", 12), (".", 48)]
    ),
    "songs, in phases": Case(
        SHOTS,
        ["system=student_kd", "training.updates=60", "training.validate_every=5"],
        [("phases/0", 10), ("phases/2", 30)],
    ),
    "songs, in rounds": Case(
        SHOTS,
        ["system=dil", "training.updates=60", "training.validate_every=5", "interaction.patience=3"],
        [("phases/round0/student", 10), ("phases/round1/assistant_2s", 30)],  # and while the student teaches back
    ),
    "clips, two views beside a live teacher": Case(CLIPS, ["system=ccd", *student(96)], [(".", 12), (".", 48)]),
    "clips, mixed, until patience ends": Case(
        CLIPS,
        # A rate so small that dev stays as it is: it is halved, and then patience ends, after 7 looks.
        ["system=pipeline_kd", *student(128), *(f"student.training.{one}" for one in ("lr=1e-5", "final_lr=0"))],
        [(".", 16), (".", 40)],
    ),
    "clips, in folds": Case(
        CLIPS,
        ["system=student", "folds=4", "sets.test=[train]", *student(16)],
        [("phases/fold1", 4)],
    ),
}


def killed(arguments: list[str], checkpoints: Path, update: int) -> None:
    """Start the run and kill it after the update."""
    process = start_training(arguments)
    while process.poll() is None:
        points = resume_points(checkpoints)
        if points and int(points[-1].stem.split("=")[1]) >= update:
            time.sleep(0.02)  # into the updates after the resume point
            process.kill()
            process.wait()
            return
        time.sleep(0.002)
    raise AssertionError(f"the run ended before update {update} of {checkpoints}:\n{process.wait()}")


def timeless(value: Any) -> Any:
    """JSON without what a clock says."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if "seconds" not in key}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def outcome(run: Path) -> tuple[dict[str, torch.Tensor], Any, Any]:
    """Every tensor that a run ends with; history and summary."""
    files = sorted(run.rglob("*.safetensors"))
    tensors = {f"{file.relative_to(run)} {name}": value for file in files for name, value in load_file(file).items()}
    return tensors, *(timeless(json.loads((run / f"{name}.json").read_text())) for name in ("history", "summary"))


@pytest.mark.timeout(170)
@pytest.mark.parametrize("name", CASES)
def test_kill_and_resume_is_bit_for_bit(name: str, place_of: Callable[[Kind], Place], tmp_path: Path) -> None:
    case, place = CASES[name], place_of(CASES[name].kind)
    whole, broken = place.copy(tmp_path / "whole"), place.copy(tmp_path / "killed")
    for exp in (whole, broken):
        case.kind.prepare(exp, place.data, case.overrides)
    settings = [case.kind.settings(exp, place.data, *case.overrides) for exp in (whole, broken)]
    expected = train(task_of(settings[0]), settings[0])
    run = broken / expected.relative_to(whole)
    for below, update in case.kills:
        checkpoints = run / below / "checkpoints"
        killed(case.kind.arguments(broken, place.data, *case.overrides), checkpoints, update)
        assert not (run / "summary.json").exists()
    assert_resume_point_is_complete(checkpoints, adaptor="adaptor" in name, past="past self" in name)
    train(task_of(settings[1]), settings[1])
    (tensors, *said), (others, *also_said) = outcome(expected), outcome(run)
    assert tensors.keys() == others.keys() and tensors
    assert [key for key in tensors if not tensors[key].equal(others[key])] == []
    assert also_said == said
    assert not any("objective" in key or "adaptor" in key for key in tensors)
    assert not (run / "checkpoints").exists() and not (run / "phases").exists()
    if "patience" in name:
        history, summary = said
        assert summary["steps"] == 56 and [row["lr"] for row in history["rows"]] == pytest.approx(
            [1e-5, 1e-5, 1e-5, 5e-6, 5e-6, 2.5e-6, 2.5e-6]
        )


def assert_resume_point_is_complete(checkpoints: Path, *, adaptor: bool, past: bool) -> None:
    """Plain values beside the weights; what terms own; the past self."""
    point = newest_resume_point(checkpoints)
    kept = torch.load(point, weights_only=True)
    assert kept["seqkd"].keys() == {"history", "seconds", "counts"}
    rows = kept["seqkd"]["history"]
    assert rows[-1]["step"] == int(point.stem.split("=")[1]) and kept["seqkd"]["seconds"] >= rows[-1]["seconds"]
    learned = {key for key in kept["state_dict"] if not key.startswith("model.")}
    names = {"objective.grown.adaptor.weight", "objective.grown.adaptor.bias"} if adaptor else set()
    assert learned == names
    states = [state for key, state in kept["callbacks"].items() if key.startswith("SelfKnowledge")]
    assert bool(states) == past and all(state["refreshes"] and state["past"] for state in states)


def test_a_finished_run_is_skipped_and_a_changed_one_trained_anew(tones: Path, tone_exp: Path, tmp_path: Path) -> None:
    exp = shutil.copytree(tone_exp, tmp_path / "exp")
    run = train_here(exp, tones, "student")
    stamp = (run / "model" / "model.safetensors").stat().st_mtime_ns
    train_here(exp, tones, "student")
    assert (run / "model" / "model.safetensors").stat().st_mtime_ns == stamp
    train_here(exp, tones, "student", "student.training.lr=1e-3")
    assert (run / "model" / "model.safetensors").stat().st_mtime_ns != stamp
