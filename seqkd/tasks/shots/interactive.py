"""Deep interactive learning: the student teaches its teachers back, and learns from what they then know, in rounds.

Round 0 is plain distillation: the fused teacher's posteriors teach a student. In each round after it the student
teaches each assistant (hard labels and its own posteriors, averaged over the assistant's frame), the teacher is fused
anew, and teaches the student again. It ends when the student's error on dev no longer falls; the round with the least
is kept.

Paper: ACM MM 2020, 10.1145/3394171.3413985. Chosen: assistants and student go on from the weights of the round before
(or start afresh: ``interaction.restart``); how many rounds without progress are borne (``interaction.patience``).

While it lasts, ``phases/round<r>/`` holds each step: ``student_targets/``, ``assistant_<n>s/``, ``teacher/``,
``targets/``, ``student/`` and, last, ``round.json``.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from seqkd.files import write_json
from seqkd.layout import run_directory
from seqkd.processes import rank, wait_until
from seqkd.shots.fusion import FusedTeacher, load_teacher, save_teacher
from seqkd.shots.model import ShotModel, directory_hash
from seqkd.shots.rates import RATES
from seqkd.tasks.shots.procedures import finished, targets, taught, teacher_error
from seqkd.tasks.shots.work import ShotData, SongWork
from seqkd.training.study import Fitted, Study


@dataclass(frozen=True)
class Round:
    """The state after a round: the models, and how well they do on dev (shares of wrong seconds)."""

    student: ShotModel
    teacher: FusedTeacher
    errors: dict[str, float]
    fitted: Fitted

    @property
    def error(self) -> float:
        """Of the student."""
        return self.errors["student"]


def rounds(study: Study) -> None:
    """From the settings to a student (``model/``) and its last teacher (``teacher/``)."""
    home = finished(study, study.cfg.system.teacher)
    if study.done:
        return
    data = ShotData(study.cfg)
    with study.working():
        best, rows = keep_best(study, all_rounds(study, data, load_teacher(home)))
        save_teacher(study.directory / "teacher", best.teacher)
        steps, seconds = len(rows) * best.fitted.steps, sum(row["seconds"] for row in rows)
        study.finish(
            replace(best.fitted, steps=steps, seconds=seconds),
            SongWork(data, data.students, best.student, seed=study.seed),
            round=rows.index(min(rows, key=lambda row: row["student"])),
            rounds=rows,
        )


def keep_best(study: Study, found: Iterator[Round]) -> tuple[Round, list[dict[str, Any]]]:
    """Go on until the student's dev error no longer falls; return the best round, and a row a round."""
    best, waited = next(found), 0
    rows = [best.errors]
    while waited < study.cfg.interaction.patience and len(rows) <= study.cfg.interaction.rounds:
        now = next(found)
        rows.append(now.errors)
        best, waited = (now, 0) if now.error < best.error else (best, waited + 1)
    return best, rows


def all_rounds(study: Study, data: ShotData, teacher: FusedTeacher) -> Iterator[Round]:
    """Round after round, each from the state that the one before left; a finished step of one is read, not redone."""
    number, student, restart = 0, data.fresh_model(data.train), study.cfg.interaction.restart
    while True:
        phase = f"phases/round{number}"
        place, seed = study.directory / phase, study.seed + 1000 * number
        seconds, errors = 0.0, {}
        if number == 0:
            errors = {f"assistant_{n}s": assistant_error(study, n) for n in RATES}
        else:
            name = f"student of {place.name}"
            soft = targets(place / "student_targets", name, data.teachers, student.posteriors)
            assistants = []
            for n, before in zip(RATES, teacher.assistants, strict=True):
                model = data.fresh_model(data.teachers, n) if restart else before
                work = SongWork(data, data.teachers, model, soft, seed=seed)
                fitted = study.fit(work, phase=f"{phase}/assistant_{n}s", seed=seed)
                errors[f"assistant_{n}s"] = fitted.value
                seconds += fitted.seconds
                assistants.append(model)
            teacher = replace(teacher, assistants=tuple(assistants))
            if teacher.pool is not None:
                teacher = teacher.fitted(data.dev.frames, data.dev.classes)
        soft = fused_targets(study, data, teacher, phase)
        model = data.fresh_model(data.train) if restart else student
        work = SongWork(data, data.students, model, soft, seed=seed)
        fitted = study.fit(work, phase=f"{phase}/student", seed=seed)
        student = model
        file = place / "round.json"
        if rank() > 0:
            wait_until(file.is_file, f"{file}, which the first process of this run writes")
        elif not file.is_file():
            errors |= {"teacher": teacher_error(teacher, data.dev), "student": fitted.value}
            write_json(file, errors | {"seconds": seconds + fitted.seconds})
        yield Round(
            copy_of(student),
            replace(teacher, assistants=tuple(copy_of(model) for model in teacher.assistants)),
            json.loads(file.read_text(encoding="utf-8")),
            fitted,
        )
        number += 1


def assistant_error(study: Study, seconds: int) -> float:
    """The dev error of an assistant that nobody has taught yet."""
    summary = run_directory(study.cfg, f"assistant_{seconds}s") / "summary.json"
    return json.loads(summary.read_text(encoding="utf-8"))["best_dev_error"]


def fused_targets(study: Study, data: ShotData, teacher: FusedTeacher, phase: str) -> dict[str, Any]:
    """A teacher's posteriors of the students' songs, (T, C) by song id; the teacher and its targets are saved."""
    place = study.directory / phase
    home, mark = place / "teacher", place / "teacher" / "fusion.json"
    if rank() > 0:
        wait_until(mark.is_file, f"{home}, which the first process of this run writes")
    elif not mark.is_file():  # written last
        save_teacher(home, teacher)
    return taught(place, directory_hash(home), data, teacher.posteriors)


def copy_of(model: ShotModel) -> ShotModel:
    """A model that further rounds do not change."""
    return replace(model, network=copy.deepcopy(model.network).eval())


def last_teacher(study: Study) -> None:
    """The teacher of the round whose student was kept, as a system of its own."""
    if study.done:
        load_teacher(study.directory / "model")
        return
    run = finished(study, study.cfg.system.teacher).parent
    with study.working():
        shutil.copytree(run / "teacher", study.directory / "model", dirs_exist_ok=True)
        kept = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        study.conclude(
            [],
            parameters=load_teacher(study.directory / "model").parameter_count(),
            steps=0,
            round=kept["round"],
            best_dev_error=kept["rounds"][kept["round"]]["teacher"],
        )
