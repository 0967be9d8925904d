"""Self-knowledge: what a model itself knew before, as the prior of adaptive label smoothing."""

from __future__ import annotations

import copy
import math
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from seqkd.errors import ConfigError
from seqkd.losses import Objective
from seqkd.settings import one_of

PRIORS = ("best", "ema")


class SelfKnowledge(Callback):
    """Keeps past weights of ``module.model``: the "past" that terms compare the present outputs with.

    - "best" (default, methods' name: self-knowledge): the best weights so far by ``monitor``, the lower the better;
      refreshed after each validation that improves it. Lee, Cheung and Zhang, EMNLP 2022, arXiv:2210.13459.
    - "ema": an exponential moving average, updated after every update, used from the first validation on.

    Before there is a past self, ``refreshes`` is empty, and the loss has a uniform prior. The state goes into
    checkpoints, so a resumed run has the prior it had. All processes of a distributed run see the same ``monitor``
    and the same weights, so each keeps its own copy. It costs one forward pass an update, without gradient.
    """

    def __init__(self, kind: str = "best", monitor: str = "dev_nll", decay: float = 0.999) -> None:
        self.kind, self.monitor, self.decay = one_of(PRIORS, prior=kind), monitor, decay
        self.best, self.refreshes = math.inf, []
        self.past: nn.Module | None = None

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Make room for the past self."""
        if self.past is None:
            self.past = copy.deepcopy(pl_module.model).eval().requires_grad_(False)

    @property
    def refreshed(self) -> int | None:
        """The update of the last refresh; None before the first."""
        return self.refreshes[-1] if self.refreshes else None

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Bring the past self to the model's device."""
        if self.past is not None:
            self.past.to(pl_module.device)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any) -> None:
        """Move the average towards the model."""
        if self.kind == "ema":
            current = pl_module.model.state_dict()
            for name, value in self.past.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(current[name], 1 - self.decay)
                else:
                    value.copy_(current[name])

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the model as it is if it is the best so far."""
        measured = float(trainer.callback_metrics[self.monitor])
        if self.past is None or not measured < self.best:
            return
        self.best = measured
        if self.kind == "best" or not self.refreshes:
            self.refreshes.append(trainer.global_step)
        if self.kind == "best":
            self.past.load_state_dict(pl_module.model.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        past = {} if self.past is None else {name: value.cpu() for name, value in self.past.state_dict().items()}
        return {"best": self.best, "refreshes": list(self.refreshes), "past": past}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.best, self.refreshes = state_dict["best"], list(state_dict["refreshes"])
        if self.past is not None:
            self.past.load_state_dict(state_dict["past"])


def past_self(objective: Objective, monitor: str) -> SelfKnowledge | None:
    """What keeps the past self that an objective's terms look at; None if none does.

    Raises ConfigError for terms that want different ones.
    """
    wanted = {
        (getattr(term, "prior", "best"), getattr(term, "ema_decay", 0.999))
        for term in objective.values()
        if term.source == "past" and not term.off
    }
    if len(wanted) > 1:
        raise ConfigError(f"terms of system.objective look at different past selves ({sorted(wanted)}); give all one")
    if not wanted:
        return None
    ((kind, decay),) = wanted
    return SelfKnowledge(kind, monitor, decay)
