"""How the systems of the songs are made: each a function of a `Study`, named by its ``system.procedure``.

``exp/<system>/seed<k>/`` receives ``config.yaml``, ``model/``, ``history.json`` and ``summary.json``; a teacher also
``targets/``, its posteriors of the training songs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.errors import ConfigError
from seqkd.layout import plain, run_directory
from seqkd.processes import rank, wait_until
from seqkd.shots.fusion import CoOccurrence, FusedTeacher, load_teacher, save_teacher
from seqkd.shots.lessons import SongSet
from seqkd.shots.model import directory_hash, load_shot_model
from seqkd.shots.rates import RATES
from seqkd.shots.targets import has_targets, read_targets, write_targets
from seqkd.stages import again
from seqkd.tasks.shots.work import ShotData, SongWork
from seqkd.training.study import Fitted, Study


def language(study: Study) -> None:
    """Count the film language: all that the baselines without music have."""
    if study.done:
        return
    data = ShotData(study.cfg)
    with study.working():
        data.language.save(study.directory / "model" / "language.json")
        study.conclude([], parameters=0, steps=0)


def assistant(study: Study) -> None:
    """One phase on hard labels, at the frame rate of the system."""
    if study.done:
        return
    data = ShotData(study.cfg)
    work = SongWork(data, data.fresh_model(study.cfg.system.seconds), seed=study.seed)
    with study.working():
        study.finish(study.fit(work), work)


def fused_teacher(study: Study) -> None:
    """Fuse the assistants, and write down their posteriors of the training songs."""
    if study.done:
        load_teacher(study.directory / "model")  # a damaged one is to be found out here, not by its students
        return
    data, options = ShotData(study.cfg), plain(study.cfg.teacher)
    homes = [finished(study, f"assistant_{n}s") for n in RATES]
    with study.working():
        began = time.monotonic()
        weights = {name: options.pop(name) for name in ("scale", "prior_power")}
        high, middle, low = (load_shot_model(home) for home in homes)
        songs = data.train
        tables = CoOccurrence.learn(
            list(songs.frames.values()), list(songs.classes.values()), classes=8, seed=study.seed, **options
        )
        teacher = FusedTeacher((high, middle, low), tables, data.language, **weights)
        if study.cfg.system.fusion == "pool":
            teacher = teacher.fitted(data.dev.frames, data.dev.classes)
        home = study.directory / "model"
        save_teacher(home, teacher)
        targets(study.directory / "targets", directory_hash(home), songs, teacher.posteriors)
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
        home = finished(study, name)
        place = run_directory(study.cfg, name) / "targets"
        soft = read_targets(place, teacher=directory_hash(home), songs=data.train)
    model = data.fresh_model()
    with study.working():
        best, history = None, []
        for number in range(1 + study.cfg.interaction.rounds):
            seed = study.seed + 1000 * number  # so that the batches are not those of the phase before
            work = SongWork(data, model, soft, seed=seed)
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


def targets(
    place: Path, teacher: str, songs: SongSet, posteriors: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Posteriors (T, C) of the training songs, by song id, as they are on disk: the first process writes them.

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
