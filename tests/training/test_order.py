"""Whoever teaches is trained first: the order of runs follows from the systems' teachers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from seqkd.errors import ConfigError
from seqkd.tasks import task_of
from seqkd.training.order import all_runs, levels_of, teachers_by_name
from tests.training.cases import ASR, SHOTS, TRANSLATION, Kind


def order(kind: Kind, *overrides: str) -> dict[str, list[list[tuple[str, int]]]]:
    """Levels of a task's runs, with no data and nothing trained."""
    nowhere = Path("/nowhere")
    cfg = kind.settings(nowhere / "exp", nowhere / "data", *overrides)
    return levels_of(task_of(cfg), cfg, systems_of(kind, *overrides))


def systems_of(kind: Kind, *overrides: str) -> Callable[[str], DictConfig]:
    nowhere = Path("/nowhere")
    return lambda name: kind.settings(nowhere / "exp", nowhere / "data", *overrides, f"system={name}").system


def test_speech_has_teachers_guided_by_the_first() -> None:
    found = order(ASR, "systems=[kd,student]", "seeds=2", "teacher.seeds=3")
    assert found["teachers"] == [[("teacher", 0)], [("teacher_guided", 1), ("teacher_guided", 2)]]
    students = {(system, seed) for system in ("kd", "student") for seed in (0, 1)}
    assert {run for level in found["students"] for run in level} == students
    assert ("student", 0) in found["students"][0]  # need not wait
    unguided = order(ASR, "systems=[kd]", "teacher.seeds=2", "teacher.guided=false")
    assert unguided["teachers"] == [[("teacher", 0), ("teacher", 1)]]


def test_a_teacher_is_trained_for_those_who_learn_from_it_alone() -> None:
    assert order(ASR, "systems=[student,consistency]") == {
        "teachers": [],
        "students": [[("student", 0), ("consistency", 0)]],
    }


def test_another_experiments_teachers_are_not_trained_here() -> None:
    found = order(ASR, "systems=[kd]", "teacher.exp=/elsewhere", "teacher.seeds=2")
    assert found == {"teachers": [], "students": [[("kd", 0)]]}


def test_an_imported_teacher_is_one_run() -> None:
    found = order(ASR, "systems=[kd]", "teacher.import_from=[a,b]", "teacher.seeds=2", "seeds=2")
    assert found == {"teachers": [[("teacher", 0)]], "students": [[("kd", 0), ("kd", 1)]]}


def test_translation_has_one_teacher_for_all_seeds_or_one_a_seed() -> None:
    found = order(TRANSLATION, "systems=[none,adaptive,tf_kd_self,word_kd,book_kd,sequence_kd]", "seeds=2")
    assert {run for level in found["teachers"] for run in level} == {("none", 0), ("none", 1), ("teacher", 0)}
    taught = {(system, seed) for system in ("tf_kd_self", "word_kd", "book_kd", "sequence_kd") for seed in (0, 1)}
    alone = {("adaptive", 0), ("adaptive", 1)}
    assert {run for level in found["students"] for run in level} == taught | alone
    only = order(TRANSLATION, "systems=[tf_kd_self]", "seeds=2")
    assert only["teachers"] == [[("none", 0), ("none", 1)]]  # a copy of the same seed


def test_songs_go_up_the_ladder() -> None:
    found = order(SHOTS, "systems=[student,student_kd,dil,teacher_dil]", "seeds=2")
    assistants = [(f"assistant_{n}s", seed) for seed in (0, 1) for n in (1, 2, 4)]
    levels = [set(level) for level in found["teachers"]]
    assert levels == [set(assistants), {("teacher", 0), ("teacher", 1)}, {("dil", 0), ("dil", 1)}]
    assert [set(level) for level in found["students"]] == [
        {("student", 0), ("student", 1)},
        {("student_kd", 0), ("student_kd", 1)},
        {("teacher_dil", 0), ("teacher_dil", 1)},
    ]
    assert order(SHOTS, "systems=[student]") == {"teachers": [], "students": [[("student", 0)]]}


@pytest.mark.parametrize("kind", [ASR, TRANSLATION, SHOTS])
def test_nobody_is_trained_before_a_teacher(kind: Kind) -> None:
    cfg = kind.settings(Path("/nowhere/exp"), Path("/nowhere/data"))
    task, system_of = task_of(cfg), systems_of(kind)
    runs = all_runs(task, cfg, system_of)
    assert len(runs) == len(set(runs)) and {(system, 0) for system in cfg.systems} <= set(runs)
    for place, run in enumerate(runs):
        assert set(task.teachers_of(cfg, system_of(run[0]), run[1])) <= set(runs[:place])


class Named:
    """A task in which the systems' names say all."""

    def teachers_of(self, cfg: Any, system: DictConfig, seed: int) -> list[tuple[str, int]]:
        return teachers_by_name(system, seed)


def named(**teachers: str | list[str] | None) -> dict[str, list[list[tuple[str, int]]]]:
    cfg = OmegaConf.create({"systems": list(teachers), "seeds": 1})
    return levels_of(Named(), cfg, lambda name: OmegaConf.create({"name": name, "teacher": teachers[name]}))


def test_levels_are_no_deeper_than_they_must_be() -> None:
    found = named(a=None, b="a", c="b", d=["a", "c"], e="a", f=None)
    assert found["teachers"] == [[("a", 0)], [("b", 0)], [("c", 0)]]
    assert found["students"] == [[("f", 0)], [("e", 0)], [("d", 0)]]


@pytest.mark.parametrize(
    ("teachers", "circle"),
    [
        ({"a": "a"}, "a from a"),
        ({"a": "b", "b": "a"}, "a from b from a"),
        ({"z": "a", "a": "b", "b": ["c"], "c": "a"}, "a from b from c from a"),
    ],
)
def test_a_circle_is_named(teachers: dict[str, Any], circle: str) -> None:
    with pytest.raises(ConfigError, match=f"learn from each other in a circle: {circle}; change their teacher"):
        named(**teachers)
