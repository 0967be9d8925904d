"""From settings to the loss of models that write token by token."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses import (
    DistillationLoss,
    adaptive_label_smoothing_loss,
    confidence_penalty_loss,
    r_drop_loss,
    tf_kd_reg_loss,
    tf_kd_self_loss,
    uniform_label_smoothing_loss,
)
from seqkd.losses.book_kd import book_kd_loss
from seqkd.training.self_knowledge import PRIORS

FORMS = ("uniform", "confidence_penalty", "adaptive", "tf_kd_reg", "kd", "book_kd")


@dataclass(frozen=True)
class TokenObjective:
    """See conf/translation/system/none.yaml for what each setting means."""

    form: str = "uniform"
    smoothing: float = 0.0
    penalty_weight: float = 0.1
    prior: str = "best"
    ema_decay: float = 0.999
    kd_weight: float = 0.5
    temperature: float = 1.0
    multiplier: float = 1.0
    variant: str = "paper"
    correct_prob: float = 0.99
    regularisation: float = 0.0
    adjust: bool = True
    passes: int = 1
    consistency_weight: float = 0.0

    def __post_init__(self) -> None:
        choices = {"form": FORMS, "prior": PRIORS, "variant": ("paper", "released")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"objective.{name} is {getattr(self, name)!r}; expected one of {', '.join(allowed)}")
        ranges = {"smoothing": (0, 1), "kd_weight": (0, 1), "correct_prob": (0, 1), "regularisation": (0, 1)}
        ranges["penalty_weight"] = (0, float("inf"))
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"objective.{name} is {getattr(self, name)}; expected {low} to {high}")
        for name in ("temperature", "multiplier"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"objective.{name} is {getattr(self, name)}; expected more than 0")
        if self.passes < 1 or (self.consistency_weight and self.passes < 2):
            raise ConfigError(
                f"objective.passes is {self.passes}; expected at least 1, and 2 where consistency_weight is set"
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether it looks at a teacher's distributions."""
        return self.form in ("kd", "book_kd")

    def loss(
        self, logits: Tensor, targets: Tensor, prior_logits: Tensor | None = None, teacher_logits: Tensor | None = None
    ) -> DistillationLoss:
        """The objective, averaged over passes and summed over valid positions; ``alpha`` and ``weight`` are means.

        ``logits`` (P, B, S, C); ``targets`` (B, S), -100 where not valid; ``prior_logits`` and ``teacher_logits``
        (B, S, C).
        """
        losses = [self.one_pass(z, targets, prior_logits, teacher_logits) for z in logits]
        total = sum(loss.total for loss in losses) / len(losses)
        terms = {name: sum(loss.terms[name] for loss in losses) / len(losses) for name in losses[0].terms}
        if self.consistency_weight:
            agreement = r_drop_loss(
                logits, targets, consistency_weight=self.consistency_weight, hard_weight=0.0, reduction="sum"
            )
            total, terms = total + agreement.total, {**terms, **agreement.terms}
        return DistillationLoss(total, terms)

    def one_pass(
        self, logits: Tensor, targets: Tensor, prior_logits: Tensor | None, teacher_logits: Tensor | None
    ) -> DistillationLoss:
        """The objective of one pass, ``logits`` (B, S, C)."""
        if self.form == "adaptive":
            return adaptive_label_smoothing_loss(logits, targets, prior_logits, reduction="sum")
        if self.form == "confidence_penalty":
            return confidence_penalty_loss(logits, targets, penalty_weight=self.penalty_weight, reduction="sum")
        if self.form == "uniform":
            return uniform_label_smoothing_loss(logits, targets, smoothing=self.smoothing, reduction="sum")
        if self.form == "book_kd":
            return book_kd_loss(
                logits,
                targets,
                teacher_logits / self.temperature,
                kd_weight=self.kd_weight,
                temperature=self.temperature,
                smoothing=self.smoothing,
                regularisation=self.regularisation,
                adjust=self.adjust,
                reduction="sum",
            )
        taught = {
            "kd_weight": self.kd_weight,
            "temperature": self.temperature,
            "multiplier": self.multiplier,
            "variant": self.variant,
            "reduction": "sum",
        }
        if self.form == "tf_kd_reg":
            return tf_kd_reg_loss(logits, targets, correct_prob=self.correct_prob, **taught)
        return tf_kd_self_loss(logits, targets, teacher_logits, **taught)

    def chosen(self) -> dict[str, Any]:
        """What differs from the defaults: names a run's objective, and goes on doing so when settings are added."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
