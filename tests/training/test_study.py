"""A run as phases of training: the mode of the modules, terms that own parameters, what is kept of a phase."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file

from seqkd.errors import ConfigError
from seqkd.models.ctc import CtcModel
from seqkd.tasks import task_of
from seqkd.tasks.shots.work import ShotData, SongWork
from seqkd.training.checkpoints import resume_points
from seqkd.training.module import Distillation
from seqkd.training.study import Study, prepare_terms
from tests import pairs_corpus, runs
from tests.shots import songs
from tests.training.cases import GROWN, OWNED


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bool]]:
    """Of every update: which networks are in training mode."""
    found, step = [], Distillation.training_step

    def watched(self: Distillation, batch: Any, number: int) -> torch.Tensor:
        teacher = getattr(self.work.sources.get("teacher"), "teacher", None)
        mode = {"module": self.training, "model": all(m.training for m in self.model.modules())}
        mode |= {"past": self.past.past.training} if self.past else {}
        mode |= {"teacher": any(m.training for m in teacher.modules())} if teacher is not None else {}
        found.append(mode)
        return step(self, batch, number)

    monkeypatch.setattr(Distillation, "training_step", watched)
    return found


def test_dropout_works_in_every_update_of_every_phase(
    songs_data: Path, shots_exp: Path, tmp_path: Path, modes: list[dict[str, bool]]
) -> None:
    """Validation, and a phase, leave the network in eval mode."""
    exp = shutil.copytree(shots_exp, tmp_path / "exp")
    songs.train_here(exp, songs_data, "student_kd", "dil", overrides=["interaction.patience=9"])
    phases = 3 + 1 + 2 * 4  # of 12 updates: student_kd's; round 0; two rounds of three assistants and a student
    assert modes == [{"module": True, "model": True}] * 12 * phases


def test_past_selves_and_teachers_never_have_dropout(
    tones: Path, tone_exp: Path, pairs_data: Path, tmp_path: Path, modes: list[dict[str, bool]]
) -> None:
    pairs_corpus.train_here(tmp_path / "text", pairs_data, "adaptive")
    assert modes == [{"module": True, "model": True, "past": False}] * 12
    modes.clear()
    runs.train_here(shutil.copytree(tone_exp, tmp_path / "speech"), tones, "kd")
    assert modes == [{"module": True, "model": True, "teacher": False}] * 12


# ---- terms that own parameters


def study_of(cfg: DictConfig) -> Study:
    return Study(task_of(cfg), cfg)


def test_what_a_term_owns_is_trained_and_resumed_but_no_part_of_the_model(
    tones: Path, tone_exp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = shutil.copytree(tone_exp, tmp_path / "exp")
    study = study_of(runs.settings(exp, tones, "system=kd", "student.training.average=2", *GROWN))
    work = study.task.workload(study)
    modules: list[Distillation] = []
    configure = Distillation.configure_optimizers
    monkeypatch.setattr(Distillation, "configure_optimizers", lambda self: (modules.append(self), configure(self))[1])
    with study.working():
        fitted = study.fit(work)
        (module,) = modules
        names = {"objective.grown.adaptor.weight", "objective.grown.adaptor.bias"}
        assert {name for name, _ in module.named_parameters() if not name.startswith("model.")} == names
        in_optimiser = {id(p) for group in configure(module)["optimizer"].param_groups for p in group["params"]}
        assert in_optimiser == {id(p) for p in module.parameters()}
        # In the resume points, with what the optimiser knows of it; and it has learned.
        points = [torch.load(path, weights_only=True) for path in resume_points(study.directory / "checkpoints")]
        for point in points:
            assert names <= point["state_dict"].keys()
            (optimiser,) = point["optimizer_states"]
            assert len(optimiser["state"]) == len(list(module.parameters()))
        for name in names:
            assert not points[0]["state_dict"][name].equal(points[1]["state_dict"][name])
            assert points[1]["state_dict"][name].equal(module.state_dict()[name])
        # Moved with the module.
        assert module.to(torch.float64).objective.grown.adaptor.weight.dtype == torch.float64
        module.to(torch.float32)
        # Neither chosen nor averaged nor saved.
        assert set(fitted.measured) == {"best", "average"}
        study.finish(fitted, work)
    plain = set(CtcModel(work.model.architecture, work.model.features, work.model.classes).state_dict())
    saved = load_file(study.directory / "model" / "model.safetensors")
    assert saved.keys() == plain
    summary = json.loads((study.directory / "summary.json").read_text())
    assert summary["parameters"] == work.model.parameter_count()


def test_what_a_term_owns_depends_on_the_seed_alone(tones: Path, tone_exp: Path) -> None:
    def first(seed: int, drawn: int, what: list[str]) -> torch.Tensor:
        study = study_of(runs.settings(tone_exp, tones, "system=kd", f"seed={seed}", *what))
        torch.manual_seed(drawn)  # whatever was drawn before
        state = torch.get_rng_state()
        objective = study.objective
        assert torch.get_rng_state().equal(state)
        work = study.task.workload(study)
        state = torch.get_rng_state()
        prepare_terms(objective, work, 1, study.seed)
        assert torch.get_rng_state().equal(state)
        return torch.cat([p.detach().flatten() for p in objective.parameters()])

    for what in (GROWN, OWNED):
        assert first(0, 1, what).equal(first(0, 2, what))
        assert not first(0, 1, what).equal(first(1, 1, what))


def test_a_phase_does_not_depend_on_whether_those_before_it_were_read_or_trained(
    songs_data: Path, tmp_path: Path
) -> None:
    def phases(exp: Path) -> Path:
        study = study_of(songs.settings(exp, songs_data, "system=student", *OWNED))
        data = ShotData(study.cfg)
        model = data.fresh_model(data.train)
        for number in (0, 1):
            study.fit(SongWork(data, data.train, model, seed=number), phase=f"phases/{number}", seed=number)
        return study.directory / "phases"

    trained = phases(tmp_path / "trained")
    shutil.copytree(trained / "0", tmp_path / "read" / "student" / "seed0" / "phases" / "0")
    read = phases(tmp_path / "read")
    one, other = (load_file(place / "1" / "weights.safetensors") for place in (trained, read))
    assert all(one[name].equal(other[name]) for name in one)
    histories = [json.loads((place / "1" / "history.json").read_text())["history"] for place in (trained, read)]
    one, other = ([row["train"] for row in history] for history in histories)
    assert one == other
    assert sorted(path.name for path in (trained / "1").iterdir()) == ["history.json", "weights.safetensors"]


# ---- faults


@pytest.mark.parametrize(
    ("settings", "overrides", "says"),
    [
        (runs.settings, ["system=consistency", "system.passes=1"], "at least 2, as term consistency compares passes"),
        (runs.settings, ["system=kd", "system.passes=0"], "setting system.passes is 0; expected at least 1"),
        (songs.settings, ["system=student", "system.procedure=seqkd.nothing.here"], "there is no module seqkd.nothing"),
        (songs.settings, ["system=student", "system.procedure=once"], "expected a module and a name in it"),
    ],
)
def test_a_run_that_cannot_be_is_one_sentence(
    settings: Callable[..., DictConfig], overrides: list[str], says: str, tones: Path, tone_exp: Path
) -> None:
    from seqkd.training.run import train

    with pytest.raises(ConfigError, match=says) as caught:
        cfg = settings(tone_exp, tones, *overrides)
        train(task_of(cfg), cfg)
    assert "\n" not in str(caught.value)
