"""One training of every task, on data that a tiny model learns in seconds: for tests that hold for all of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from seqkd.losses import Features, Labels, Outputs, Term
from tests import clip_corpus, pairs_corpus, runs
from tests.shots import songs


class Grown(Term):
    """A term that learns: a map from a layer's features to the teacher's outputs, made when their sizes are known."""

    source = "teacher"

    def setup(self, student: Features, teacher: Outputs) -> None:
        """The map."""
        self.adaptor = nn.Linear(student.values.shape[-1], teacher.logits.shape[-1])

    def forward(self, student: Features, teacher: Outputs, labels: Labels) -> Tensor:
        """(B,)."""
        apart = (self.adaptor(student.values) - teacher.log_probs.exp()).square().sum(-1)
        return apart.masked_fill(~student.mask, 0.0).sum(-1).mean(0)


class Owned(Term):
    """A term that learns one number, and has it from the beginning."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.scale = nn.Parameter(torch.randn(()))

    def forward(self, student: Outputs, other: None, labels: Labels) -> Tensor:
        """(B,)."""
        return (self.scale * student.log_probs).square().masked_fill(~student.mask[..., None], 0.0).sum((0, 2, 3)) / 99


GROWN = ["+system.objective.grown._target_=tests.training.cases.Grown"]
GROWN += [f"+system.objective.grown.{option}" for option in ("layer=block1", "other_layer=output", "weight=0.5")]
OWNED = ["+system.objective.owned._target_=tests.training.cases.Owned"]
AGREE = [f"+system.objective.agree.{option}" for option in ("_target_=seqkd.losses.Consistency", "weight=0.5")]


@dataclass(frozen=True)
class Kind:
    """A task's tiny runs: `tests.runs`, `tests.pairs_corpus`, `tests.shots.songs` or `tests.clip_corpus`."""

    arguments: Callable[..., list[str]]
    settings: Callable[..., DictConfig]
    prepare: Callable[[Path, Path, list[str]], None]  # what must be there before a run: (exp, data, overrides)


def with_book(exp: Path, data: Path, overrides: list[str]) -> None:
    """Of speech: the entries that the system reads."""
    from seqkd.teachers.making import make

    cfg = runs.settings(exp, data, *overrides)
    if cfg.book.form != "live":
        make(cfg, [cfg])


def with_units(exp: Path, data: Path, overrides: list[str]) -> None:
    """Of translation: the tokenizer."""
    from seqkd.tasks.translation import make_tokens

    make_tokens(pairs_corpus.settings(exp, data, *overrides))


ASR = Kind(runs.arguments, runs.settings, with_book)
TRANSLATION = Kind(pairs_corpus.arguments, pairs_corpus.settings, with_units)
SHOTS = Kind(songs.arguments, songs.settings, lambda *_: None)
CLIPS = Kind(clip_corpus.arguments, clip_corpus.settings, lambda *_: None)


@dataclass(frozen=True)
class Place:
    """Where a case has its data, and an experiment to begin from: None is an empty one."""

    data: Path
    begun: Path | None = None

    def copy(self, exp: Path) -> Path:
        """An experiment directory of one's own."""
        if self.begun is None:
            exp.mkdir(parents=True)
        else:
            shutil.copytree(self.begun, exp)
        return exp
