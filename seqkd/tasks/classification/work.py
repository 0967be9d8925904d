"""The training of classifiers: clips, views of them, the network and its teachers.

Letters: P passes, B clips, T frames, S positions (1, or the frames), C classes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import nn
from torch.utils.data import DataLoader

from seqkd.classification.augment import AugmentSettings, augment
from seqkd.classification.batches import ClipBatch, Clips, evaluation_clips, training_clips
from seqkd.classification.data import ClipSet, frame_numbers, numbers_of, phones_of, read_classes, read_set
from seqkd.classification.examples import ExampleSettings, chosen_rows, classes_of, with_wrong_labels
from seqkd.classification.features import ClipFeatures, ClipFeatureSettings, read_features
from seqkd.classification.mixing import mix
from seqkd.classification.model import NetworkDescription, classifier_hash, load_classifier, save_classifier
from seqkd.classification.teachers import ClipTeacher, as_outputs, table_of
from seqkd.errors import ConfigError, DataError
from seqkd.experiment.scores import hash_of
from seqkd.layout import plain, run_directory
from seqkd.losses import Labels, Outputs
from seqkd.losses.outputs import IGNORE
from seqkd.settings import build
from seqkd.stages import again
from seqkd.tasks.classification.settings import MONITOR, ClassSettings, ClipTraining, check_views
from seqkd.training.order import teachers_by_name
from seqkd.training.study import Study
from seqkd.uptodate import fingerprint


@dataclass(frozen=True)
class ClipData:
    """The sets of a recipe, with the numbers of their classes."""

    cfg: DictConfig

    @cached_property
    def settings(self) -> ClassSettings:
        """Which classes."""
        return build(ClassSettings, plain(self.cfg.classes), "classes")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The classes in order: of clips, or the phones of frames."""
        if self.settings.target == "frame":
            return phones_of(self.set(self.cfg.sets.train))
        return read_classes(Path(self.cfg.data))

    @cached_property
    def subset(self) -> tuple[int, ...]:
        """The numbers of the classes that count."""
        return classes_of(self.names, self.settings.subset)

    def set(self, name: str) -> ClipSet:
        """A set, as its tables are."""
        return read_set(Path(self.cfg.data) / name)

    def features(self, name: str) -> ClipFeatures:
        """Its features."""
        return read_features(Path(self.cfg.data) / name)

    def targets(self, name: str) -> np.ndarray:
        """(N, S) numbers of classes; IGNORE where a frame is beyond the clip."""
        clips = self.set(name)
        if self.settings.target == "clip":
            return numbers_of(clips, self.names)[:, None]
        features = self.features(name)
        shift = self.cfg.features.frame_shift_ms / 1000
        numbers = frame_numbers(clips, self.names, features.values.shape[1], shift)
        return np.where(np.arange(numbers.shape[1]) < features.lengths.numpy()[:, None], numbers, IGNORE)

    def clips(self, name: str) -> Clips:
        """All clips of a set, in its order."""
        features = self.features(name)
        targets = torch.from_numpy(self.targets(name))
        return Clips(features.values, features.lengths, targets, torch.arange(len(targets)))

    def tested(self, name: str) -> Clips:
        """The clips of a test set that count: those of the subset's classes."""
        clips = self.clips(name)
        if self.settings.subset is None:
            return clips
        return self.of_subset(clips, name)

    def of_subset(self, clips: Clips, name: str) -> Clips:
        """Those of the subset's classes. Raises DataError where the set ``name`` has none."""
        rows = torch.isin(clips.targets[:, 0], torch.tensor(self.subset)).nonzero()[:, 0]
        if not len(rows):
            raise DataError(f"{Path(self.cfg.data) / name} has no clip of the classes of classes.subset")
        return clips.take(rows)


