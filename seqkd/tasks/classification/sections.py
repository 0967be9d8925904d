"""What only the report of classes shows: sizes and speed, where the teacher is wrong, classes taken for each other.

Letters: N clips, K positions, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from seqkd.classification.decoding import read_decoded
from seqkd.classification.measures import BALANCED, BRIER
from seqkd.classification.model import load_classifier
from seqkd.config import system_settings
from seqkd.experiment.figures import save_all
from seqkd.experiment.parts import bullets, table
from seqkd.experiment.read import FEWER, Experiment, Run
from seqkd.models.classifier import multiply_adds
from seqkd.tasks.classification import experts, shows
from seqkd.tasks.classification.figures import draw_by_set, draw_confusion
from seqkd.tasks.classification.work import ClipData, model_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from seqkd.experiment.read import System

TIMES = 100  # that a clip is classified, after as many in which the machine warms up
SHOWN = 8  # pairs of classes that are most often taken for each other


def sections(cfg: DictConfig, experiment: Experiment) -> list[str]:
    """Return the sections, as `seqkd.task.Task.sections`."""
    figures = Path(cfg.report.out).parent / "figures"
    data = ClipData(cfg)
    return [
        "## More measures",
        _more(experiment, data),
        "Balanced accuracy: mean recall of the classes. Multiply–adds, bytes and milliseconds are of one clip and one "
        f"model; milliseconds are the median of {TIMES} clips, one at a time, on one thread of this processor.",
        *_by_set(experiment, data, figures),
        *_where_the_teacher_is_wrong(experiment, data),
        *_confusion(cfg, experiment, data, figures),
        *experts.sections(experiment, data.names, figures),
        *shows.sections(cfg, experiment, figures),
    ]


@dataclass(frozen=True)
class Cost:
    """Of one clip: multiplications, bytes of weights on disk, and milliseconds."""

    multiplications: int
    size: int
    milliseconds: float


def cost(run: Run, frames: int) -> Cost:
    """What a run's model costs."""
    folder = model_folder(run.directory)
    model, _ = load_classifier(folder, own=True)
    clip, length = torch.zeros(1, frames, len(model.feature_mean)), torch.tensor([frames])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            times = []
            for _ in range(2 * TIMES):
                began = time.perf_counter()
                model(clip, length)
                times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    packed = folder / "packed.safetensors"  # what a quantised network is delivered as; its floats are for going on
    size = (packed if packed.is_file() else folder / "model.safetensors").stat().st_size
    return Cost(multiply_adds(model, frames), size, 1000 * float(np.median(times[TIMES:])))


def _more(experiment: Experiment, data: ClipData) -> str:
    header = ["System", BALANCED.label, f"{BRIER.label} ↓", "Weakest class", "Its recall %"]
    header += ["Multiply–adds", "Bytes", "Milliseconds"]
    frames = data.features(data.cfg.sets.test[0]).values.shape[1]
    rows = []
    for name, system in experiment.finished.items():
        hit, true = system.total("hit"), system.total("true")
        recalls = np.where(true > 0, hit / np.maximum(true, 1), np.inf)
        weakest, estimates = int(recalls.argmin()), experiment.estimates[name]
        of_one = cost(system.runs[0], frames)
        rows.append(
            [
                system.label,
                *(one.show(estimates[one.key].value) for one in (BALANCED, BRIER)),
                data.names[weakest],
                f"{100 * recalls[weakest]:.1f}",
                f"{of_one.multiplications:,}",
                f"{of_one.size:,}",
                f"{of_one.milliseconds:.2f}",
            ]
        )
    return table(header, rows)


def _by_set(experiment: Experiment, data: ClipData, figures: Path) -> list[str]:
    """Accuracy on each test set, where there are several, beside chance."""
    if len(experiment.test_sets) < 2:
        return []
    measure = experiment.task.measures[0]
    found = {
        name: experiment.measured([measure], name, replicates=min(FEWER, experiment.replicates))
        for name in experiment.test_sets
    }
    values = {
        system.label: [found[name][key][measure.key] for name in experiment.test_sets]
        for key, system in experiment.finished.items()
    }
    drawn = draw_by_set(values, experiment.test_sets, 1 / len(data.subset))
    return ["## By test set", *save_all({"by_set.png": (drawn, f"{measure.name} on each test set")}, figures)]


