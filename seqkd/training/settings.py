"""The settings of one training, checked: ``teacher.training``, ``student.training`` or ``training``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from seqkd.errors import ConfigError
from seqkd.settings import at_least, less_than, more_than, one_of, share

OPTIMIZERS = ("adamw", "rmsprop")
SCHEDULES = ("cosine", "plateau")
LAST = "last"  # weights: those with which training ends; see `seqkd.training.kept`
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "64-true")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What every task's training has; a task adds how large its batches are.

    Attributes:
        updates: steps of the optimiser.
        lr: greatest learning rate.
        warmup: updates of linear warm-up.
        schedule: "cosine" decay after that; or "plateau": half the rate after two looks at dev without progress.
        stop: share of the updates after which training ends, the schedule being that of all of them.
        choose_after: share of the updates up to which no weights are chosen, as those of before units are pruned.
        patience: looks at dev without progress after which training ends; 0 never does.
        final_lr: share of ``lr`` at the end; 1 is a constant rate.
        weight_decay: of matrices; vectors (norms, biases) are not decayed.
        gradient_clip: greatest norm of a gradient; 0 does not clip.
        validate_every: updates between two looks at dev.
        average: how many of the best checkpoints on dev are averaged, if that is better than the best one.
        precision: of Lightning's Trainer.
        optimizer: "adamw" or "rmsprop".
        workers: data loading processes.
        threads: CPU threads.
        keep: other weights than those that dev chooses, which are kept beside them; see `seqkd.training.kept`.
    """

    updates: int
    lr: float
    warmup: int = 0
    final_lr: float = 1.0
    weight_decay: float = 0.0
    gradient_clip: float = 0.0
    validate_every: int
    average: int = 1
    precision: str = "32-true"
    optimizer: str = "adamw"
    workers: int = 0
    threads: int = 1
    schedule: str = "cosine"
    stop: float = 1.0
    patience: int = 0
    choose_after: float = 0.0
    keep: Sequence[str] = ()

    KEPT: ClassVar[tuple[str, ...]] = (LAST,)

    @property
    def last_update(self) -> int:
        """The number of updates, unless patience ends before."""
        return max(1, round(self.stop * self.updates))

    def __post_init__(self) -> None:
        at_least(1, updates=self.updates)
        at_least(1, validate_every=self.validate_every)
        at_least(1, average=self.average)
        at_least(1, threads=self.threads)
        at_least(0, workers=self.workers)
        at_least(0, warmup=self.warmup)
        more_than(0, lr=self.lr)
        share(final_lr=self.final_lr)
        one_of(SCHEDULES, schedule=self.schedule)
        more_than(0, stop=self.stop)
        share(stop=self.stop)
        less_than(0, 1, choose_after=self.choose_after)
        at_least(0, patience=self.patience)
        for one in self.keep:
            one_of(self.KEPT, keep=one)
        if self.schedule == "plateau" and self.warmup:
            raise ConfigError(f"warmup is {self.warmup}; expected 0 where schedule is plateau")
        at_least(0, weight_decay=self.weight_decay)
        at_least(0, gradient_clip=self.gradient_clip)
        one_of(PRECISIONS, precision=self.precision)
        one_of(OPTIMIZERS, optimizer=self.optimizer)
