"""What systems of speech recognition are compared with differs from them in what the comparison is to isolate."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from omegaconf import DictConfig

from seqkd.cli.settings import parse, parser
from seqkd.config import compose
from seqkd.layout import plain
from seqkd.tasks.asr.settings import training_of
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


@pytest.mark.parametrize("system", EQUAL)
def test_a_control_computes_as_much(system: str) -> None:
    cfg = settings(system)
    assert passes(cfg) == passes(settings(cfg.system.control))


@pytest.mark.parametrize("system", ["consistency", "cr_ctc", "cons_kd", "cons_kd_specaugment", "cons_kd_unlabelled"])
def test_the_control_of_consistency_lacks_that_term_alone(system: str) -> None:
    cfg = settings(system)
    with_term, control = plain(cfg.system), plain(settings(cfg.system.control).system)
    assert with_term["isolates"] == "the consistency term"
    del with_term["objective"]["consistency"]
    about = {"name", "label", "control", "isolates"}
    assert {key for key in with_term if with_term[key] != control[key]} == about


def test_twice_the_updates_are_looked_at_as_often_and_only_the_students() -> None:
    cfg = settings("kd_long", "student.training.updates=1000", "student.training.validate_every=150")
    long, plain_one = training_of(cfg, "student"), training_of(settings("kd"), "student")
    assert (long["updates"], long["validate_every"]) == (2000, 300)
    assert {key for key in long if long[key] != plain_one[key]} <= {"updates", "validate_every"}
    assert training_of(cfg, "teacher") == plain(cfg.teacher.training)


def test_a_long_run_has_the_schedule_over_all_its_updates(tones: Path, tone_exp: Path) -> None:
    run = runs.train_here(tone_exp, tones, "student_long", "student.training.average=1")
    assert json.loads((run / "summary.json").read_text())["steps"] == 24
    rows = json.loads((run / "history.json").read_text())["rows"]
    assert [row["step"] for row in rows] == [8, 16, 24]
    cfg = runs.settings(tone_exp, tones, "system=student_long")
    lr, final = cfg.student.training.lr, cfg.student.training.final_lr
    assert rows[1]["lr"] > 0.2 * lr and rows[2]["lr"] == pytest.approx(final * lr)
