"""One run, a system and a seed, as phases of training.

In the run's directory (see `seqkd.layout`) are ``config.yaml`` and, while it lasts, ``checkpoints/``; then ``model/``,
``history.json`` and, last, ``summary.json``. A phase that is not the whole run has a directory below it, which ends as
``weights.safetensors`` and ``history.json``; phases are removed when the run is finished.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seqkd.config import import_with
from seqkd.files import atomic_path, write_json
from seqkd.layout import is_done, plain, run_directory, working_in
from seqkd.losses import Objective, Term
from seqkd.losses.build import objective_of

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from omegaconf import DictConfig

    from seqkd.task import Task
    from seqkd.training.workload import Workload


log = logging.getLogger("seqkd")


@dataclass(frozen=True)
class Fitted:
    """What a phase ended with; its model has the weights that were chosen on dev.

    Attributes:
        history: a row a validation.
        weights: "best", or "average" of the best.
        measured: the monitor on dev, by weights that could be chosen.
        seconds: of training.
        steps: updates.
        refreshes: the updates at which the past self was taken anew.
    """

    history: list[dict[str, Any]]
    weights: str
    measured: dict[str, float]
    seconds: float
    steps: int
    refreshes: list[int]

    @property
    def value(self) -> float:
        """The monitor on dev, of the weights that were chosen."""
        return self.measured[self.weights]


@dataclass(frozen=True)
class Study:
    """A run: its task and settings, and what follows from them."""

    task: Task
    cfg: DictConfig

    @property
    def directory(self) -> Path:
        """Of the run."""
        return run_directory(self.cfg)

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return self.cfg.seed

    @property
    def role(self) -> str:
        """Whose settings count: those of ``teacher`` or ``student``."""
        return self.cfg.system.role

    @cached_property
    def objective(self) -> Objective:
        """What is trained on, as every phase begins; what terms own depends on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return objective_of(plain(self.cfg.system.objective), passes=self.cfg.system.passes)

    @cached_property
    def description(self) -> dict[str, Any]:
        """Everything that decides the run's result: if any of it changes, the run is trained anew."""
        return {
            "system": self.cfg.system.name,
            "objective": plain(self.cfg.system.objective),
            "passes": self.cfg.system.passes,
            "seed": self.seed,
            **self.task.describe(self.cfg, self.objective),
        }

    @property
    def done(self) -> bool:
        """Whether this very run is finished; says so."""
        if not is_done(self.directory, self.description):
            return False
        log.info("%s is done", self.directory)
        return True

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Hold the run's directory. Enter when all settings are understood: what another configuration left, goes."""
        with working_in(self.directory, self.description):
            yield

    def fit(
        self,
        work: Workload,
        *,
        phase: str = "",
        objective: Objective | None = None,
        seed: int | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Fitted:
        """Train ``work.model`` in place and leave it with the weights that do best on dev; resume if it was stopped.

        Args:
            work: data, model and teachers.
            phase: directory below the run's, of a phase that is not the whole run. A finished one is read, not redone.
            objective: of the phase; by default the system's.
            seed: of batches and dropout; by default the run's.
            callbacks: Lightning's, that do something between updates.
        """
        place = self.directory / phase if phase else self.directory
        if phase and (place / "weights.safetensors").is_file():
            return _read_phase(place, work)
        # Only now, for Lightning takes longer to import than to find that a run is done.
        loop = import_with("seqkd.training.loop", "lightning")
        from seqkd.training.module import Distillation
        from seqkd.training.self_knowledge import past_self

        # A copy, so that what terms have learned in one phase does not depend on which phases this process has seen.
        objective = copy.deepcopy(self.objective if objective is None else objective)
        past = past_self(objective, work.monitor.key)
        seed = self.seed if seed is None else seed
        prepare_terms(objective, work, self.cfg.system.passes, seed)
        module = Distillation(work, objective, seed=seed, passes=self.cfg.system.passes, past=past)
        module.train()  # the Trainer leaves the mode as it is, and a phase ends in eval mode
        trainer, best = loop.fit(self.cfg, module, place, [*callbacks, *([past] if past else [])])
        if trainer.is_global_zero:
            weights, measured = loop.choose_weights(module, best)
            steps = trainer.global_step
            refreshes = past.refreshes if past else []
            fitted = Fitted(module.history, weights, measured, module.seconds, steps, list(refreshes))
            if phase:
                _write_phase(place, work, fitted)
        if trainer.world_size > 1 and phase:  # the next phase goes on from these weights, in every process
            trainer.strategy.barrier()
            return _read_phase(place, work)
        return fitted if trainer.is_global_zero else Fitted(module.history, "best", {"best": 0.0}, 0.0, 0, [])

    def finish(self, fitted: Fitted, work: Workload, **found: Any) -> None:
        """Save the model and write what the report reads, the summary last; drop what only served to carry on."""
        from seqkd.processes import rank
        from seqkd.training.loop import device_name

        if rank() > 0:
            return
        work.save(self.directory / "model")
        name = work.monitor.key
        self.conclude(
            fitted.history,
            parameters=sum(p.numel() for p in work.model.parameters() if p.requires_grad),
            steps=fitted.steps,
            train_seconds=round(fitted.seconds, 1),
            device=device_name(self.cfg, work.settings),
            weights=fitted.weights,
            prior_refreshes=fitted.refreshes,
            **{f"best_{name}": fitted.value, name: fitted.measured},
            **work.summary(),
            **found,
        )

    def conclude(self, history: list[dict[str, Any]], **found: Any) -> None:
        """Write ``history.json`` and, last, ``summary.json``; drop what only served to carry on."""
        write_json(self.directory / "history.json", {"rows": history})
        summary = {
            "system": self.cfg.system.name,
            "label": self.cfg.system.label,
            "seed": self.seed,
            "passes": self.cfg.system.passes,
            "train_seconds": 0.0,
            "device": "–",
        }
        write_json(self.directory / "summary.json", summary | found)
        for rest in ("checkpoints", "phases"):
            shutil.rmtree(self.directory / rest, ignore_errors=True)


@torch.no_grad()
def prepare_terms(objective: Objective, work: Workload, passes: int, seed: int) -> None:
    """Let terms that depend on sizes, such as those of adaptors, see the outputs of one batch; others cost nothing."""
    if all(type(term).setup is Term.setup for term in objective.values()):
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        seen = work.views(next(iter(work.training(0, 0, 1))))
        student = work.outputs(work.model, seen, objective.layers(), passes)
        objective.setup(student, {name: source(seen, student) for name, source in work.sources.items()})


def train_once(study: Study) -> None:
    """The procedure of most systems: one phase."""
    if study.done:
        return
    work = study.task.workload(study)
    with study.working():
        study.finish(study.fit(work), work)


def _write_phase(place: Path, work: Workload, fitted: Fitted) -> None:
    from safetensors.torch import save_file

    write_json(place / "history.json", vars(fitted))
    with atomic_path(place / "weights.safetensors") as path:
        save_file({name: value.detach().cpu().contiguous() for name, value in work.model.state_dict().items()}, path)
    shutil.rmtree(place / "checkpoints", ignore_errors=True)
    shutil.rmtree(place / "tensorboard", ignore_errors=True)


def _read_phase(place: Path, work: Workload) -> Fitted:
    from safetensors.torch import load_file

    work.model.load_state_dict(load_file(place / "weights.safetensors"))
    kept: Mapping[str, Any] = json.loads((place / "history.json").read_text(encoding="utf-8"))
    return Fitted(**kept)
