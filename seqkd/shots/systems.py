"""The systems of the recipe: each from settings to a model directory. Finished, unchanged runs are left alone.

``exp/<system>/seed<k>/`` receives ``config.yaml``, ``model/``, ``history.json`` and ``summary.json``; a teacher also
``targets/``, what it believes of the training songs.
"""

from __future__ import annotations

import json
import logging
import math
import shlex
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkd.errors import ConfigError
from seqkd.files import write_json
from seqkd.layout import is_done, plain, run_directory, working_in
from seqkd.shots.fusion import CoOccurrence, FusedTeacher, load_teacher, save_teacher
from seqkd.shots.lessons import Corpus
from seqkd.shots.model import ShotModel, directory_hash, load_shot_model, save_shot_model
from seqkd.shots.rates import RATES
from seqkd.shots.study import Study, finished, least
from seqkd.shots.targets import read_targets, write_targets
from seqkd.stages import again

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger("seqkd")


def train(cfg: DictConfig) -> Path:
    """Train ``cfg.system`` with ``cfg.seed``; return the run's directory."""
    from seqkd.shots.interactive import train_interactive, train_last_teacher

    if cfg.ngpu:
        raise ConfigError("music2shot trains on the CPU, where its networks take minutes; leave --ngpu out")
    study, name = Study(cfg), cfg.system.name
    match name:
        case "majority" | "bigram":
            train_language(study)
        case "assistant_1s" | "assistant_2s" | "assistant_4s":
            train_assistant(study, cfg.system.seconds)
        case "teacher":
            train_teacher(study)
        case "student" | "student_kd":
            train_student(study, taught=name == "student_kd")
        case "dil":
            train_interactive(study)
        case "teacher_dil":
            train_last_teacher(study)
        case _:
            raise ConfigError(f"system.name is {name!r}; this recipe has no such system")
    return study.directory


def train_language(study: Study) -> None:
    """Count the film language: all that the baselines without music have."""
    description = study.description()
    if is_done(study.directory, description):
        return done(study)
    with working_in(study.directory, description):
        study.language.save(study.directory / "model" / "language.json")
        finish(study, [], parameters=0, steps=0)
    return None


def train_assistant(study: Study, seconds: int) -> None:
    """An assistant learns from hard labels at its frame rate."""
    description = study.description(seconds=seconds, **study.network_description())
    if is_done(study.directory, description):
        return done(study)
    with working_in(study.directory, description):
        model = study.fresh_model(seconds)
        history = study.phase(model, study.directory / "phase")
        save_shot_model(study.directory / "model", model)
        finish(study, history, parameters=model.network.parameter_count(), steps=study.training.updates)
    return None


def train_teacher(study: Study) -> None:
    """Fuse the assistants, and write down what they believe together of the training songs."""
    homes = [finished(study.of(f"assistant_{n}s"), "teachers") for n in RATES]
    description = study.description(
        teacher=plain(study.cfg.teacher), assistants=[directory_hash(home) for home in homes]
    )
    if is_done(study.directory, description):
        return done(study)
    with working_in(study.directory, description):
        began = time.monotonic()
        options = plain(study.cfg.teacher)
        weights = {name: options.pop(name) for name in ("scale", "prior_power")}
        high, middle, low = (load_shot_model(home) for home in homes)
        tables = CoOccurrence.learn(
            list(study.train.frames.values()), list(study.train.classes.values()), classes=8, seed=study.seed, **options
        )
        teacher = FusedTeacher((high, middle, low), tables, study.language, **weights)
        save_teacher(study.directory / "model", teacher)
        believe(teacher, study.directory / "model", study.train, study.directory / "targets")
        finish(
            study,
            [],
            parameters=teacher.parameter_count(),
            steps=0,
            train_seconds=round(time.monotonic() - began, 1),
            dev_error=teacher_error(teacher, study.dev),
        )
    return None


