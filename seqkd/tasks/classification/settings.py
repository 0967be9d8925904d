"""The settings of classification."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from seqkd.classification.augment import AugmentSettings
from seqkd.classification.examples import ExampleSettings
from seqkd.classification.features import ClipFeatureSettings
from seqkd.classification.model import changed
from seqkd.classification.teachers import MODES
from seqkd.config import check_system_name
from seqkd.errors import ConfigError
from seqkd.layout import plain
from seqkd.losses import Objective
from seqkd.losses.build import imported
from seqkd.losses.objective import one_teacher_said, refusal_said
from seqkd.models.classifier import TARGETS, Classifier
from seqkd.settings import at_least, build, one_of, share
from seqkd.task import Monitor
from seqkd.tasks.classification.shows import systems_shown
from seqkd.tasks.settings import built_on_nothing, check_common, check_system
from seqkd.training.settings import TrainingSettings

MONITOR = Monitor("dev_error", "dev error", "%", scale=100)
VIEWS = ("clean", "jda")
WEIGHTS = ("none", "balanced")


@dataclass(frozen=True, kw_only=True)
class ClipTraining(TrainingSettings):
    """Of a classifier.

    Attributes:
        batch: clips an update, over all processes.
    """

    batch: int

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, batch=self.batch)


@dataclass(frozen=True, kw_only=True)
class ClassSettings:
    """The setting ``classes``.

    Attributes:
        target: "clip", or "frame" for the phone of each frame.
        weights: of classes in cross-entropy: "none", or "balanced", by their counts in the training set.
        subset: names of the classes that count in tests and that systems with ``examples.subset`` are for; a share of
            them; or null for all.
        ordinal: whether classes are stages in an order, so that the report counts errors between neighbours.
    """

    target: str = "clip"
    weights: str = "none"
    subset: Any = None
    ordinal: bool = False

    def __post_init__(self) -> None:
        one_of(TARGETS, target=self.target)
        one_of(WEIGHTS, weights=self.weights)
        if self.subset is not None and not isinstance(self.subset, (list, tuple, int, float)):
            raise ConfigError(f"subset is {self.subset!r}; expected names as [a,b], a share of the classes, or null")
        if isinstance(self.subset, (int, float)):
            share(subset=self.subset)
        if self.subset is not None and self.target == "frame":
            raise ConfigError(f"subset is {self.subset!r}; expected null where target is frame: a clip has many phones")


def check(cfg: DictConfig) -> None:
    """Raise ConfigError about the first setting that cannot be used."""
    check_common(cfg)
    objective = check_system(cfg)
    taught = "teacher" in objective.sources()
    classes = build(ClassSettings, plain(cfg.classes), "classes")
    build(ClipFeatureSettings, plain(cfg.features), "features")
    build(AugmentSettings, plain(cfg.augment), "augment")
    for role in ("teacher", "student"):
        build(ClipTraining, plain(cfg[role].training), f"{role}.training")
        built_on_nothing(Classifier, {**plain(cfg[role].model), "target": classes.target}, f"{role}.model", 40, 4)
    at_least(0, **{"setting folds": cfg.folds})
    if 0 < cfg.folds < 3:
        raise ConfigError(f"setting folds is {cfg.folds}; expected 0, or at least 3: to train, for dev, and for tests")
    check_parts(cfg.system, taught=taught)
    check_terms(cfg.system, classes, objective)
    check_views(cfg)
    if cfg.system.mixup and classes.target == "frame":
        raise ConfigError(f"system {cfg.system.name} mixes clips (mixup); expected classes.target=clip")
    role = cfg.system.role
    build(ClipTraining, {**plain(cfg[role].training), **plain(cfg.system.training)}, "system.training")
    model = {**plain(cfg[role].model), **plain(cfg.system.model), "target": classes.target}
    built_on_nothing(Classifier, model, "system.model", 40, 4)
    if cfg.system.network:
        with torch.random.fork_rng(devices=[]):
            network_of(Classifier(cfg.features.num_mel_bins, 4, **model), cfg.system)
    check_system_name(cfg, *systems_shown(cfg), where="setting shows: ")
    if cfg.folds and list(cfg.sets.test) != [cfg.sets.train]:
        raise ConfigError(
            f"setting sets.test is {list(cfg.sets.test)}; with folds each clip of sets.train is tested by the model "
            f"that did not learn from it: expected [{cfg.sets.train}]"
        )
    if cfg.folds and not getattr(imported(cfg.system.procedure, "setting system.procedure"), "by_fold", False):
        raise ConfigError(
            f"setting folds is {cfg.folds}, but system {cfg.system.name} is trained by {cfg.system.procedure}, which "
            "trains one model on all clips; expected 0, or the procedure train_folds"
        )


def check_terms(system: DictConfig, classes: ClassSettings, objective: Objective) -> None:
    """Raise ConfigError about a term that the system's teachers, mixtures or class weights do not suit."""
    named = 1 if system.teacher is None or isinstance(system.teacher, str) else len(system.teacher)
    teachers = named * max(1, system.draws)
    given = {"mixed": system.mixup > 0, "class_weights": classes.weights != "none"}
    for name, term in objective.items():
        if term.off:
            continue
        if term.source == "teacher" and teachers > 1 and not term.several:
            raise ConfigError(f"system {system.name}: {one_teacher_said(name, term, teachers)}")
        for what in term.refuses:
            if given[what]:
                raise ConfigError(f"system {system.name}: {refusal_said(name, term, what)}")


def check_views(cfg: DictConfig) -> None:
    """Raise ConfigError where images would be augmented by what is for sounds."""
    if "jda" in cfg.system.views and (Path(cfg.data) / cfg.sets.train / "image.scp").is_file():
        raise ConfigError(
            f"system {cfg.system.name} has the view jda, whose operations are of sounds, but {cfg.sets.train} has "
            "images; leave it out, or set system.views=[]"
        )


def check_parts(system: DictConfig, *, taught: bool) -> None:
    """Raise ConfigError when a system's parts do not go together; ``taught`` says if a term looks at a teacher."""
    build(ExampleSettings, plain(system.examples), "system.examples")
    at_least(0, **{"setting system.draws": system.draws})
    at_least(0, **{"setting system.mixup": system.mixup})
    one_of(("same", "clean"), **{"setting system.teacher_view": system.teacher_view})
    one_of(MODES, **{"setting system.teacher_mode": system.teacher_mode})
    for view in system.views:
        one_of(VIEWS, **{"setting system.views": view})
    if system.views and len(system.views) != system.passes:
        raise ConfigError(
            f"system {system.name} has passes={system.passes} and {len(system.views)} views; expected a view a pass"
        )
    several = system.draws > 1 or not (system.teacher is None or isinstance(system.teacher, str))
    if taught and several and system.passes > 1 and system.views and system.teacher_view == "same":
        raise ConfigError(
            f"system {system.name} has several views, and several teachers or draws; expected teacher_view=clean"
        )
    if system.mixup and system.passes > 1:
        raise ConfigError(f"system {system.name} mixes clips (mixup) in {system.passes} passes; expected one pass")
    if taught and system.draws and system.teacher_mode != "eval":
        raise ConfigError(f"system {system.name} has draws; expected teacher_mode=eval")


def builder(model: Mapping[str, Any]) -> Callable[..., Any] | None:
    """What builds the network."""
    return Classifier


def network_of(model: Classifier, system: DictConfig) -> Any:
    """The network as ``system.network`` wants it."""
    return changed(model, plain(system.network))
