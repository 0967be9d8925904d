"""From settings to the objective's weights at an update."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from seqkd.errors import ConfigError
from seqkd.training.self_knowledge import PRIORS
from seqkd.training.token_objective import TokenObjective


@dataclass(frozen=True)
class Objective:
    """See conf/system/student.yaml for what each setting means."""

    passes: int = 1
    form: str = "frame"
    kd_weight: float = 0.0
    distance: str = "squared"
    temperature: float = 1.0
    select: str = "all"
    max_delay: int = 4
    tap: int | None = None
    inter_kd_weight: float = 0.5
    inter_ctc_weight: float = 0.5
    teacher_view: str = "student"
    consistency_weight: float = 0.0
    consistency_warmup: float = 0.2
    detach_consistency: bool = False
    views: str = "same"
    time_mask_factor: float = 1.0
    aligned_smoothing_weight: float = 0.0
    attention_weight: float = 0.0
    attention_layers: int = 1
    attention_form: str = "uniform"
    attention_smoothing: float = 0.0
    prior: str = "best"

    def __post_init__(self) -> None:
        choices = {
            "form": ("frame", "guided", "best_path", "delayed", "intermediate"),
            "distance": ("squared", "kl"),
            "select": ("all", "nonblank"),
            "teacher_view": ("clean", "student"),
            "views": ("same", "independent"),
            "attention_form": ("uniform", "adaptive"),
            "prior": PRIORS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"system.objective.{name} is {getattr(self, name)!r}; expected one of {', '.join(allowed)}"
                )
        least = {"passes": 1, "kd_weight": 0, "consistency_weight": 0, "consistency_warmup": 0, "time_mask_factor": 0}
        least |= {"max_delay": 0, "inter_kd_weight": 0, "inter_ctc_weight": 0, "attention_layers": 1}
        least |= {"aligned_smoothing_weight": 0, "attention_weight": 0, "attention_smoothing": 0}
        for name, limit in least.items():
            if not getattr(self, name) >= limit:
                raise ConfigError(f"system.objective.{name} is {getattr(self, name)}; expected at least {limit}")
        if not self.temperature > 0:
            raise ConfigError(f"system.objective.temperature is {self.temperature}; expected more than 0")
        if self.consistency_weight and self.passes < 2:
            raise ConfigError("system.objective.consistency_weight is set, but one pass has nothing to agree with")

        if self.form != "frame" and self.passes > 1:
            raise ConfigError(
                f"system.objective.form is {self.form!r}, which takes one pass, but passes is {self.passes}"
            )
        if (self.form == "intermediate") != (self.tap is not None):
            raise ConfigError("system.objective.form 'intermediate' and objective.tap, its layer, go together")

    def chosen(self) -> dict[str, Any]:
        """What differs from the defaults: names a run's objective, and goes on doing so when settings are added."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @property
    def needs_teacher(self) -> bool:
        """Whether any term looks at a teacher."""
        return self.kd_weight > 0 or (self.form == "intermediate" and self.inter_kd_weight > 0)

    @property
    def needs_prior(self) -> bool:
        """Whether any term looks at the model's past self."""
        return self.aligned_smoothing_weight > 0 or (self.attention_weight > 0 and self.attention_form == "adaptive")

    def of_attention(self) -> TokenObjective:
        """The loss of the attention decoder."""
        return TokenObjective(form=self.attention_form, smoothing=self.attention_smoothing)

    def consistency_weight_at(self, step: int, updates: int) -> float:
        """The consistency weight rises linearly over the first ``consistency_warmup`` of the updates.

        Cons-KD and CR-CTC warm it up over 2,000 updates of runs about ten times as long or longer; a share of the
        updates keeps the schedule's shape for runs of any length.
        """
        rise = self.consistency_warmup * updates
        return self.consistency_weight * (min(1.0, (step + 1) / rise) if rise > 0 else 1.0)