class ClipWork:
    """See `seqkd.training.workload.Workload`.

    Args:
        study: settings.
        model: trained in place; by default a fresh network of the settings.
        fold: which of the folds of the training set is left out for tests; the next one serves as dev.
    """

    monitor = MONITOR

    def __init__(self, study: Study, model: nn.Module | None = None, fold: int | None = None) -> None:
        cfg, role = study.cfg, study.role
        check_views(cfg)
        self.cfg, self.system, self.fold, self.data = cfg, cfg.system, fold, ClipData(cfg)
        self.settings = build(ClipTraining, {**plain(cfg[role].training), **plain(cfg.system.training)}, "training")
        self.augment = build(AugmentSettings, plain(cfg.augment), "augment")
        self.examples = build(ExampleSettings, plain(cfg.system.examples), "system.examples")
        self.everything = self.data.clips(cfg.sets.train)
        self.architecture = self.architecture_of(role)
        self.clips, self.dev_clips = self.chosen(), self.development()
        torch.set_num_threads(self.settings.threads)
        self.model = self.fresh_model() if model is None else model
        self.sources = {}
        if "teacher" in study.objective.sources():
            self.sources["teacher"] = self.teacher(study.objective.layers("teacher"))

    # -- data

    def chosen(self) -> Clips:
        """The clips that are learned from, with the labels that are learned."""
        clips, numbers, rows = self.everything, self.everything.targets.numpy(), self.training_rows()
        if self.data.settings.target == "clip":
            rows = rows[chosen_rows(numbers[rows, 0], self.examples, self.data.subset, self.cfg.seed)]
        elif self.examples.shots is not None or self.examples.share < 1 or self.examples.subset:
            raise ConfigError("system.examples chooses clips by their class; here each frame has one")
        numbers = self.renumbered(clips).targets.numpy()  # first, so that a wrong label is a class of the network
        wrong = with_wrong_labels(numbers, len(self.architecture.classes), self.examples, self.cfg.seed)
        return clips.labelled(np.where(numbers == IGNORE, numbers, wrong)).take(rows)

    def training_rows(self) -> np.ndarray:
        """The clips that may be learned from: all, or those of the folds that are neither for dev nor for tests."""
        if self.fold is None:
            return np.arange(len(self.everything))
        folds = np.array(self.data.set(self.cfg.sets.train).folds)
        return np.flatnonzero(~np.isin(folds, (self.fold, (self.fold + 1) % self.cfg.folds)))

    def development(self) -> Clips:
        """The clips on which weights are chosen."""
        if self.fold is None:
            clips = self.data.tested(self.cfg.sets.dev) if self.examples.subset else self.data.clips(self.cfg.sets.dev)
            return self.renumbered(clips)
        folds = np.array(self.data.set(self.cfg.sets.train).folds)
        clips = self.everything.take(np.flatnonzero(folds == (self.fold + 1) % self.cfg.folds))
        return self.renumbered(self.data.of_subset(clips, self.cfg.sets.train) if self.examples.subset else clips)

    def renumbered(self, clips: Clips) -> Clips:
        """With the numbers that a network for a subset of the classes has."""
        if not self.examples.subset:
            return clips
        return clips.labelled(torch.searchsorted(torch.tensor(self.data.subset), clips.targets.contiguous()))

    @cached_property
    def class_weights(self) -> torch.Tensor | None:
        """(C,) by the counts in what is learned from, 1 on average over its clips; None for equal ones."""
        if self.data.settings.weights == "none":
            return None
        targets = self.clips.targets[self.clips.targets != IGNORE]
        counts = torch.bincount(targets, minlength=len(self.architecture.classes)).clamp(min=1)
        return len(targets) / (len(counts) * counts.double())

    # -- networks

    def architecture_of(self, role: str) -> NetworkDescription:
        """How the network of a role is built."""
        names = self.data.names
        classes = tuple(names[number] for number in self.data.subset) if self.examples.subset else names
        settings = {
            **plain(self.cfg[role].model),
            **plain(self.system.model),
            "target": self.data.settings.target,
            "planes": self.planes,
        }
        return NetworkDescription(
            self.everything.features.shape[2], classes, settings, plain(self.system.network), plain(self.cfg.features)
        )

    @property
    def planes(self) -> int:
        """Colours of images; 0 for sounds."""
        if not self.data.set(self.cfg.sets.train).images:
            return 0
        return 3 if build(ClipFeatureSettings, plain(self.cfg.features), "features").colours == "RGB" else 1

    def fresh_model(self) -> nn.Module:
        """A network that knows nothing but the mean and deviation of its features; of a seed, always the same."""
        torch.manual_seed(self.cfg.seed)
        model = self.architecture.build()
        valid = torch.arange(self.clips.features.shape[1]) < self.clips.lengths[:, None]
        frames = self.clips.features[valid].double()
        model.normalise(frames.mean(0).float(), frames.std(0).float())
        return model

    def teacher(self, layers: Collection[str]) -> ClipTeacher:
        """Whoever teaches the system, in the order of ``system.teacher``."""
        names = teachers_by_name(self.system, self.cfg.seed)
        runs = [finished_run(self.cfg, *name, self.fold) for name in names]
        models = [load_classifier(run, own=True)[0].requires_grad_(False) for run in runs]
        table, facts = None, {}
        if not layers and self.system.teacher_mode == "eval":
            hashes = [classifier_hash(run) for run in runs]
            data = self.data.features(self.cfg.sets.train).fingerprint
            place = run_directory(self.cfg, *names[0]) / "book"
            rows = None if self.fold is None else self.training_rows()
            table, facts = table_of(place, models, hashes, self.everything, self.system.draws, data, rows)
        return ClipTeacher(
            models,
            layers=layers,
            draws=self.system.draws,
            clean=self.system.teacher_view == "clean",
            mode=self.system.teacher_mode,
            table=table,
            facts=facts,
        )

    # -- one update

    def training(self, start: int, rank: int, world: int) -> DataLoader:
        """Clips in an order of the seed's."""
        if world > self.settings.batch:
            raise ConfigError(f"training.batch is {self.settings.batch}; expected at least a clip for each of {world}")
        return training_clips(
            self.clips,
            batch=self.settings.batch,
            updates=self.settings.updates,
            seed=self.cfg.seed,
            start=start,
            rank=rank,
            world=world,
            workers=self.settings.workers,
        )

    def dev(self, rank: int, world: int) -> DataLoader:
        """Clips of dev."""
        return evaluation_clips(self.dev_clips, rank=rank, world=world)

    def views(self, batch: ClipBatch) -> ClipBatch:
        """Mixed, and augmented for each pass that wants it."""
        batch = mix(batch, self.system.mixup)
        if not self.system.views:
            return batch
        unchanged = tuple(view == "clean" for view in self.system.views)
        views = [
            batch.features if as_is else augment(batch.features, batch.lengths, self.augment) for as_is in unchanged
        ]
        return replace(batch, views=torch.stack(views), clean=batch.features, unchanged=unchanged)

    def outputs(self, model: nn.Module, seen: ClipBatch, layers: Collection[str] = (), passes: int = 1) -> Outputs:
        """One pass a view, or as many over the same clips."""
        given = [seen.features] * passes if seen.views is None else seen.views[:passes]
        return as_outputs([model(features, seen.lengths, layers) for features in given])

    def labels(self, seen: ClipBatch) -> Labels:
        """The class of each clip, or frame."""
        subset = torch.tensor(self.data.subset, device=seen.targets.device) if self.examples.subset else None
        return Labels(
            seen.targets,
            seen.positions,
            mixed=seen.mixed,
            share=seen.share,
            class_weights=self.class_weights,
            subset=subset,
            by_position=self.data.settings.target == "frame",
        )

    def count(self, batch: ClipBatch) -> float:
        """Clips, or frames."""
        return int(batch.positions.sum())

    def measure(self, model: nn.Module, batch: ClipBatch) -> dict[str, tuple[float, float]]:
        """Wrong positions, and negative log-likelihood in nats."""
        log_probs = model(batch.features, batch.lengths).logits.float().log_softmax(-1)  # (B, S, C)
        valid = batch.targets != IGNORE
        targets, rows = batch.targets[valid], log_probs[valid]
        wrong = float((rows.argmax(-1) != targets).sum())
        nll = -float(rows.gather(-1, targets[:, None]).sum())
        found = {"dev_error": (wrong, len(targets)), "dev_nll": (nll, len(targets))}
        if hasattr(model, "entropies"):  # of the parents that a mixture of experts chooses, for its curve
            found["entropy"] = (float(model.entropies().mean()) * len(targets), len(targets))
        return found

    def save(self, directory: Path) -> None:
        """Write the model directory."""
        place = directory if self.fold is None else directory / f"fold{self.fold}"
        save_classifier(place, self.model, self.architecture)

    def summary(self) -> dict[str, Any]:
        """Clips."""
        return {"clips": len(self.clips)}


