"""What training has in common for every kind of model: optimiser, schedule, history, and what a checkpoint keeps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import lightning
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

from seqkd.errors import SeqkdError
from seqkd.losses import DistillationLoss


class Distillation(lightning.LightningModule):
    """Trains ``model``. Everything random at update k depends on the seed, k and the process alone.

    ``training`` are the settings of that name. Those who derive from it write ``training_step``, and call
    ``seed_update``, ``remember`` and ``share`` in it; and ``tally``, with ``add_row`` at the end of a validation.
    """

    def __init__(self, model: nn.Module, training: dict[str, Any], *, seed: int) -> None:
        super().__init__()
        self.model, self.settings, self.seed = model, training, seed
        self.history: list[dict[str, Any]] = []  # a row a validation
        self.seconds = 0.0  # spent training, over resumed runs too
        self._sums: dict[str, Tensor] = {}
        self._updates_summed = 0
        self._clock = time.monotonic()

    def seed_update(self) -> None:
        """Make what is random in this update its own."""
        torch.manual_seed(hash((self.seed, self.global_step, self.global_rank)) % 2**63)

    def share(self, total: Tensor, count: float) -> Tensor:
        """The part of a sum over ``count`` items that makes DDP's mean over processes the mean over all items."""
        return total * self.trainer.world_size / self.over_processes(count)

    def over_processes(self, count: float) -> Tensor:
        """Sum of a number over all processes."""
        total = torch.tensor(float(count), device=self.device)
        return self.trainer.strategy.reduce(total, reduce_op="sum") if self.trainer.world_size > 1 else total

    def remember(self, loss: DistillationLoss, count: float) -> None:
        """Collect the terms, sums over ``count`` items, for the next row of the history. Waits for no device."""
        for name, value in {"total": loss.total, **loss.terms}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach() / count
        self._updates_summed += 1

    def on_fit_start(self) -> None:
        """Start the clock."""
        self._clock = time.monotonic()

    @torch.no_grad()
    def measure(self, batches: Iterable[Any]) -> float:
        """What a validation of these batches finds, on this process alone: others need not be there."""
        self.eval()
        self.on_validation_epoch_start()
        for batch in batches:
            self.validation_step(move_data_to_device(batch, self.device), 0)
        total, count = self.tally()
        return total / count

    def measured(self) -> float:
        """The number that dev is judged by, of what the validation has added up on all processes."""
        total, count = self.tally()
        return float(self.over_processes(total) / self.over_processes(count))

    def tally(self) -> tuple[float, float]:
        """What the validation has added up on this process, and of how many things."""
        raise NotImplementedError

    def add_row(self, **measured: Any) -> None:
        """Add what was measured on dev, and the mean of each term since the last time, to the history.

        Raises SeqkdError when the training loss is no longer finite.
        """
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        train = {name: float(value) / max(1, self._updates_summed) for name, value in self._sums.items()}
        if not all(map(math.isfinite, train.values())):
            raise SeqkdError(
                f"the training loss is not finite by update {self.global_step} ({train}); lower training.lr or "
                "training.gradient_clip, and run it again"
            )
        self.log_dict({f"train/{name}": value for name, value in train.items()})
        row = {"step": self.global_step, "seconds": self.seconds, **measured, "lr": self.learning_rate()}
        self.history.append({**row, "train": train})
        self._sums, self._updates_summed = {}, 0

    def learning_rate(self) -> float:
        """The optimiser's rate now."""
        return self.optimizers().param_groups[0]["lr"]

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW; linear warm-up, then cosine decay. Vectors (norms, biases) are not decayed."""
        s = self.settings
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": s["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=s["lr"], betas=(0.9, 0.98), fused=self.device.type == "cuda")

        def scale(step: int) -> float:
            if step < s["warmup"]:
                return (step + 1) / s["warmup"]
            progress = min(1.0, (step - s["warmup"]) / max(1, s["updates"] - s["warmup"]))
            return s["final_lr"] + (1 - s["final_lr"]) * 0.5 * (1 + math.cos(math.pi * progress))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the report needs beside the weights; plain values only."""
        checkpoint["seqkd"] = {
            "history": self.history,
            "seconds": self.seconds + time.monotonic() - self._clock,
            "sums": {k: torch.as_tensor(v).cpu() for k, v in self._sums.items()},
            "updates_summed": self._updates_summed,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up where the checkpoint was written."""
        kept = checkpoint["seqkd"]
        self.history, self.seconds = kept["history"], kept["seconds"]
        self._sums = {k: v.to(self.device) for k, v in kept["sums"].items()}
        self._updates_summed = kept["updates_summed"]
