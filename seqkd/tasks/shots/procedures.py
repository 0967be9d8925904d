"""How the systems of the songs are made: each a function of a `Study`, named by its ``system.procedure``.

``exp/<system>/seed<k>/`` receives ``config.yaml``, ``model/``, ``history.json`` and ``summary.json``; a teacher also
``targets/``, its posteriors of the students' songs, and ``targets_unlabelled/``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.errors import ConfigError
from seqkd.layout import plain, run_directory
from seqkd.processes import rank, wait_until
from seqkd.shots.fusion import CoOccurrence, FusedTeacher, load_teacher, save_teacher
from seqkd.shots.lessons import SongSet
from seqkd.shots.model import ShotModel, directory_hash, load_shot_model
from seqkd.shots.rates import RATES
from seqkd.shots.targets import has_targets, read_targets, write_targets
from seqkd.shots.truth import Truth, read_truth
from seqkd.stages import again
from seqkd.tasks.settings import unlabelled_sets
from seqkd.tasks.shots.work import ShotData, SongWork
from seqkd.training.study import Fitted, Study

LABELLED, UNLABELLED = "targets", "targets_unlabelled"


def language(study: Study) -> None:
    """Count the film language: all that the baselines without music have."""
    if study.done:
        return
    data = ShotData(study.cfg)
    with study.working():
        data.language(data.train).save(study.directory / "model" / "language.json")
        study.conclude([], parameters=0, steps=0)


def assistant(study: Study) -> None:
    """One phase on hard labels, at the frame rate of the system."""
    if study.done:
        return
    data = ShotData(study.cfg)
    work = SongWork(data, data.teachers, data.fresh_model(data.teachers, study.cfg.system.seconds), seed=study.seed)
    with study.working():
        study.finish(study.fit(work), work)


def fused_teacher(study: Study) -> None:
    """Fuse the assistants, and write down their posteriors of the songs that students learn from."""
    if study.done:
        load_teacher(study.directory / "model")  # a damaged one is to be found out here, not by its students
        return
    data, options = ShotData(study.cfg), plain(study.cfg.teacher)
    homes = [finished(study, f"assistant_{n}s") for n in RATES]
    with study.working():
        began = time.monotonic()
        weights = {name: options.pop(name) for name in ("scale", "prior_power")}
        high, middle, low = (load_shot_model(home) for home in homes)
        songs = data.teachers
        tables = CoOccurrence.learn(
            list(songs.frames.values()), list(songs.classes.values()), classes=8, seed=study.seed, **options
        )
        teacher = FusedTeacher((high, middle, low), tables, data.language(songs), **weights)
        if study.cfg.system.fusion == "pool":
            teacher = teacher.fitted(data.dev.frames, data.dev.classes)
        home = study.directory / "model"
        save_teacher(home, teacher)
        taught(study.directory, directory_hash(home), data, teacher.posteriors)
        study.conclude(
            [],
            parameters=teacher.parameter_count(),
            steps=0,
            train_seconds=round(time.monotonic() - began, 1),
            best_dev_error=teacher_error(teacher, data.dev),
        )


def student(study: Study) -> None:
    """A student on hard labels and, where ``system.teacher`` names one, on the teacher's posteriors too.

    It has as many phases of training as interaction with all of its rounds, each from the best weights of the one
    before, as there: what interaction adds is the teaching back, not the updates.
    """
    if study.done:
        return
    data, soft = ShotData(study.cfg), None
    if study.cfg.system.teacher:
        name = study.cfg.system.teacher
        soft = read_taught(run_directory(study.cfg, name), directory_hash(finished(study, name)), data)
    in_phases(study, data, data.students, data.fresh_model(data.train), soft)


def from_director(study: Study) -> None:
    """What audio allows: a student of the director's own probabilities of the teacher's songs, made-up ones.

    The director knows what is played without listening, and nothing of a student's error is left to the chance of the
    shots that were drawn: what such a student does not know, the features and the network do not give.
    """
    if study.done:
        return
    data = ShotData(study.cfg)
    truths: dict[str, Truth] = {}
    for name in study.cfg.sets.teacher or [study.cfg.sets.train]:
        truths |= read_truth(Path(study.cfg.data) / name)
    soft = {key: truths[key].marginal for key in data.teachers.tracks}
    in_phases(study, data, data.teachers, data.fresh_model(data.teachers), soft)


def in_phases(
    study: Study, data: ShotData, songs: SongSet, model: ShotModel, soft: Mapping[str, np.ndarray] | None
) -> None:
    """As many phases as interaction may have, each from the weights of the one before; the best ones are kept."""
    with study.working():
        best, history = None, []
        for number in range(1 + study.cfg.interaction.rounds):
            seed = study.seed + 1000 * number  # so that the batches are not those of the phase before
            work = SongWork(data, songs, model, soft, seed=seed)
            fitted = study.fit(work, phase=f"phases/{number}", seed=seed)
            history = joined(history, fitted)
            if best is None or fitted.value < best[0].value:
                best = fitted, {name: value.clone() for name, value in model.network.state_dict().items()}
        fitted, weights = best
        model.network.load_state_dict(weights)
        steps = (1 + study.cfg.interaction.rounds) * fitted.steps
        study.finish(replace(fitted, history=history, seconds=history[-1]["seconds"], steps=steps), work)


def joined(history: list[dict[str, Any]], fitted: Fitted) -> list[dict[str, Any]]:
    """A history and that of the next phase."""
    steps, seconds = (history[-1]["step"], history[-1]["seconds"]) if history else (0, 0.0)
    return history + [
        row | {"step": row["step"] + steps, "seconds": row["seconds"] + seconds} for row in fitted.history
    ]


def taught(
    place: Path, teacher: str, data: ShotData, posteriors: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Posteriors (T, C) of all songs that any student learns from, by song id: `targets` below ``place``.

    Those of songs without labels are apart, so that systems with and without them share the others.
    """
    found = targets(place / LABELLED, teacher, data.train, posteriors)
    if data.unlabelled:
        found |= targets(place / UNLABELLED, teacher, data.unlabelled, posteriors)
    return found