def finished_run(cfg: DictConfig, system: str, seed: int, fold: int | None = None) -> Path:
    """The model directory of a run that teaches. Raises ConfigError if it is not finished."""
    directory = run_directory(cfg, system, seed)
    if not (directory / "summary.json").is_file():
        raise ConfigError(
            f"{directory} has no finished model, and {cfg.system.name} learns from it; {again('teachers')}"
        )
    return directory / "model" if fold is None else directory / "model" / f"fold{fold}"


def model_folder(run: Path) -> Path:
    """The model directory of a run; with folds, that of the first."""
    folder = run / "model"
    return folder if (folder / "model.json").is_file() else folder / "fold0"


def check_folds(cfg: DictConfig, clips: ClipSet) -> None:
    """Raise DataError unless the training set has clips in every fold."""
    if cfg.folds and (clips.folds is None or set(clips.folds) != set(range(cfg.folds))):
        raise DataError(
            f"{clips.directory} has folds {sorted(set(clips.folds or ()))}; expected clips in each of 0 to "
            f"{cfg.folds - 1}, in the file 'fold'"
        )


def run_hash(run: Path, wanted_by: str) -> str:
    """A hash of a finished run's model. Raises ConfigError if it is not finished."""
    if not (run / "summary.json").is_file():
        raise ConfigError(f"{run} has no finished model, and {wanted_by} needs it; {again('teachers')}")
    folders = [run / "model"] if (run / "model" / "model.json").is_file() else sorted((run / "model").glob("fold*"))
    return fingerprint([classifier_hash(folder) for folder in folders])


def labels_hash(directory: Path) -> str:
    """A hash of the tables of a set that labels come from."""
    found = {name: hash_of(directory / name) for name in ("label", "phones.ctm", "fold")}
    return fingerprint(found)


def start_of(cfg: DictConfig) -> Path:
    """The model of ``system.start_from``, of the same seed. Raises ConfigError where none is named, or finished."""
    if not cfg.system.start_from:
        raise ConfigError(f"system {cfg.system.name} begins with another's weights; set system.start_from")
    return finished_run(cfg, cfg.system.start_from, cfg.seed)
