"""Deep interactive learning: the student teaches its teachers back, and learns from what they then know, in rounds.

Round 0 is plain distillation: the fused teacher's targets teach a student. In each round after it the student teaches
each assistant (½ hard labels, ½ its own beliefs, averaged over the assistant's frame), the teacher is fused anew, and
teaches the student again. It ends when the student's error on dev no longer falls; the round with the least is kept.

Paper: ACM MM 2020, 10.1145/3394171.3413985. Chosen: assistants and student go on from the weights of the round before
(or start afresh: ``interaction.restart``); how many rounds without progress are borne (``interaction.patience``).

While it lasts, ``rounds/<r>/`` holds each step: ``student_targets/``, ``assistant_<n>s/``, ``teacher/``, ``targets/``,
``student/`` and, last, ``round.json``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from seqkd.files import write_json
from seqkd.layout import is_done, plain, working_in
from seqkd.settings import build
from seqkd.shots.fusion import FusedTeacher, load_teacher, save_teacher
from seqkd.shots.model import ShotModel, directory_hash, save_shot_model
from seqkd.shots.rates import RATES
from seqkd.shots.settings import InteractionSettings
from seqkd.shots.study import Study, finished, least
from seqkd.shots.systems import believe, done, finish, teacher_error
from seqkd.shots.targets import has_targets, read_targets, write_targets


@dataclass(frozen=True)
class Round:
    """The state after a round: who there is now, and how well they do on dev (shares of wrong seconds)."""

    student: ShotModel
    teacher: FusedTeacher
    errors: dict[str, float]
    history: list[dict[str, Any]]

    @property
    def error(self) -> float:
        """Of the student."""
        return self.errors["student"]


def train_interactive(study: Study) -> None:
    """Rounds of interaction, from the settings to a student (``model/``) and its last teacher (``teacher/``)."""
    home = finished(study.of("teacher"), "teachers")
    options = plain(study.cfg.interaction)
    build(InteractionSettings, options, "interaction")
    description = study.description(
        **study.network_description(),
        distillation=asdict(study.distillation),
        interaction=options,
        teacher=directory_hash(home),
    )
    if is_done(study.directory, description):
        return done(study)
    with working_in(study.directory, description):
        best, rounds, steps = keep_best(study, all_rounds(study, load_teacher(home)))
        save_shot_model(study.directory / "model", best.student)
        save_teacher(study.directory / "teacher", best.teacher)
        finish(
            study,
            best.history,
            parameters=best.student.network.parameter_count(),
            steps=steps,
            train_seconds=round(sum(row["seconds"] for row in rounds), 1),
            round=rounds.index(min(rounds, key=lambda row: row["student"])),
            rounds=rounds,
        )
    return None


def keep_best(study: Study, rounds: Iterator[Round]) -> tuple[Round, list[dict[str, Any]], int]:
    """Go on until the student's dev error no longer falls; return the best round, a row a round, the updates."""
    best, rows, waited = next(rounds), [], 0
    rows.append(best.errors)
    while waited < study.cfg.interaction.patience and len(rows) <= study.cfg.interaction.rounds:
        now = next(rounds)
        rows.append(now.errors)
        best, waited = (now, 0) if now.error < best.error else (best, waited + 1)
    return best, rows, len(rows) * study.training.updates


def all_rounds(study: Study, teacher: FusedTeacher) -> Iterator[Round]:
    """Round after round, each from the state that the one before left; a finished step of one is read, not redone."""
    number, student = 0, study.fresh_model()
    while True:
        place = study.directory / "rounds" / str(number)
        seconds = 0.0
        errors = {} if number else {f"assistant_{n}s": assistant_error(study, n) for n in RATES}
        if number:
            beliefs = student_beliefs(study, student, place / "student_targets")
            assistants = []
            for n, before in zip(RATES, teacher.assistants, strict=True):
                model = study.fresh_model(n) if study.cfg.interaction.restart else before
                history = study.phase(model, place / f"assistant_{n}s", soft=beliefs, number=number)
                errors[f"assistant_{n}s"] = least(history)["dev_error"]
                seconds += history[-1]["seconds"]
                assistants.append(model)
            teacher = replace(teacher, assistants=tuple(assistants))
        soft = teacher_beliefs(study, teacher, place)
        model = study.fresh_model() if study.cfg.interaction.restart else student
        history = study.phase(model, place / "student", soft=soft, number=number)
        student = model
        if not (place / "round.json").is_file():
            errors |= {"teacher": teacher_error(teacher, study.dev), "student": least(history)["dev_error"]}
            write_json(place / "round.json", errors | {"seconds": seconds + history[-1]["seconds"]})
        yield Round(
            copy_of(study, student),
            replace(teacher, assistants=tuple(copy_of(study, model) for model in teacher.assistants)),
            json.loads((place / "round.json").read_text(encoding="utf-8")),
            history,
        )
        number += 1


def assistant_error(study: Study, seconds: int) -> float:
    """The dev error of an assistant that nobody has taught yet."""
    summary = study.of(f"assistant_{seconds}s") / "summary.json"
    return json.loads(summary.read_text(encoding="utf-8"))["dev_error"]


def student_beliefs(study: Study, student: ShotModel, place: Path) -> dict[str, Any]:
    """What the student believes of the training songs, (T, C) by song id, from disk where it is there."""
    songs = study.train
    name = f"student of {place.parent.name}"
    if not has_targets(place, teacher=name, songs=songs):
        beliefs = {key: student.posteriors(frames) for key, frames in songs.frames.items()}
        write_targets(place, beliefs, teacher=name, songs=songs)
    return read_targets(place, teacher=name, songs=songs)


def teacher_beliefs(study: Study, teacher: FusedTeacher, place: Path) -> dict[str, Any]:
    """What a teacher believes of the training songs, (T, C) by song id; the teacher and its targets are saved."""
    home, targets, songs = place / "teacher", place / "targets", study.train
    if not (home.is_dir() and has_targets(targets, teacher=directory_hash(home), songs=songs)):
        save_teacher(home, teacher)
        believe(teacher, home, songs, targets)
    return read_targets(targets, teacher=directory_hash(home), songs=songs)


def copy_of(study: Study, model: ShotModel) -> ShotModel:
    """A model that further rounds do not change."""
    copied = study.fresh_model(model.seconds)
    copied.network.load_state_dict(model.network.state_dict())
    copied.network.eval()
    return copied


def train_last_teacher(study: Study) -> None:
    """The teacher of the round whose student was kept, as a system of its own."""
    run = study.of("dil")
    finished(run, "students")
    description = study.description(dil=directory_hash(run / "model"), teacher=directory_hash(run / "teacher"))
    if is_done(study.directory, description):
        return done(study)
    with working_in(study.directory, description):
        shutil.copytree(run / "teacher", study.directory / "model", dirs_exist_ok=True)
        rounds = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        teacher = load_teacher(study.directory / "model")
        finish(
            study,
            [],
            parameters=teacher.parameter_count(),
            steps=0,
            round=rounds["round"],
            dev_error=rounds["rounds"][rounds["round"]]["teacher"],
        )
    return None
