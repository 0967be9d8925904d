"""KDDP: hidden units fall silent under an L1 penalty while a teacher supervises, and are taken out; and its controls.

Paper: Şener & Akbaş, Gazi University Journal of Science, 10.29109/gujsc.1141648; see `seqkd.models.pruning`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from seqkd.classification.batches import evaluation_clips
from seqkd.classification.model import load_classifier
from seqkd.errors import ConfigError
from seqkd.layout import plain
from seqkd.models.pruning import STATISTICS, Activity, inactive_units, magnitude_keep, prune_classifier
from seqkd.processes import needs_of
from seqkd.settings import at_least, build, less_than, more_than, one_of, share
from seqkd.tasks.classification.settings import ClipTraining
from seqkd.tasks.classification.work import ClipWork, start_of
from seqkd.training.study import Study


@dataclass(frozen=True, kw_only=True)
class PruningOptions:
    """Of `dynamic`.

    Attributes:
        every: share of the updates between two looks at the units.
        until: share of the updates after which none are taken out any more; the rest trains what is left.
        epsilon: a unit is silent whose size is at most this times the layer's median.
        inactive: the size of a unit: "max", or "q99", what it exceeds in 1 % of the clips.
        least: units that stay.
    """

    every: float = 0.1
    until: float = 0.7
    epsilon: float = 0.1
    inactive: str = "max"
    least: int = 4

    def __post_init__(self) -> None:
        share(every=self.every, until=self.until)
        more_than(0, every=self.every)
        at_least(0, epsilon=self.epsilon)
        one_of(STATISTICS, inactive=self.inactive)
        at_least(1, least=self.least)


@dataclass(frozen=True, kw_only=True)
class MagnitudeOptions:
    """Of `by_magnitude`: share of the updates before units go."""

    after: float = 0.5

    def __post_init__(self) -> None:
        less_than(0, 1, after=self.after)


class Pruner(Callback):
    """Takes units out of the hidden layer after some updates, and out of the optimiser.

    Args:
        work: whose network it is.
        steps: the updates after which it looks.
        choose: which units are kept, and what each gives whatever the input.
    """

    def __init__(
        self, work: ClipWork, steps: set[int], choose: Callable[[ClipWork], tuple[Tensor, Tensor | None]]
    ) -> None:
        self.work, self.steps, self.choose = work, steps, choose

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: Any) -> None:
        """Look, and prune."""
        if trainer.global_step in self.steps:
            keep, constants = self.choose(self.work)
            prune_classifier(self.work.model, keep, constants, trainer.optimizers[0])


@torch.no_grad()
def activity(work: ClipWork, inactive: str) -> Activity:
    """What the hidden units do over the training clips."""
    found, was_training = Activity(inactive), work.model.training
    work.model.eval()
    device = work.model.feature_mean.device
    for batch in evaluation_clips(work.clips):
        output = work.model(batch.features.to(device), batch.lengths.to(device), ["hidden"])
        found.add(*output.layers["hidden"])
    work.model.train(was_training)
    return found


def dynamic(study: Study) -> None:
    """KDDP: the width is found while training; ``system.options`` are `PruningOptions`."""
    if study.done:
        return
    options, settings = build(PruningOptions, plain(study.cfg.system.options), "system.options"), training_of(study)
    gap = max(1, round(options.every * settings.updates))
    steps = set(range(gap, round(options.until * settings.updates) + 1, gap))
    check_prunable(study, settings, steps)
    work = ClipWork(study)

    def silent(work: ClipWork) -> tuple[Tensor, Tensor]:
        seen = activity(work, options.inactive)
        return ~inactive_units(seen.sizes(), options.epsilon, minimum=options.least), seen.means()

    with study.working():
        fitted = study.fit(work, callbacks=[Pruner(work, steps, silent)])
        finish(study, work, fitted)


def at_width(study: Study) -> None:
    """A control: trained from the beginning with as many hidden units as ``system.start_from`` has."""
    if study.done:
        return
    work = ClipWork(study)
    narrow = replace(work.architecture, settings={**work.architecture.settings, "hidden": width_of(study)})
    work.architecture = narrow
    work.model = work.fresh_model()
    with study.working():
        study.finish(study.fit(work), work)


def by_magnitude(study: Study) -> None:
    """A control: trained whole, then cut to the width of ``system.start_from`` by the size of weights, trained on."""
    if study.done:
        return
    options = build(MagnitudeOptions, plain(study.cfg.system.options), "system.options")
    settings = training_of(study)
    steps = {max(1, round(options.after * settings.updates))}
    check_prunable(study, settings, steps)
    work, width = ClipWork(study), width_of(study)

    def largest(work: ClipWork) -> tuple[Tensor, None]:
        return magnitude_keep(work.model.hidden, work.model.output, width), None

    with study.working():
        fitted = study.fit(work, callbacks=[Pruner(work, steps, largest)])
        finish(study, work, fitted)


def finish(study: Study, work: ClipWork, fitted: Any) -> None:
    """Save the network with the width that it has now."""
    width = work.model.hidden.out_features
    work.architecture = replace(work.architecture, settings={**work.architecture.settings, "hidden": width})
    study.finish(fitted, work, hidden=width)


def width_of(study: Study) -> int:
    """Hidden units of ``system.start_from``."""
    model, _ = load_classifier(start_of(study.cfg), own=True)
    return model.hidden.out_features


def training_of(study: Study) -> ClipTraining:
    """The training settings of the system, as `ClipWork` has them."""
    given = {**plain(study.cfg[study.role].training), **plain(study.cfg.system.training)}
    return build(ClipTraining, given, "training")


def check_prunable(study: Study, settings: ClipTraining, steps: set[int]) -> None:
    """Raise ConfigError where weights of different widths would meet.

    That is in several processes, in a past self, or in an average of checkpoints some of which are of before the last
    of the updates ``steps`` after which units go.
    """
    name = study.cfg.system.name
    if needs_of(study.cfg).world > 1:
        raise ConfigError(f"system {name} prunes while it trains; expected one process (processes=1)")
    if "past" in study.objective.sources():
        raise ConfigError(
            f"system {name} prunes while it trains, and a term compares with its past self, which has other units; "
            "leave the term out"
        )
    if settings.average > 1 and not averaged_after(max(steps, default=0), settings):
        raise ConfigError(
            f"system {name} prunes while it trains, and training.average is {settings.average}: weights of before and "
            "after cannot be averaged; expected 1, or so many looks at dev after the last pruning, from "
            "training.choose_after on, and patience=0"
        )


def averaged_after(last: int, settings: ClipTraining) -> bool:
    """Whether the best checkpoints, which are averaged, are sure to be of after update ``last``."""
    looks = range(settings.validate_every, settings.last_update + 1, settings.validate_every)
    chosen = [look for look in looks if (look + 1) / settings.updates > settings.choose_after]
    return len(chosen) >= settings.average and chosen[0] >= last and settings.patience == 0
