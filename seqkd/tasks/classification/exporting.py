"""``<exp>/<system>/export``: the best run of every trained system as files to deploy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqkd.classification.decoding import STAMP
from seqkd.classification.model import classifier_hash
from seqkd.deploy.classifier import TestClips, export_classifier
from seqkd.deploy.origin import ClassifierOrigin, ClassifierTeacher
from seqkd.errors import ConfigError, DataError
from seqkd.experiment.files import SCORE
from seqkd.experiment.scores import read_scores
from seqkd.layout import run_directory
from seqkd.stages import again
from seqkd.tasks.classification.settings import MONITOR
from seqkd.tasks.classification.work import run_hash
from seqkd.training.order import teachers_by_name


def export_runs(cfg: DictConfig, systems: Sequence[DictConfig]) -> None:
    """Export the seed with the least dev error of every system that is trained, and name the others.

    Args:
        cfg: of the recipe.
        systems: each one's settings.

    Raises:
        ConfigError: each fold has a model of its own, or no system is trained.
        DataError: a model or a test set is not whole, or a test set was decoded with other weights.
        SeqkdError: an exported network disagrees with PyTorch.
    """
    if cfg.folds:
        raise ConfigError(
            f"setting folds is {cfg.folds}, so that a run of {cfg.exp} has as many models, each for its own fold; "
            "train a recipe with folds=0 to have one to export"
        )
    tests = TestClips(Path(cfg.data), list(cfg.sets.test))
    exported = 0
    for one in systems:
        seeds = trained_seeds(one)
        out = Path(one.exp) / one.system.name / "export"
        if not seeds:
            print(f"{out.parent}: not trained, so nothing is exported")
            continue
        seed = min(seeds, key=lambda seed: (seeds[seed], seed))
        run = run_directory(one, seed=seed)
        fresh = export_classifier(run / "model", out, origin=origin_of(one, seed, seeds), tests=tests, own=True)
        of = f"{run.name}, {MONITOR.with_unit(seeds[seed])}"
        print(f"{out}: {'written' if fresh else 'is up to date'} ({of})")
        exported += 1
    if not exported:
        raise ConfigError(f"{cfg.exp} has no finished system to export; {again('students')}")


def trained_seeds(cfg: DictConfig) -> dict[int, float]:
    """The dev error of each finished seed of the settings' system."""
    found = {}
    for seed in range(cfg.seeds):
        summary = run_directory(cfg, seed=seed) / "summary.json"
        if summary.is_file():
            found[seed] = json.loads(summary.read_text(encoding="utf-8"))[f"best_{MONITOR.key}"]
    return found


def origin_of(cfg: DictConfig, seed: int, seeds: dict[int, float]) -> ClassifierOrigin:
    """Where a run's model comes from and how good it is. Raises DataError when its scores are of other weights."""
    run, system = run_directory(cfg, seed=seed), cfg.system
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    teachers = []
    for name, of_seed in teachers_by_name(system, seed):
        taught_by = run_directory(cfg, name, of_seed)
        known = (taught_by / "summary.json").is_file()
        teachers.append(
            ClassifierTeacher(
                name,
                of_seed,
                classifier_hash(taught_by / "model") if known else None,
                scores_of(cfg, taught_by) if known else {},
            )
        )
    return ClassifierOrigin(
        system=system.name,
        label=system.label,
        seed=seed,
        seeds=len(seeds),
        dev_error=seeds[seed],
        title=cfg.title,
        paper=system.paper,
        teachers=tuple(teachers),
        train_set=cfg.sets.train,
        clips=summary.get("clips"),
        scores=scores_of(cfg, run),
        licence=cfg.export.licence,
    )


def scores_of(cfg: DictConfig, run: Path) -> dict[str, dict[str, Any]]:
    """Scores of the test sets that are scored. Raises DataError when one was decoded with other weights."""
    found = {}
    for name in cfg.sets.test:
        decoded = run / f"decode_{name}"
        if not ((decoded / SCORE).is_file() and (decoded / STAMP).is_file()):
            continue
        made_by = json.loads((decoded / STAMP).read_text(encoding="utf-8"))
        if made_by.get("model") != run_hash(run, name):
            raise DataError(f"{decoded} was decoded with other weights than {run / 'model'} has; {again('decode')}")
        found[name] = read_scores(decoded / SCORE)
    return found
