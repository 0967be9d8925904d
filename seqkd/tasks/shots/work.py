"""The training of shot networks on songs: what they learn from, batches, the teacher's stored outputs.

Letters: P passes, B songs, T frames, F features, C shot classes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from seqkd.errors import ConfigError
from seqkd.layout import plain
from seqkd.losses import Labels, Outputs
from seqkd.settings import build
from seqkd.shots.audio.features import SongFeatureSettings
from seqkd.shots.coupling import stay_factor
from seqkd.shots.language import FilmLanguage
from seqkd.shots.lessons import Lesson, SongSet, draw, lessons, load_songs
from seqkd.shots.model import Architecture, ShotModel, ShotNetwork, save_shot_model
from seqkd.shots.rates import averaged
from seqkd.tasks.settings import unlabelled_sets
from seqkd.tasks.shots.settings import MONITOR, SongTraining

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class ShotData:
    """What every system of a seed is made from."""

    cfg: DictConfig

    @cached_property
    def train(self) -> SongSet:
        """The songs that students have labels of."""
        return self.set(self.cfg.sets.train)

    @cached_property
    def teachers(self) -> SongSet:
        """The songs that assistants, and so teachers, learn from."""
        first, *others = self.cfg.sets.teacher or [self.cfg.sets.train]
        return reduce(SongSet.and_also, map(self.set, others), self.set(first))

    @cached_property
    def unlabelled(self) -> SongSet | None:
        """The songs of which teachers give their posteriors, and nobody gives labels to a student."""
        sets = [self.set(name, labelled=False) for name in self.cfg.unlabelled]
        return reduce(SongSet.and_also, sets) if sets else None

    @cached_property
    def students(self) -> SongSet:
        """What a student of the system learns from."""
        return self.train.and_also(self.unlabelled) if unlabelled_sets(self.cfg) else self.train

    @cached_property
    def dev(self) -> SongSet:
        """The songs on which checkpoints and settings are chosen."""
        return self.set(self.cfg.sets.dev)

    def set(self, name: str, labelled: bool = True) -> SongSet:
        """One set of songs."""
        return load_songs(Path(self.cfg.data) / name, labelled)

    def language(self, songs: SongSet) -> FilmLanguage:
        """The film language of labelled songs."""
        return FilmLanguage.from_counts(songs.classes.values(), smoothing=self.cfg.language.smoothing)

    @cached_property
    def architecture(self) -> Architecture:
        """Of every network."""
        return build(Architecture, plain(self.cfg.model), "model")

    @cached_property
    def training(self) -> SongTraining:
        """Of one phase."""
        return build(SongTraining, plain(self.cfg.training), "training")

    def describe(self) -> dict[str, Any]:
        """What decides how a network begins and learns."""
        return {
            "model": {**asdict(self.architecture), "sizes": list(self.architecture.sizes)},
            "training": plain(self.cfg.training),
        }

    def fresh_model(self, songs: SongSet, seconds: int = 1) -> ShotModel:
        """A model that knows nothing but the statistics of labelled songs; the same for every system of a seed."""
        torch.manual_seed(hash((self.cfg.seed, seconds)) % 2**63)
        network = ShotNetwork(self.architecture, len(songs.names))
        frames = np.concatenate([averaged(frames, seconds) for frames in songs.frames.values()]).astype(float)
        network.normalise(frames.mean(0), frames.std(0))
        settings = SongFeatureSettings(**self.cfg.features)
        return ShotModel(network, songs.names, self.language(songs), seconds, settings)


class SongWork:
    """See `seqkd.training.workload.Workload`.

    Args:
        data: settings, and the songs of dev.
        songs: to learn from.
        model: trained in place.
        soft: (T, C) posteriors at one second of whoever teaches, by song id; None without a teacher.
        seed: of the batches.
    """

    monitor = MONITOR

    def __init__(
        self,
        data: ShotData,
        songs: SongSet,
        model: ShotModel,
        soft: Mapping[str, np.ndarray] | None = None,
        *,
        seed: int,
    ) -> None:
        self.shot_model, self.model, self.settings, self.seed = model, model.network, data.training, seed
        self.known = lessons(songs, model.seconds, soft)
        self.dev_set, self.dev_songs = data.dev, lessons(data.dev, model.seconds)
        self.window = max(1, self.settings.window // model.seconds)
        self.sources = {} if soft is None else {"teacher": teacher_outputs}
        torch.set_num_threads(self.settings.threads)

    def training(self, start: int, rank: int, world: int) -> DataLoader:
        """Pieces of songs drawn at random, the same for any number of processes, which share them."""
        if world > self.settings.batch:
            raise ConfigError(f"training.batch is {self.settings.batch}; expected at least a song for each of {world}")
        updates = _Updates(start, self.settings.updates)
        drawn = _Drawn(self, rank, world)
        return DataLoader(drawn, sampler=updates, batch_size=None, num_workers=self.settings.workers)

    def dev(self, rank: int, world: int) -> DataLoader:
        """Whole songs."""
        return DataLoader(self.dev_songs[rank::world], batch_size=None)

    def views(self, batch: Lesson) -> Lesson:
        """The batch as it is: passes differ by dropout alone."""
        return batch

    def outputs(self, model: ShotNetwork, seen: Lesson, layers: Collection[str] = (), passes: int = 1) -> Outputs:
        """Logits of every frame; songs are cut to one length, not padded."""
        if layers:
            raise ConfigError(f"layer is {next(iter(layers))!r}; these networks give output alone")
        logits = torch.stack([model(seen.frames) for _ in range(passes)])  # (P, B, T, C)
        return Outputs(logits, _lengths(seen))

    def labels(self, seen: Lesson) -> Labels:
        """The shot of every frame."""
        return Labels(seen.classes, _lengths(seen), by_position=True)

    def count(self, batch: Lesson) -> float:
        """Frames."""
        return batch.classes.numel()

    def measure(self, model: ShotNetwork, batch: Lesson) -> dict[str, tuple[float, float]]:
        """Wrong frames, and negative log-likelihood (nats), of a whole song."""
        log_probs = model(batch.frames[None])[0].log_softmax(-1)  # (T, C)
        wrong = float((log_probs.argmax(-1) != batch.classes).sum())
        nll = -float(log_probs.gather(-1, batch.classes[:, None]).sum())
        return {"dev_error": (wrong, len(batch.classes)), "dev_nll": (nll, len(batch.classes))}

    def save(self, directory: Path) -> None:
        """Write the model directory; its film language learns from the dev songs how far music explains staying."""
        language = self.shot_model.language
        model, dev = self.shot_model, self.dev_set
        posteriors = [model.posteriors(frames) for frames in dev.frames.values()]
        stay = stay_factor(posteriors, list(dev.classes.values()), language.transition)
        save_shot_model(directory, replace(model, language=replace(language, stay=stay)))

    def summary(self) -> dict[str, Any]:
        """Songs."""
        return {"songs": len(self.known)}


@dataclass(frozen=True)
class _Updates:
    """Updates ``start`` … ``updates`` − 1. Its length is of all: Lightning counts those before ``start`` as seen."""

    start: int
    updates: int

    def __len__(self) -> int:
        return self.updates

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.updates))


class _Drawn(Dataset):
    """The share of a process of what `draw` gives for an update."""

    def __init__(self, work: SongWork, rank: int, world: int) -> None:
        self.work, self.rank, self.world = work, rank, world

    def __getitem__(self, update: int) -> Lesson:
        work = self.work
        one = draw(work.known, batch=work.settings.batch, window=work.window, seed=work.seed, update=update)
        return one if self.world == 1 else one.share(self.rank, self.world)


def teacher_outputs(seen: Lesson, student: Outputs) -> Outputs:
    """Log-posteriors (1, B, T, C) of whoever teaches."""
    return Outputs(seen.soft.log()[None], student.lengths)


def _lengths(seen: Lesson) -> torch.Tensor:
    songs, frames = seen.classes.shape
    return torch.full((songs,), frames, device=seen.classes.device)
