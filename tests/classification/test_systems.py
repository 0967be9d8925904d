"""Every system is trained for a few updates, decoded and counted; and what each is to differ in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

from seqkd.classification.decoding import read_decoded
from seqkd.classification.measures import MEASURES
from seqkd.classification.model import load_classifier
from seqkd.config import CONF
from seqkd.errors import ConfigError
from seqkd.layout import plain
from seqkd.losses.build import objective_of
from seqkd.tasks.classification import TASK
from seqkd.tasks.classification.sections import students_of
from seqkd.tasks.classification.work import ClipWork
from seqkd.training.run import train
from seqkd.training.study import Study
from tests.clip_corpus import CLASSES, ROLES, settings, write_classes, write_tables

SYSTEMS = sorted(path.stem for path in (CONF / "classification" / "system").glob("*.yaml"))
SHORT = [f"{role}.training.{one}" for role in ROLES for one in ("updates=4", "validate_every=2", "warmup=1")]
OPTIONS = ["classes.subset=[low,rising]", "teacher.model.hidden=9", *SHORT]
Trained = Callable[[str], tuple[Path, DictConfig]]


@pytest.fixture(scope="module")
def trained(clips_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """What trains a system, and before it those that it learns from, and gives its run and settings."""
    exp, done = tmp_path_factory.mktemp("systems"), {}

    def run(name: str) -> tuple[Path, DictConfig]:
        if name not in done:
            cfg = settings(exp, clips_data, *OPTIONS, f"system={name}")
            for teacher, _ in TASK.teachers_of(cfg, cfg.system, 0):
                run(teacher)
            done[name] = train(TASK, cfg), cfg
        return done[name]

    return run


def summary_of(run: Path) -> dict[str, object]:
    return json.loads((run / "summary.json").read_text())


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_trains_and_decodes(name: str, trained: Trained) -> None:
    run, cfg = trained(name)
    rows = json.loads((run / "history.json").read_text())["rows"]
    assert rows and all(np.isfinite([*row["train"].values(), row["dev_error"], row["dev_nll"]]).all() for row in rows)
    terms = {key for key, term in objective_of(plain(cfg.system.objective)).items() if not term.off}
    assert terms <= set(rows[-1]["train"]) and not set(rows[-1]["train"]) & (set(cfg.system.objective) - terms)
    TASK.decode(cfg, run, "test")
    decoded = read_decoded(run / "decode_test")
    assert len(decoded.predicted) == 8 and set(decoded.predicted.tolist()) <= {0, 2}  # the clips of the subset
    sums = TASK.count(cfg, run, "test").total()
    assert all(np.isfinite(measure.value(sums)) for measure in MEASURES)
    model, made = load_classifier(run / "model")  # built by what is the package's own
    assert made.classes == (("low", "rising") if cfg.system.examples.subset else tuple(CLASSES))
    assert not any(key.startswith("objective") or "adaptor" in key for key in model.state_dict())
    assert not (run / "checkpoints").exists() and not (run / "phases").exists()


def test_what_is_learned_from_is_what_the_settings_say(trained: Trained) -> None:
    clips = {name: summary_of(trained(name)[0])["clips"] for name in ("student", "few_kd", "subset", "subset_kd")}
    assert clips == {"student": 24, "few_kd": 15, "subset": 16, "subset_kd": 16}


def test_the_roles_have_their_networks_and_training(trained: Trained) -> None:
    parameters = {name: summary_of(trained(name)[0])["parameters"] for name in ("student", "kd", "teacher", "re_kd")}
    assert parameters["student"] == parameters["kd"] != parameters["teacher"] == parameters["re_kd"]
    assert summary_of(trained("teacher_early")[0])["steps"] < summary_of(trained("teacher")[0])["steps"] == 4


def test_ternary_weights_have_three_values_and_a_small_file(trained: Trained) -> None:
    run, _ = trained("ternary_kd")
    model, _ = load_classifier(run / "model")
    few = {name: len(value.unique()) for name, value in model.state_dict().items() if value.ndim > 1}
    assert few["stages.1.conv1.weight"] == few["stages.3.conv2.weight"] == 3
    assert (run / "model" / "packed.safetensors").is_file()


def test_pruned_students_and_their_controls_have_one_width(trained: Trained) -> None:
    widths = {}
    for name in ("kddp", "kddp_magnitude", "kddp_width"):
        run, _ = trained(name)
        model, made = load_classifier(run / "model")
        assert made.settings["hidden"] == model.hidden.out_features
        widths[name] = model.hidden.out_features
    assert len(set(widths.values())) == 1


# ---- one part of the settings at a time


def work_of(exp: Path, data: Path, *overrides: str) -> ClipWork:
    return ClipWork(Study(TASK, settings(exp, data, *overrides)))


def test_wrong_labels_of_a_subset_are_classes_of_it(clips_data: Path, tmp_path: Path) -> None:
    right = work_of(tmp_path, clips_data, "system=subset", "classes.subset=[low,rising]")
    assert right.clips.targets.unique().tolist() == [0, 1] and len(right.clips) == 16
    wrong = work_of(
        tmp_path, clips_data, "system=subset", "classes.subset=[low,rising]", "system.examples.wrong_labels=0.5"
    )
    assert wrong.clips.targets.unique().tolist() == [0, 1] and wrong.clips.rows.equal(right.clips.rows)
    assert 3 <= int((wrong.clips.targets != right.clips.targets).sum()) <= 13
    assert wrong.dev_clips.targets.equal(right.dev_clips.targets)  # dev keeps its labels
    labels = wrong.labels(next(iter(wrong.training(0, 0, 1))))
    assert labels.subset.tolist() == [0, 2]


def test_dev_of_a_fold_is_of_the_subset_and_no_fold_is_learned_that_is_tested(clips_data: Path, tmp_path: Path) -> None:
    options = ["system=subset", "classes.subset=[low,rising]", "folds=4", "sets.test=[train]"]
    study = Study(TASK, settings(tmp_path, clips_data, *options))
    for fold in range(4):
        work = ClipWork(study, fold=fold)
        folds = np.array(work.data.set("train").folds)
        assert {*folds[work.clips.rows]} == set(range(4)) - {fold, (fold + 1) % 4}
        assert {*folds[work.dev_clips.rows]} == {(fold + 1) % 4}
        assert len(work.dev_clips) == 4 and work.dev_clips.targets.unique().tolist() == [0, 1]


def test_balanced_weights_are_by_what_is_learned_from(clips_data: Path, tmp_path: Path) -> None:
    assert work_of(tmp_path, clips_data).class_weights is None
    work = work_of(tmp_path, clips_data, "classes.weights=balanced", "system.examples.shots=3")
    assert work.class_weights.tolist() == [1.0, 1.0, 1.0]
    work.clips = work.clips.labelled(torch.tensor([0] * 6 + [1] * 2 + [2]))
    del work.class_weights
    assert work.class_weights.tolist() == pytest.approx([9 / (3 * 6), 9 / (3 * 2), 9 / 3])
    assert float(work.class_weights[work.clips.targets[:, 0]].mean()) == pytest.approx(1.0)


def test_views_are_drawn_for_each_pass_and_the_clips_kept(clips_data: Path, tmp_path: Path) -> None:
    work = work_of(tmp_path, clips_data, "system=jda", "augment.p=1")
    batch = next(iter(work.training(0, 0, 1)))
    torch.manual_seed(0)
    seen = work.views(batch)
    assert seen.views.shape == (2, *batch.features.shape)
    assert seen.views[0].equal(batch.features) and seen.clean.equal(batch.features)
    assert not seen.views[1].equal(batch.features)
    outputs = work.outputs(work.model.eval(), seen, ["hidden"], 2)
    assert outputs.logits.shape[:2] == (2, 8) and not outputs.logits[0].equal(outputs.logits[1])
    assert work.outputs(work.model, seen).logits[0].equal(outputs.logits[0])


def test_a_class_a_frame_is_learned_beside_a_teacher(clips_data: Path, tmp_path: Path) -> None:
    strides = [f"{role}.model.strides=[1,1,1,1]" for role in ROLES]
    for name in ("teacher", "kd"):
        cfg = settings(tmp_path, clips_data, "classes.target=frame", *strides, *SHORT, f"system={name}")
        run = train(TASK, cfg)
        TASK.decode(cfg, run, "test")
        sums = TASK.count(cfg, run, "test").total()
        assert sums["positions"] == int(cfg_lengths(cfg, "test").sum()) == sums["true"].sum()
        assert sums["true"].shape == (5,)  # four phones, and silence
    assert {"labels", "kd"} <= set(json.loads((run / "history.json").read_text())["rows"][-1]["train"])
    said = refused(tmp_path, clips_data, "classes.target=frame", *strides, "system.examples.shots=2")
    assert said == "system.examples chooses clips by their class; here each frame has one"


def cfg_lengths(cfg: DictConfig, name: str) -> torch.Tensor:
    from seqkd.tasks.classification.work import ClipData

    return ClipData(cfg).features(name).lengths


def test_images_are_classified(tmp_path: Path) -> None:
    """Two colours; and in grey, whose mean tells them apart no less."""
    data = tmp_path / "data"
    write_classes(data, ["red", "blue"])
    for number, name in enumerate(("train", "dev", "test")):
        rows: dict[str, dict[str, str]] = {"image.scp": {}, "label": {}}
        for index in range(6):
            label, colour = (("red", (250, 40, 9 * number)), ("blue", (9, 40 + index, 250)))[index % 2]
            path = data / f"{name}{index}.png"
            Image.new("RGB", (11, 9), colour).save(path)
            rows["image.scp"][f"{name}{index}"], rows["label"][f"{name}{index}"] = str(path), label
        write_tables(data / name, rows)
    for colours, planes in (("RGB", 3), ("L", 1)):
        cfg = settings(tmp_path / colours, data, f"features.colours={colours}", "features.size=8", *SHORT)
        TASK.prepare(cfg)
        run = train(TASK, cfg)
        model, made = load_classifier(run / "model")
        assert model.stem.planes == planes and made.features == 8 * planes and made.settings["planes"] == planes
        TASK.decode(cfg, run, "test")
        assert TASK.count(cfg, run, "test").total()["positions"] == 6


# ---- what cannot be


def refused(exp: Path, data: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        train(TASK, settings(exp, data, *SHORT, *overrides))
    assert "\n" not in str(caught.value)
    return str(caught.value)


VIEWS = ("system=kd_jda", "system.teacher=[teacher,teacher_wide]")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["system=jda", "system.views=[jda]"], "system jda has passes=2 and 1 views; expected a view a pass"),
        (["system=pipeline", "system.passes=2"], "system pipeline mixes clips (mixup) in 2 passes; expected one pass"),
        (["system=uncertainty_kd", "system.teacher_mode=train"], "system uncertainty_kd has draws; expected teacher_m"),
        ([*VIEWS], "system kd_jda has several views, and several teachers or draws; expected teacher_view=clean"),
        (["system=kd_jda", "system.draws=2"], "system kd_jda has several views, and several teachers or draws; expect"),
        (["system=subset"], "system subset is for a subset of the classes; set classes.subset"),
        (["system=kd", "system.teacher=null"], "system kd learns from a teacher, but system.teacher names no system"),
        (
            ["system=ternary", "system.start_from=null"],
            "system ternary begins with another's weights; set system.start",
        ),
        (["classes.target=frame"], "setting teacher.model.strides is [2, 1, 2, 1]; expected 1 everywhere where each"),
        (
            ["system=vam", "system.network.groups=3"],
            "setting system.network.groups is 3; expected a divisor of the cha",
        ),
        (["+system.network._target_=seqkd.models.none.at_all"], "setting system.network._target_ is seqkd.models.none"),
        (["system.examples.shots=9"], "setting system.examples.shots is 9, but a class has 8 training clips; expected"),
    ],
)
def test_what_cannot_be_is_one_sentence(overrides: list[str], said: str, clips_data: Path, tmp_path: Path) -> None:
    assert (
        refused(tmp_path, clips_data, *overrides)
        .removeprefix("setting teacher.model.")
        .startswith(said.removeprefix("setting teacher.model."))
    )
    assert not list(tmp_path.iterdir())


def test_a_teacher_that_is_not_trained_is_named(clips_data: Path, tmp_path: Path) -> None:
    run = tmp_path / "teacher" / "seed0"
    assert refused(tmp_path, clips_data, "system=kd").startswith(f"{run} has no finished model, and kd ")


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("grafting", "copied=0", "copied is 0; expected at least 1"),
        ("grafting", "share=0", "share is 0; expected more than 0"),
        ("kddp", "every=0", "every is 0; expected more than 0"),
        ("kddp", "until=2", "until is 2; expected from 0 to 1"),
        ("kddp", "epsilon=-1", "epsilon is -1; expected at least 0"),
        ("kddp", "inactive=mean", "inactive is 'mean'; expected one of max, q99"),
        ("kddp", "least=0", "least is 0; expected at least 1"),
        ("kddp_magnitude", "after=1", "after is 1; expected from 0 to less than 1"),
        ("ternary", "levels=2", "levels is 2; expected "),
    ],
)
def test_options_of_procedures_out_of_range_are_one_sentence(
    name: str, override: str, said: str, trained: Trained, clips_data: Path
) -> None:
    exp = trained(name)[0].parents[1]  # where whoever it learns from is trained
    found = refused(exp, clips_data, *OPTIONS, f"system={name}", f"system.options.{override}")
    assert found.startswith(f"setting system.options.{said}")
    assert (exp / name / "seed0" / "summary.json").is_file()  # and the older run is left


def test_teachers_of_every_kind_are_no_students(clips_data, tmp_path):
    names = ["teacher", "teacher_small", "teacher_early", "re_kd", "kd", "grafting", "early"]
    cfg = settings(tmp_path, clips_data, "+variants={early: {of: teacher, label: Early, training: {stop: 0.1}}}")
    assert students_of(cfg, names) == ["kd", "grafting"]
