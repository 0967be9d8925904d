"""Folds, several teachers, mixtures, weights, views and averages: what goes together, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

from seqkd.errors import ConfigError
from seqkd.layout import run_directory
from seqkd.losses import Objective
from seqkd.losses.activation import ActivationL1
from seqkd.losses.uncertainty import uncertainties
from seqkd.tasks.classification import TASK, experts, sections
from seqkd.tasks.classification.pruning import averaged_after
from seqkd.tasks.classification.settings import ClipTraining
from seqkd.tasks.classification.work import ClipWork
from seqkd.training.run import train
from seqkd.training.study import Study
from tests.clip_corpus import ROLES, settings, write_classes, write_tables

SHORT = [f"{role}.training.{one}" for role in ROLES for one in ("updates=4", "validate_every=2", "warmup=1")]
FOLDS = ["folds=4", "sets.test=[train]"]
FRAMES = ["classes.target=frame", *(f"{role}.model.strides=[1,1,1,1]" for role in ROLES)]


def composed(exp: Path, data: Path, *overrides: str) -> DictConfig:
    return settings(exp, data, *SHORT, *overrides)


def refused(exp: Path, data: Path, *overrides: str, run: bool = False) -> str:
    """What is said when settings are put together, or else when they are trained."""
    with pytest.raises(ConfigError) as caught:
        cfg = composed(exp, data, *overrides)
        if run:
            train(TASK, cfg)
    assert "\n" not in str(caught.value) and not list(exp.glob("*/seed0/model"))
    return str(caught.value)


# ---- folds


@pytest.mark.parametrize(
    "name", ["kddp", "kddp_width", "kddp_magnitude", "grafting", "few_copied_kd", "ternary", "hme_tree"]
)
def test_folds_are_for_those_that_train_one_model_a_fold(name: str, clips_data: Path, tmp_path: Path) -> None:
    said = refused(tmp_path, clips_data, f"system={name}", *FOLDS)
    assert said.startswith(f"setting folds is 4, but system {name} is trained by seqkd.tasks.classification.")
    assert said.endswith("which trains one model on all clips; expected 0, or the procedure train_folds")


def test_a_mixture_of_experts_may_have_folds(clips_data: Path, tmp_path: Path) -> None:
    """Its tree is drawn of the first fold's model."""
    run = train(TASK, composed(tmp_path / "exp", clips_data, "system=hme", *FOLDS))
    one = SimpleNamespace(directory=run, history=[{"step": 2, "entropy": 0.5}, {"step": 4, "entropy": 0.4}])
    system = SimpleNamespace(label="HME", name="hme", runs=[one])
    experiment = SimpleNamespace(finished={"hme": system}, task=TASK, systems={"hme": system})
    found = experts.sections(experiment, ["low", "high", "rising"], tmp_path / "figures")
    assert any("tree.png" in part for part in found) and (tmp_path / "figures" / "tree.png").is_file()
    assert sections.cost(one, 20).size == (run / "model" / "fold0" / "model.safetensors").stat().st_size


def test_a_reference_knows_nothing_of_the_tests_of_its_fold(clips_data: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    train(TASK, composed(exp, clips_data, "system=teacher", *FOLDS))
    cfg = composed(exp, clips_data, "system=uncertainty_kd", "system.draws=3", *FOLDS)
    works = [ClipWork(Study(TASK, cfg), fold=fold) for fold in range(2)]
    place = run_directory(cfg, "teacher", 0) / "book"
    assert len(list(place.iterdir())) == 2 and not (run_directory(cfg, "teacher", 0) / "model" / "book").exists()
    for work in works:
        folds = np.array(work.data.set("train").folds)
        mine = ~np.isin(folds, (work.fold, work.fold + 1))
        assert sorted(work.clips.rows.tolist()) == np.flatnonzero(mine).tolist()
        teacher = work.sources["teacher"]
        _, _, aleatoric, _ = uncertainties(teacher.table)
        expected = float(aleatoric[torch.from_numpy(mine)].double().mean()) / np.log(3)
        assert teacher.facts["aleatoric"] == pytest.approx(expected, rel=1e-5)


# ---- several teachers, mixtures and weights


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["system=kd_two_views", "system.teacher=[teacher,teacher_small]"],
            "term kd (FrameKd) compares with one teacher, but there are 2 teachers or draws",
        ),
        (["system=kd", "system.draws=3"], "term kd (FrameKd) compares with one teacher, but there are 3 teachers or"),
        (
            ["system=ccskd", "system.teacher=[teacher,teacher_small]"],
            "term kd (FrameKd) compares with one teacher, but",
        ),
        (["system=tf_kd_reg", "classes.weights=balanced"], "term kd (VirtualTeacher) cannot take weights of classes"),
        (
            ["objective.labels._target_=seqkd.losses.AdaptiveSmoothing", "mixup=0.2"],
            "term labels (AdaptiveSmoothing) cannot take labels that MixUp has mixed; set mixup to 0",
        ),
    ],
)
def test_terms_that_do_not_suit_a_system(overrides: list[str], said: str, clips_data: Path, tmp_path: Path) -> None:
    given = [one if one.startswith(("system", "classes")) else f"system.{one}" for one in overrides]
    name = given[0].removeprefix("system=") if given[0].startswith("system=") else "student"
    assert refused(tmp_path, clips_data, *given).startswith(f"system {name}: {said}")


