"""Progressive grafting from few clips, and its control: a student whose first stages are copied from the teacher.

Papers: network grafting, AAAI 2021, 10.1609/aaai.v35i3.16356; with soft targets of several teachers, ICAICE 2021,
10.1109/icaice54393.2021.00127. See `seqkd.models.grafting`. Chosen: phases have equal shares of the updates of
ordinary training, and weights are chosen on dev, where the release keeps the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from seqkd.classification.model import load_classifier
from seqkd.errors import ConfigError
from seqkd.layout import plain
from seqkd.models.classifier import Classifier
from seqkd.models.grafting import Grafted, GraftedClassifier, fold_adaptors
from seqkd.settings import at_least, build, more_than, share
from seqkd.tasks.classification.work import ClipWork, finished_run
from seqkd.training.order import teachers_by_name
from seqkd.training.study import Fitted, Study


@dataclass(frozen=True, kw_only=True)
class GraftingOptions:
    """Of both procedures.

    Attributes:
        copied: stages that the student takes over from the teacher, frozen.
        share: of the updates that each phase of `progressive` has.
    """

    copied: int = 2
    share: float = 0.2

    def __post_init__(self) -> None:
        at_least(1, copied=self.copied)
        share(share=self.share)
        more_than(0, share=self.share)


def copied_front(study: Study) -> None:
    """Train as ever, from a student whose front is the teacher's."""
    if study.done:
        return
    work, _ = prepared(study)
    with study.working():
        study.finish(study.fit(work), whole(work))


def progressive(study: Study) -> None:
    """Stage 1: each block alone between the teacher's. Stage 2: from the front, the teacher's tail is replaced."""
    if study.done:
        return
    work, teacher = prepared(study)
    grafted = Grafted(teacher, work.model)
    work.model = grafted
    updates = max(1, round(options_of(study).share * work.settings.updates))
    every = min(work.settings.validate_every, updates)
    work.settings = replace(
        work.settings, updates=updates, validate_every=every, warmup=min(work.settings.warmup, updates // 4)
    )
    fits: list[Fitted] = []
    with study.working():
        for block in grafted.blocks:
            grafted.block(block)
            fits.append(study.fit(work, phase=f"phases/block{block}"))
        for block in grafted.blocks[1:]:
            grafted.chain(block)
            fits.append(study.fit(work, phase=f"phases/chain{block}"))
        work.model = fold_adaptors(grafted)
        study.finish(in_a_row(fits), whole(work))


def options_of(study: Study) -> GraftingOptions:
    """The setting ``system.options``."""
    return build(GraftingOptions, plain(study.cfg.system.options), "system.options")


def prepared(study: Study) -> tuple[ClipWork, Classifier]:
    """The work of a student with the teacher's front, and the teacher. Raises ConfigError unless there is one."""
    runs = teachers_by_name(study.cfg.system, study.cfg.seed)
    if len(runs) != 1:
        raise ConfigError(f"system {study.cfg.system.name} is grafted on one teacher; system.teacher names {len(runs)}")
    teacher, _ = load_classifier(finished_run(study.cfg, *runs[0]), own=True)
    work, copied = ClipWork(study), options_of(study).copied
    widths = [stage.conv2.out_channels for stage in teacher.stages]
    settings = dict(work.architecture.settings)
    settings["widths"] = [*widths[:copied], *settings["widths"][copied:]]
    work.architecture = replace(work.architecture, settings=settings)
    sizes = work.architecture.features, len(work.architecture.classes)
    torch.manual_seed(study.seed)
    student = build(GraftedClassifier, {**settings, "copied": copied}, "student.model", *sizes)
    work.model = student.copy_front(teacher)
    if student.state_dict().keys() != work.architecture.build().state_dict().keys():  # convolutions as shortcuts
        network = {"_target_": "seqkd.models.grafting.as_grafted", "copied": copied}
        work.architecture = replace(work.architecture, network=network)
    return work, teacher


def whole(work: ClipWork) -> ClipWork:
    """The work with a network all of whose parameters count, those that were copied too."""
    work.model.requires_grad_(True)
    return work


def in_a_row(fits: list[Fitted]) -> Fitted:
    """Phases that follow each other, as one: the last one's weights, with updates and time of all."""
    history, before, seconds = [], 0, 0.0
    for fit in fits:
        history += [{**row, "step": row["step"] + before, "seconds": row["seconds"] + seconds} for row in fit.history]
        before, seconds = before + fit.steps, seconds + fit.seconds
    return replace(fits[-1], history=history, steps=before, seconds=seconds)
