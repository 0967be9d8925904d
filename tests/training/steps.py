"""Training steps outside a Trainer: a module at one update, and the work of speech without a recipe's settings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from seqkd.data.specaugment import SpecAugment
from seqkd.data.tokens import Tokenizer
from seqkd.losses import Objective
from seqkd.models.ctc import CtcModel
from seqkd.tasks.asr.work import SpeechTeacher, SpeechTraining, SpeechWork
from seqkd.teachers import CheckpointTeacher
from seqkd.training.module import Distillation

SETTINGS = {"updates": 100, "warmup": 10, "lr": 1e-2, "final_lr": 0.1, "weight_decay": 0.05, "validate_every": 10}
NO_MASKS = SpecAugment(freq_masks=0, time_masks=0)
SEED = 3
FIRST_UPDATE = hash((SEED, 0, 0)) % 2**63  # torch's seed in update 0 of process 0


class Still(Distillation):
    """A module as a Trainer of one process would hold it at ``stub.global_step``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stub = SimpleNamespace(world_size=1, global_step=0, global_rank=0)

    trainer = property(lambda self: self.stub)
    global_step = property(lambda self: self.stub.global_step)
    global_rank = property(lambda self: self.stub.global_rank)

    @property
    def sums(self) -> dict[str, float]:
        """What one update has added to the next row of the history."""
        return {name: float(value) for name, value in self._sums.items()}


def speech(
    teacher: CheckpointTeacher,
    tokenizer: Tokenizer,
    objective: Objective,
    augment: SpecAugment = NO_MASKS,
    *,
    passes: int = 1,
    masks: str = "same",
    teacher_view: str = "student",
    dropout: float = 0.0,
    decoder_layers: int = 0,
    **training: Any,
) -> Still:
    """A fresh student of the teacher's size at update 0, beside the live teacher if the objective looks at one."""
    torch.manual_seed(1)
    architecture = teacher.model.architecture | {"dropout": dropout}
    if decoder_layers:
        architecture["decoder_layers"] = decoder_layers
    model = CtcModel(architecture, teacher.features, teacher.classes)
    model.feature_mean.copy_(teacher.model.feature_mean)
    model.feature_scale.copy_(teacher.model.feature_scale)
    work = object.__new__(SpeechWork)  # nothing of a recipe but what a step looks at
    work.tokenizer, work.augment, work.model = tokenizer, augment, model
    work.own_masks = passes if masks == "independent" else 1
    work.settings = SpeechTraining(**{"max_duration": 8.0} | SETTINGS | training)
    work.sources = {}
    if "teacher" in objective.sources():
        work.sources["teacher"] = SpeechTeacher(teacher, clean=teacher_view == "clean")
    return Still(work, objective, seed=SEED, passes=passes)