def read_taught(place: Path, teacher: str, data: ShotData) -> dict[str, np.ndarray]:
    """What `taught` wrote. Raises ConfigError or DataError if it is another teacher's, of other songs, or damaged."""
    found = read_targets(place / LABELLED, teacher=teacher, songs=data.train)
    if unlabelled_sets(data.cfg):  # asked first: features of songs that are not used are not read
        found |= read_targets(place / UNLABELLED, teacher=teacher, songs=data.unlabelled)
    return found


def targets(
    place: Path, teacher: str, songs: SongSet, posteriors: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Posteriors (T, C) of songs, by song id, as they are on disk: the first process writes them.

    ``teacher`` is a hash or name of whose they are; what is there already is not written again.
    """
    there = lambda: has_targets(place, teacher=teacher, songs=songs)  # noqa: E731
    if rank() > 0:
        wait_until(there, f"{place}, which the first process of this run writes")
    elif not there():
        write_targets(place, {key: posteriors(f) for key, f in songs.frames.items()}, teacher=teacher, songs=songs)
    return read_targets(place, teacher=teacher, songs=songs)


def teacher_error(teacher: FusedTeacher, songs: SongSet) -> float:
    """The share of seconds in which what the teacher decodes is the wrong shot."""
    wrong = [teacher.decode(frames) != songs.classes[key] for key, frames in songs.frames.items()]
    return float(np.concatenate(wrong).mean())


def finished(study: Study, system: str) -> Path:
    """The model of another system of the same seed. Raises ConfigError if it is not finished."""
    directory = run_directory(study.cfg, system)
    if not (directory / "summary.json").is_file():
        raise ConfigError(
            f"{directory} has no finished model, and {study.cfg.system.name} needs it; {again('teachers')}"
        )
    return directory / "model"
