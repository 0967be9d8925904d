"""How classifiers are trained: functions of a `Study`, named by ``system.procedure``."""

from __future__ import annotations

from dataclasses import replace

import torch

from seqkd.classification.model import load_classifier
from seqkd.errors import ConfigError
from seqkd.models.hme import HmeClassifier
from seqkd.processes import rank
from seqkd.tasks.classification.work import ClipWork, start_of
from seqkd.training.study import Fitted, Study


def train_folds(study: Study) -> None:
    """One phase; or, with ``folds``, one a fold, each without the clips on which it is tested."""
    if study.done:
        return
    if not study.cfg.folds:
        work = ClipWork(study)
        with study.working():
            study.finish(study.fit(work), work)
        return
    works = [ClipWork(study, fold=fold) for fold in range(study.cfg.folds)]
    with study.working():
        fits = [study.fit(work, phase=f"phases/fold{work.fold}") for work in works]
        for work in works[:-1] if rank() == 0 else ():
            work.save(study.directory / "model")
        study.finish(_joined(fits), works[-1])


train_folds.by_fold = True  # which says that a system with this procedure may be trained with ``folds``


def fixed_tree(study: Study) -> None:
    """The second stage of HME: new weights, on the tree that ``system.start_from`` has chosen, which stays."""
    if study.done:
        return
    chosen, _ = load_classifier(start_of(study.cfg), own=True)
    if not isinstance(chosen, HmeClassifier):
        raise ConfigError(f"system {study.cfg.system.name} needs a mixture of experts; set start_from to one")
    work = ClipWork(study)
    torch.manual_seed(study.seed)
    model = chosen.fixed()
    model.normalise(work.model.feature_mean, 1 / work.model.feature_scale)
    work.model = model
    with study.working():
        study.finish(study.fit(work), work)


def _joined(fits: list[Fitted]) -> Fitted:
    """What the folds ended with, on average; times and updates of one."""
    mean = sum(fit.value for fit in fits) / len(fits)
    seconds = sum(fit.seconds for fit in fits)
    rows = [row for fit in fits for row in fit.history]
    steps = sorted({row["step"] for row in rows})
    history = []
    for step in steps:
        same = [row for row in rows if row["step"] == step]
        numbers = [key for key, value in same[0].items() if isinstance(value, (int, float))]
        terms = {key: sum(row["train"][key] for row in same) / len(same) for key in same[0]["train"]}
        history.append({key: sum(row[key] for row in same) / len(same) for key in numbers} | {"train": terms})
    return replace(fits[0], history=history, weights="best", measured={"best": mean}, seconds=seconds)
