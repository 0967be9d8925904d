"""The training step of every encoder–decoder system.

Letters: P passes, B sentences, L source tokens, S target positions, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from seqkd.losses import DistillationLoss
from seqkd.models.seq2seq import Seq2SeqModel
from seqkd.training.base import Distillation
from seqkd.training.self_knowledge import SelfKnowledge
from seqkd.training.token_objective import TokenObjective
from seqkd.translation.batches import IGNORE, TextBatch


class Seq2SeqDistillation(Distillation):
    """Trains ``model`` on ``objective``.

    ``teacher`` gives logits (B, S, C) of a batch, from a model or from the book. ``knowledge`` is the callback that
    keeps the model's past self; it must be among the Trainer's callbacks, too.
    """

    def __init__(
        self,
        model: Seq2SeqModel,
        objective: TokenObjective,
        training: dict[str, Any],
        *,
        seed: int,
        knowledge: SelfKnowledge | None = None,
        teacher: Callable[[TextBatch], Tensor] | None = None,
    ) -> None:
        super().__init__(model, training, seed=seed)
        self.objective, self.knowledge, self.teacher = objective, knowledge, teacher

    def training_step(self, batch: TextBatch, _: int) -> Tensor:
        """One update: P passes over a batch, the objective, normalised by the tokens of all processes."""
        self.seed_update()
        seen = (batch.source, batch.source_lengths, batch.inputs)
        logits = torch.stack([self.model(*seen) for _ in range(self.objective.passes)])  # (P, B, S, C)
        prior_logits = self.knowledge.answer(*seen) if self.knowledge else None  # (B, S, C)
        teacher_logits = self.teacher(batch) if self.teacher else None  # (B, S, C)
        loss = self.objective.loss(logits, batch.targets, prior_logits, teacher_logits)
        tokens = int((batch.targets != IGNORE).sum())
        means = {name: loss.terms[name] * tokens for name in ("alpha", "weight") if name in loss.terms}
        self.remember(DistillationLoss(loss.total, {**loss.terms, **means}), tokens)
        return self.share(loss.total, tokens)

    def on_validation_epoch_start(self) -> None:
        """Start adding up."""
        self.nll, self.tokens = 0.0, 0

    def validation_step(self, batch: TextBatch, _: int) -> None:
        """Negative log-likelihood of the reference, in nats."""
        logits = self.model(batch.source, batch.source_lengths, batch.inputs)
        nll = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")
        self.nll += float(nll)
        self.tokens += int((batch.targets != IGNORE).sum())

    def tally(self) -> tuple[float, float]:
        """NLL in nats, and tokens."""
        return self.nll, self.tokens

    def on_validation_epoch_end(self) -> None:
        """Log it a token over all processes, and add a row to the history."""
        nll = self.measured()
        self.log("dev_nll", nll, prog_bar=True)
        self.add_row(dev_nll=nll, prior_step=self.knowledge.refreshed if self.knowledge else None)