def train_student(study: Study, *, taught: bool) -> None:
    """A student learns from hard labels and, if ``taught``, from the teacher's targets too.

    It gets as many phases of training as interaction with all of its rounds, each from the best weights of the one
    before, as there: what interaction adds is the teaching back, not the updates.
    """
    phases = 1 + study.cfg.interaction.rounds
    more: dict[str, Any] = study.network_description() | {"phases": phases}
    if taught:
        home = finished(study.of("teacher"), "teachers")
        more |= {"distillation": asdict(study.distillation), "teacher": directory_hash(home)}
    description = study.description(**more)
    if is_done(study.directory, description):
        return done(study)
    with working_in(study.directory, description):
        soft = None
        if taught:
            soft = read_targets(study.of("teacher") / "targets", teacher=more["teacher"], songs=study.train)
        model = study.fresh_model()
        history = train_in_phases(study, model, soft, phases)
        save_shot_model(study.directory / "model", model)
        finish(study, history, parameters=model.network.parameter_count(), steps=phases * study.training.updates)
    return None


def train_in_phases(
    study: Study, model: ShotModel, soft: dict[str, np.ndarray] | None, phases: int
) -> list[dict[str, Any]]:
    """Train phase after phase; leave the model with the best weights of all, and return the history of all."""
    history: list[dict[str, Any]] = []
    error, best = math.inf, model.network.state_dict()
    for number in range(phases):
        rows = study.phase(model, study.directory / "phase" / str(number), soft=soft, number=number)
        steps, seconds = number * study.training.updates, history[-1]["seconds"] if history else 0.0
        history += [row | {"step": row["step"] + steps, "seconds": row["seconds"] + seconds} for row in rows]
        if least(rows)["dev_error"] < error:
            error = least(rows)["dev_error"]
            best = {name: value.clone() for name, value in model.network.state_dict().items()}
    model.network.load_state_dict(best)
    return history


def believe(teacher: FusedTeacher, home: Path, songs: Corpus, directory: Path) -> None:
    """Write the soft targets of a teacher, saved in ``home``, for every song."""
    beliefs = {key: teacher.posteriors(frames) for key, frames in songs.frames.items()}
    write_targets(directory, beliefs, teacher=directory_hash(home), songs=songs)


def teacher_error(teacher: FusedTeacher, songs: Corpus) -> float:
    """The share of seconds for which the teacher's best sequence has the wrong shot."""
    wrong = [teacher.decode(frames) != songs.classes[key] for key, frames in songs.frames.items()]
    return float(np.concatenate(wrong).mean())


def finish(study: Study, history: list[dict[str, Any]], **found: Any) -> None:
    """Write what the report reads, the summary last, and drop what only served to carry on."""
    if history:
        best = least(history)
        found = {
            "train_seconds": round(history[-1]["seconds"], 1),
            "dev_error": best["dev_error"],
            "best_update": best["step"],
        } | found
    summary = {
        "system": study.cfg.system.name,
        "seed": study.seed,
        "passes": 1,
        "train_seconds": 0.0,
        "device": f"{study.training.threads} CPU thread(s)",
    }
    write_json(study.directory / "history.json", {"rows": history})
    write_json(study.directory / "summary.json", summary | found)
    for rest in (study.directory / "phase", study.directory / "rounds"):
        if rest.is_dir():
            shutil.rmtree(rest)


def export(cfg: DictConfig) -> None:
    """Copy the student with the least dev error, of the best kind that was trained, to ``<exp>/model``.

    Raises:
        ConfigError: no student is finished.
    """
    for system in ("dil", "student_kd", "student"):
        runs = {}
        for seed in range(cfg.seeds):
            run = run_directory(cfg, system, seed)
            if (run / "summary.json").is_file():
                runs[run] = json.loads((run / "summary.json").read_text(encoding="utf-8"))["dev_error"]
        if runs:
            best = min(runs, key=runs.__getitem__)
            target = Path(cfg.exp) / "model"
            save_shot_model(target, load_shot_model(best / "model"))
            print(
                f"{system}/{best.name} has the least dev error ({100 * runs[best]:.2f} %). Cut a song with it:\n"
                f"  seqkd shots SONG -o cut.otio --model {shlex.quote(str(target.resolve()))}"
            )
            return
    raise ConfigError(f"{cfg.exp} has no finished student to export; {again('teachers')}")


def done(study: Study) -> None:
    """Say that there is nothing to do."""
    log.info("%s is done", study.directory)
    if study.cfg.system.name == "teacher":
        load_teacher(study.directory / "model")  # a damaged one is to be found out here, not by its students
