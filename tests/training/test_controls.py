"""What systems of speech recognition are compared with differs from them in what the comparison is to isolate."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import pytest
from omegaconf import DictConfig
from safetensors.torch import load_file

from seqkd.cli.settings import parse, parser
from seqkd.config import compose
from seqkd.errors import ConfigError
from seqkd.layout import plain
from seqkd.models.storage import model_hash
from seqkd.tasks.asr import TASK, start_of
from seqkd.tasks.asr.settings import training_of
from seqkd.training.study import Study
from tests import runs


@functools.cache
def settings(system: str, *overrides: str) -> DictConfig:
    return compose(parse(parser("test", ""), [f"system={system}", *overrides]))


def passes(cfg: DictConfig) -> int:
    """Over the data, of all updates."""
    return cfg.system.passes * training_of(cfg, cfg.system.role)["updates"]


EQUAL = """kd student_two_pass student_two_pass_specaugment consistency cr_ctc kd_long kd_two_pass
kd_two_pass_specaugment cons_kd cons_kd_specaugment kd_long_unlabelled kd_two_pass_unlabelled
cons_kd_unlabelled""".split()  # noqa: SIM905


CONSISTENT = """consistency cr_ctc cons_kd cons_kd_specaugment cons_kd_unlabelled cons_kd_pooled cons_kd_one_sided
cr_ctc_pooled cr_ctc_one_sided cons_kd_voice""".split()  # noqa: SIM905
VOICES = ["student_long_voice", "kd_voice", "kd_long_voice", "kd_two_pass_voice", "kd_long_unlabelled_voice"]


@pytest.mark.parametrize("system", [*EQUAL, *CONSISTENT, *VOICES])
def test_a_control_computes_as_much(system: str) -> None:
    cfg = settings(system)
    assert passes(cfg) == passes(settings(cfg.system.control))


@pytest.mark.parametrize("system", CONSISTENT)
def test_the_control_of_consistency_lacks_that_term_alone(system: str) -> None:
    cfg = settings(system)
    with_term, control = plain(cfg.system), plain(settings(cfg.system.control).system)
    assert with_term["isolates"] == "the consistency term"
    del with_term["objective"]["consistency"]
    about = {"name", "label", "control", "isolates"}
    assert {key for key in with_term if with_term[key] != control[key]} == about


@pytest.mark.parametrize("system", ["student_long_voice", "kd_voice", "kd_long_voice", "kd_long_unlabelled_voice"])
def test_the_control_of_voices_lacks_them_alone(system: str) -> None:
    cfg = settings(system)
    with_voices, control = plain(cfg.system), plain(settings(cfg.system.control).system)
    about = {"name", "label", "control", "isolates", "mel_warp"}
    assert {key for key in with_voices if with_voices[key] != control[key]} == about


def test_twice_the_updates_are_looked_at_as_often_and_only_the_students() -> None:
    cfg = settings("kd_long", "student.training.updates=1000", "student.training.validate_every=150")
    long, plain_one = training_of(cfg, "student"), training_of(settings("kd"), "student")
    assert (long["updates"], long["validate_every"]) == (2000, 300)
    assert {key for key in long if long[key] != plain_one[key]} <= {"updates", "validate_every"}
    assert training_of(cfg, "teacher") == plain(cfg.teacher.training)


def test_a_system_may_begin_with_anothers_weights(tones: Path, tone_exp: Path, tmp_path: Path) -> None:
    shutil.copytree(tone_exp, tmp_path / "exp")
    cfg = runs.settings(tmp_path / "exp", tones, "system=student_two_pass", "system.start=student")
    assert TASK.teachers_of(cfg, cfg.system, 3) == [("student", 3)]
    with pytest.raises(ConfigError, match=r"system student_two_pass begins with .*, which is not there"):
        _ = Study(TASK, cfg).description
    run = runs.train_here(tmp_path / "exp", tones, "student")
    study = Study(TASK, cfg)
    assert study.description["start"] == model_hash(run / "model")
    begun = TASK.workload(study).model.state_dict()
    assert all(begun[name].equal(tensor) for name, tensor in load_file(run / "model" / "model.safetensors").items())
    options = ["system=kd", "system.start=student"]
    assert start_of(runs.settings(tmp_path / "exp", tones, *options, "system.start_within=1e9")) == run / "model"
    strict = runs.settings(tmp_path / "exp", tones, *options, "system.start_within=1e-9")
    with pytest.raises(ConfigError, match=r"begin with .*/student/seed0, which has [\d.]+% WER on what it was trained"):
        start_of(strict)
    with pytest.raises(ConfigError, match=r"setting system.start: there is no system 'kdd'"):
        runs.settings(tmp_path / "exp", tones, "system=kd", "system.start=kdd")


def test_a_long_run_has_the_schedule_over_all_its_updates(tones: Path, tone_exp: Path) -> None:
    run = runs.train_here(tone_exp, tones, "student_long", "student.training.average=1")
    assert json.loads((run / "summary.json").read_text())["steps"] == 24
    rows = json.loads((run / "history.json").read_text())["rows"]
    assert [row["step"] for row in rows] == [8, 16, 24]
    cfg = runs.settings(tone_exp, tones, "system=student_long")
    lr, final = cfg.student.training.lr, cfg.student.training.final_lr
    assert rows[1]["lr"] > 0.2 * lr and rows[2]["lr"] == pytest.approx(final * lr)
