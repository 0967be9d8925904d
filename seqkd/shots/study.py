"""What every system of the recipe trains with: the songs, the settings, a fresh model, a phase of training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seqkd.errors import ConfigError
from seqkd.layout import plain, run_directory
from seqkd.shots.language import FilmLanguage
from seqkd.shots.lessons import Corpus, lessons, load_corpus
from seqkd.shots.listening.features import FeatureSettings
from seqkd.shots.model import Architecture, ShotModel, ShotNetwork
from seqkd.shots.rates import averaged
from seqkd.shots.training import Distillation, TrainingSettings, train_network
from seqkd.stages import again

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omegaconf import DictConfig


@dataclass(frozen=True)
class Study:
    """The settings of one system and seed, and what follows from them."""

    cfg: DictConfig

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return self.cfg.seed

    @property
    def directory(self) -> Path:
        """Of the run."""
        return run_directory(self.cfg)

    def of(self, system: str) -> Path:
        """The run of another system, of the same seed."""
        return run_directory(self.cfg, system)

    @cached_property
    def train(self) -> Corpus:
        """The training songs."""
        return load_corpus(Path(self.cfg.data) / self.cfg.sets.train)

    @cached_property
    def dev(self) -> Corpus:
        """The songs on which training is stopped and settings are chosen."""
        return load_corpus(Path(self.cfg.data) / self.cfg.sets.dev)

    @cached_property
    def language(self) -> FilmLanguage:
        """The film language of the training songs."""
        return FilmLanguage.from_counts(self.train.classes.values(), smoothing=self.cfg.language.smoothing)

    @cached_property
    def architecture(self) -> Architecture:
        """Of every network."""
        return Architecture(**plain(self.cfg.model))

    @cached_property
    def training(self) -> TrainingSettings:
        """Of one phase."""
        return TrainingSettings(**plain(self.cfg.training))

    @cached_property
    def distillation(self) -> Distillation:
        """Of the student, and of the assistants that it teaches."""
        return Distillation(**plain(self.cfg.distillation))

    def description(self, **more: Any) -> dict[str, Any]:
        """What decides the result of every system: those of this system are added."""
        return {
            "system": self.cfg.system.name,
            "seed": self.seed,
            "data": {self.cfg.sets.train: self.train.fingerprint, self.cfg.sets.dev: self.dev.fingerprint},
            "features": plain(self.cfg.features) | {"count": len(self.train.names)},
            "language": plain(self.cfg.language),
            **more,
        }

    def network_description(self) -> dict[str, Any]:
        """What decides how a network begins and learns."""
        return {
            "model": {**asdict(self.architecture), "sizes": list(self.architecture.sizes)},
            "training": asdict(self.training),
        }

    def fresh_model(self, seconds: int = 1) -> ShotModel:
        """A model that has learned nothing but the statistics of the training songs; the same for every system."""
        torch.manual_seed(hash((self.seed, seconds)) % 2**63)
        network = ShotNetwork(self.architecture, len(self.train.names))
        frames = np.concatenate([averaged(frames, seconds) for frames in self.train.frames.values()]).astype(float)
        network.normalise(frames.mean(0), frames.std(0))
        return ShotModel(network, self.train.names, self.language, seconds, FeatureSettings(**self.cfg.features))

    def phase(
        self,
        model: ShotModel,
        directory: Path,
        *,
        soft: Mapping[str, np.ndarray] | None = None,
        number: int = 0,
    ) -> list[dict[str, Any]]:
        """Train a model in place, on hard labels and, if given, on ``soft`` beliefs (T, C) by song id.

        ``number`` is that of the round, so that its batches are not those of the one before. Returns the history.
        """
        return train_network(
            model.network,
            lessons(self.train, model.seconds, soft),
            lessons(self.dev, model.seconds),
            directory,
            settings=self.training,
            distillation=self.distillation,
            seconds=model.seconds,
            seed=self.seed + 1000 * number,
            label=f"{self.directory.parent.name}/{self.directory.name} {directory.relative_to(self.directory)}",
        )


def finished(directory: Path, stage: str) -> Path:
    """A finished run's ``model``; ConfigError if there is none, naming the stage that makes it."""
    if not (directory / "summary.json").is_file():
        raise ConfigError(f"{directory} has no finished model; {again(stage)}")
    return directory / "model"


def least(history: list[dict[str, Any]]) -> dict[str, Any]:
    """The validation whose weights were kept."""
    return min(history, key=lambda row: row["dev_error"])