def test_terms_for_several_teachers_take_them(clips_data: Path, tmp_path: Path) -> None:
    for given in (["system=multi_teacher_kd"], ["system=uncertainty_kd"], ["system=kd", "system.teacher=[teacher]"]):
        composed(tmp_path, clips_data, *given)


# ---- a class a frame


def test_a_mean_over_clips_is_one_where_frames_are_counted(clips_data: Path, tmp_path: Path) -> None:
    """What training divides by is the number of frames; a term of one number a clip weighs as much as for clips."""
    for overrides, by_position in ((FRAMES, True), ([], False)):
        work = ClipWork(Study(TASK, composed(tmp_path, clips_data, *overrides)))
        seen = work.views(next(iter(work.training(0, 0, 1))))
        labels, count = work.labels(seen), work.count(seen)
        assert labels.by_position == by_position and int(labels.counts.sum()) == count
        student = work.outputs(work.model.eval(), seen, ["hidden"])
        hidden = student.layers["hidden"]
        of_clip = hidden.values[0].abs().sum((-2, -1)) / hidden.lengths
        total = Objective(price=ActivationL1(layer="hidden"))(student, {}, labels).total
        expected = (of_clip * labels.counts).sum() / labels.counts.sum()
        torch.testing.assert_close(total / count, expected)
        assert by_position or torch.allclose(expected, of_clip.mean())


# ---- images


def test_what_is_for_sounds_is_not_done_to_images(clips_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_classes(data, ["red", "blue"])
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    tables = {"image.scp": {f"c{n}": str(tmp_path / "a.png") for n in range(4)}}
    tables["label"] = {f"c{n}": ("red", "blue")[n % 2] for n in range(4)}
    for name in ("train", "dev", "test"):
        write_tables(data / name, tables)
    exp = tmp_path / "exp"
    exp.mkdir()
    for given in (["system=jda"], ["system=student", "system.views=[jda]"]):
        said = refused(exp, data, *given)
        assert "has the view jda, whose operations are of sounds, but train has images" in said
    composed(exp, data, "system=student", "system.views=[clean]")
    composed(exp, clips_data, "system=jda")


# ---- pruning


def test_what_is_averaged_has_one_width(clips_data: Path, tmp_path: Path) -> None:
    options = ["system=kddp", "system.teacher=null", "system.objective.kd=null"]
    said = refused(tmp_path, clips_data, *options, "student.training.average=2", run=True)
    assert said.startswith("system kddp prunes while it trains, and training.average is 2: weights of before and after")
    past = "system.objective.labels._target_=seqkd.losses.AdaptiveSmoothing"
    said = refused(tmp_path, clips_data, *options, past, run=True)
    assert said.startswith("system kddp prunes while it trains, and a term compares with its past self")
    enough = ["student.training.updates=12", "student.training.validate_every=2", "student.training.average=2"]
    run = train(TASK, composed(tmp_path, clips_data, *options, *enough))
    assert (run / "summary.json").is_file()


@pytest.mark.parametrize(
    ("fits", "changes"),
    [
        (True, {}),
        (False, {"choose_after": 0.5}),
        (False, {"average": 5}),
        (True, {"average": 4}),
        (False, {"patience": 2}),
        (False, {"stop": 0.75}),
    ],
)
def test_enough_looks_after_the_last_pruning(fits: bool, changes: dict[str, float]) -> None:
    given = {"updates": 100, "batch": 4, "lr": 1.0, "validate_every": 10, "average": 2, "choose_after": 0.7}
    assert averaged_after(70, ClipTraining(**{**given, **changes})) == fits


# ---- the report


def test_bytes_are_those_of_what_is_delivered(clips_data: Path, tmp_path: Path) -> None:
    plain, few = (train(TASK, composed(tmp_path, clips_data, f"system={name}")) for name in ("student", "ternary"))
    sizes = [sections.cost(SimpleNamespace(directory=run), 20).size for run in (plain, few)]
    assert sizes[0] == (plain / "model" / "model.safetensors").stat().st_size
    assert sizes[1] == (few / "model" / "packed.safetensors").stat().st_size < sizes[0] / 2