def right_of(run: Run, data: ClipData) -> np.ndarray:
    """(K,) whether each position of all test sets was right."""
    found = []
    for name in data.cfg.sets.test:
        decoded = read_decoded(run.directory / f"decode_{name}")
        targets = data.targets(name)[decoded.rows]
        found.append(decoded.predicted == targets[targets >= 0])
    return np.concatenate(found)


def _where_the_teacher_is_wrong(experiment: Experiment, data: ClipData) -> list[str]:
    """Accuracy where the teacher is right, and where it is wrong, of the same seed."""
    teacher = experiment.finished.get(experiment.task.teacher)
    if teacher is None or len(experiment.finished) < 2:
        return []
    known = {run.seed: right_of(run, data) for run in teacher.runs}
    rows = []
    for name, system in experiment.finished.items():
        shares = [_split(right_of(run, data), known[run.seed]) for run in system.runs if run.seed in known]
        if name == experiment.task.teacher or not shares:
            continue
        means = np.nanmean(shares, axis=0)
        rows.append([system.label, *(f"{100 * mean:.2f}" for mean in means)])
    share = np.mean([one.mean() for one in known.values()])
    header = ["System", "Accuracy % where the teacher is right", "where it is wrong"]
    said = f"The teacher is right in {100 * share:.2f} % of the labels of the test sets."
    return ["## Where the teacher is right, and where it is wrong", said, table(header, rows)]


def _split(right: np.ndarray, teacher: np.ndarray) -> tuple[float, float]:
    if len(right) != len(teacher):
        return np.nan, np.nan
    return right[teacher].mean(), right[~teacher].mean() if (~teacher).any() else np.nan


def confusion_of(system: System, data: ClipData) -> np.ndarray:
    """(C, C) how often each true class was given each class, over seeds and test sets."""
    classes = len(data.names)
    counts = np.zeros((classes, classes))
    for run in system.runs:
        for name in data.cfg.sets.test:
            decoded = read_decoded(run.directory / f"decode_{name}")
            targets = data.targets(name)[decoded.rows]
            np.add.at(counts, (targets[targets >= 0], decoded.predicted), 1)
    return counts


def students_of(cfg: DictConfig, names: Iterable[str]) -> list[str]:
    """Those systems that have the student's settings, rather than being a teacher of any kind."""
    return [name for name in names if system_settings(cfg, name).role == "student"]


def _confusion(cfg: DictConfig, experiment: Experiment, data: ClipData, figures: Path) -> list[str]:
    """The classes that the best student takes for each other."""
    students = students_of(cfg, experiment.finished)
    if not students:
        return []
    measure = experiment.task.measures[0]
    best = max(students, key=lambda name: experiment.estimates[name][measure.key].value)
    system = experiment.finished[best]
    counts = confusion_of(system, data)
    pairs = counts + counts.T
    rows = []
    upper = np.triu(pairs, 1)
    for place in np.argsort(-upper, axis=None)[:SHOWN]:
        one, other = np.unravel_index(place, pairs.shape)
        if pairs[one, other]:
            of = counts[one].sum() + counts[other].sum()
            rows.append([f"{data.names[one]}, {data.names[other]}", f"{100 * pairs[one, other] / of:.2f}"])
    lines = []
    if data.settings.ordinal:
        lines.append(neighbours(counts))
    drawn = {"confusion.png": (draw_confusion(counts, data.names, f"{system.label}: errors"), "Errors by class")}
    return [
        "## Classes taken for each other",
        f"By **{system.label}**, the best student:",
        table(["Classes", "Of their labels, %"], rows) if rows else "none.",
        *([bullets(lines)] if lines else []),
        *save_all(drawn, figures),
    ]


def neighbours(counts: np.ndarray) -> str:
    """Say which share of the errors (C, C) are between stages that follow each other."""
    errors = counts * (1 - np.eye(len(counts)))
    near = np.trace(errors, 1) + np.trace(errors, -1)
    return f"{100 * near / max(errors.sum(), 1):.1f} % of the errors are between neighbouring stages."
