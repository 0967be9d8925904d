"""The training step of every task.

Letters: P passes, B items, T frames or positions, C classes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

import lightning
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from seqkd.errors import SeqkdError
from seqkd.losses import DistillationLoss, Objective
from seqkd.training.self_knowledge import SelfKnowledge
from seqkd.training.settings import LAST
from seqkd.training.workload import Workload


class Distillation(lightning.LightningModule):
    """Trains ``work.model`` on ``objective``. Everything random at update k depends on the seed, k and the process
    alone.

    ``past`` is the callback that keeps the model's past self; it must be among the Trainer's callbacks, too.
    """

    def __init__(
        self,
        work: Workload,
        objective: Objective,
        *,
        seed: int,
        passes: int = 1,
        past: SelfKnowledge | None = None,
    ) -> None:
        super().__init__()
        self.model, self.objective, self.settings = work.model, objective, work.settings
        self._work = [work]  # in a list, so that teachers are neither trained nor saved with the student
        self.seed, self.passes, self.past = seed, passes, past
        self.history: list[dict[str, Any]] = []  # a row a validation
        self.seconds = 0.0  # spent training, over resumed runs too
        self._sums: dict[str, Tensor] = {}
        self._updates = 0
        self._clock = time.monotonic()

    @property
    def work(self) -> Workload:
        """Data, model and teachers."""
        return self._work[0]

    def training_step(self, batch: Any, _: int) -> Tensor:
        """One update: P passes over a batch, the objective, normalised over all processes."""
        self.seed_update()
        if hasattr(self.model, "advance"):  # a network that changes while it is trained
            self.model.advance(self.progress)
        seen = self.work.views(batch)
        student = self.work.outputs(self.model, seen, self.objective.layers(), self.passes)  # (P, B, T, C)
        others = {name: source(seen, student) for name, source in self.work.sources.items()}
        if self.past is not None and self.past.refreshes:
            others["past"] = self.past_outputs(seen)
        loss = self.objective(student, others, self.work.labels(seen), self.progress)
        count = self.work.count(batch)
        self.remember(loss, count)
        return self.share(loss.total, count)

    @torch.no_grad()
    def past_outputs(self, seen: Any) -> Any:
        """What the past self gives for the input of the first pass."""
        return self.work.outputs(self.past.past, seen, self.objective.layers("past"))

    @property
    def progress(self) -> float:
        """Share of the updates done, this one included."""
        return (self.global_step + 1) / self.settings.updates

    def seed_update(self) -> None:
        """Make what is random in this update its own."""
        seed = hash((self.seed, self.global_step, self.global_rank)) % 2**63
        if self.device.type == "cpu":  # all of torch.manual_seed formats a stack for a CUDA that nobody has asked for
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def share(self, total: Tensor, count: float) -> Tensor:
        """The part of a sum over ``count`` items that makes DDP's mean over processes the mean over all items."""
        return total * self.trainer.world_size / self.over_processes(count)

    def over_processes(self, count: float) -> Tensor:
        """Sum of a number over all processes."""
        total = torch.tensor(float(count), device=self.device)
        return self.trainer.strategy.reduce(total, reduce_op="sum") if self.trainer.world_size > 1 else total

    def remember(self, loss: DistillationLoss, count: float) -> None:
        """Collect the terms, sums over ``count`` items, for the next row of the history. Waits for no device."""
        means = {name: value / count for name, value in {"total": loss.total, **loss.terms}.items()}
        for name, value in {**means, **loss.notes}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()
        self._updates += 1

    def on_fit_start(self) -> None:
        """Start the clock; bring the teachers to the student's device."""
        self._clock = time.monotonic()
        for source in self.work.sources.values():
            if hasattr(source, "to"):
                source.to(self.device)

    def on_validation_epoch_start(self) -> None:
        """Start adding up."""
        self._measured: dict[str, tuple[float, float]] = {}

    def validation_step(self, batch: Any, _: int) -> None:
        """Measure one batch of dev."""
        for name, (part, of) in self.work.measure(self.model, batch).items():
            total, count = self._measured.get(name, (0.0, 0.0))
            self._measured[name] = (total + part, count + of)

    def on_validation_epoch_end(self) -> None:
        """Log what dev is measured by, over all processes, and add a row to the history."""
        found = {
            name: float(self.over_processes(total) / self.over_processes(count))
            for name, (total, count) in self._measured.items()
        }
        if set(self.settings.keep) - {LAST}:
            further = self.work.further(self.model)
            self.log_dict(further)
            found |= further
        # Weights of before the time from which they may be chosen are worse than any.
        early = self.progress <= self.settings.choose_after
        self.log(self.work.monitor.key, math.inf if early else found[self.work.monitor.key], prog_bar=True)
        if self.past is not None:
            found["prior_step"] = self.past.refreshed
        self.add_row(**found)
        self.stop_if_done()

    @property
    def looks(self) -> list[float]:
        """What the monitor was at each validation. Schedules and patience follow from it, so that a resumed run goes on
        as it would have.
        """
        return [row[self.work.monitor.key] for row in self.history]

    def stop_if_done(self) -> None:
        """End training when dev has seen no progress for ``patience`` looks."""
        looks, patience = self.looks, self.settings.patience
        if patience and looks and len(looks) - 1 - looks.index(min(looks)) >= patience:
            self.trainer.should_stop = True

    def on_train_start(self) -> None:
        """A run that was killed when it had just ended has nothing left to do."""
        self.stop_if_done()

    @torch.no_grad()
    def measure(self, batches: Iterable[Any]) -> float:
        """What a validation of these batches finds, on this process alone: others need not be there."""
        self.eval()
        self.on_validation_epoch_start()
        for batch in batches:
            self.validation_step(move_data_to_device(batch, self.device), 0)
        total, count = self._measured[self.work.monitor.key]
        return total / count

    def add_row(self, **measured: Any) -> None:
        """Add what was measured on dev, and the mean of each term since the last time, to the history.

        Raises SeqkdError when the training loss is no longer finite.
        """
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        train = {name: float(value) / max(1, self._updates) for name, value in self._sums.items()}
        if not all(map(math.isfinite, train.values())):
            raise SeqkdError(
                f"the training loss is not finite by update {self.global_step} ({train}); lower training.lr or "
                "training.gradient_clip, and run it again"
            )
        self.log_dict({f"train/{name}": value for name, value in train.items()})
        row = {"step": self.global_step, "seconds": self.seconds, **measured, "lr": self.learning_rate()}
        self.history.append({**row, "train": train})
        self._sums, self._updates = {}, 0

    def learning_rate(self) -> float:
        """The optimiser's rate now."""
        return self.optimizers().param_groups[0]["lr"]

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimiser and schedule of the settings. Vectors (norms, biases) are not decayed."""
        s = self.settings
        parameters = [*self.model.parameters(), *self.objective.parameters()]
        if s.optimizer == "rmsprop":
            optimizer = torch.optim.RMSprop(parameters, lr=s.lr, weight_decay=s.weight_decay)
        else:
            groups = [
                {"params": [p for p in parameters if p.ndim > 1], "weight_decay": s.weight_decay},
                {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            ]
            optimizer = torch.optim.AdamW(groups, lr=s.lr, betas=(0.9, 0.98), fused=self.device.type == "cuda")

        def scale(step: int) -> float:
            if s.schedule == "plateau":
                return max(s.final_lr, 0.5 ** halvings(self.looks))
            if step < s.warmup:
                return (step + 1) / s.warmup
            progress = min(1.0, (step - s.warmup) / max(1, s.updates - s.warmup))
            return s.final_lr + (1 - s.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the report needs beside the weights; plain values only."""
        counts = {name: dict(getattr(source, "counts", {})) for name, source in self.work.sources.items()}
        seconds = self.seconds + time.monotonic() - self._clock
        checkpoint["seqkd"] = {"history": self.history, "seconds": seconds, "counts": counts}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up where the checkpoint was written."""
        fit_to(self.model, {name.removeprefix("model."): value for name, value in checkpoint["state_dict"].items()})
        kept = checkpoint["seqkd"]
        self.history, self.seconds = kept["history"], kept["seconds"]
        for name, counts in kept["counts"].items():
            if counts:
                self.work.sources[name].counts.update(counts)


def fit_to(model: torch.nn.Module, state: dict[str, Tensor]) -> None:
    """Let a network whose layers shrink while it is trained take the sizes that a state of it has."""
    if hasattr(model, "fit_to"):
        model.fit_to(state)


def halvings(looks: Sequence[float], patience: int = 1, progress: float = 1e-4) -> int:
    """How often the rate has been halved: each time more than ``patience`` looks in a row found no progress.

    Args:
        looks: what dev was measured by at each validation, the lower the better.
        patience: looks that are waited.
        progress: share of the best value so far by which a look must be better to count.

    As `torch.optim.lr_scheduler.ReduceLROnPlateau`, which Lightning cannot resume between two validations.
    """
    best, waited, found = math.inf, 0, 0
    for look in looks:
        better = look < best * (1 - progress)
        best, waited = (look, 0) if better else (best, waited + 1)
        if waited > patience:
            waited, found = 0, found + 1
    return found
