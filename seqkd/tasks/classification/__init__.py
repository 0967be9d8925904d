"""Clips, images or frames to classes: ``egs/*/classify_kd``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from seqkd.errors import ConfigError
from seqkd.layout import plain, run_directory
from seqkd.tasks.classification.scores import ClassificationScores
from seqkd.training.order import teachers_by_name

if TYPE_CHECKING:
    from seqkd.losses import Objective
    from seqkd.task import RunName
    from seqkd.tasks.classification.work import ClipWork
    from seqkd.training.study import Study


class ClassificationTask(ClassificationScores):
    """See `seqkd.task.Task`."""

    def prepare(self, cfg: DictConfig) -> None:
        """Check every set and that no group is in two of them; features."""
        from seqkd.classification.data import check_parts, check_support
        from seqkd.classification.features import ClipFeatureSettings, make_features
        from seqkd.tasks.classification.work import ClipData, check_folds

        data = ClipData(cfg)
        names = dict.fromkeys([cfg.sets.train, *([] if cfg.folds else [cfg.sets.dev]), *cfg.sets.test])
        sets = {name: data.set(name) for name in names}
        if data.settings.target == "clip":
            check_support(sets[cfg.sets.train], data.names)
        check_folds(cfg, sets[cfg.sets.train])
        if not cfg.folds:
            check_parts(sets[cfg.sets.train], sets[cfg.sets.dev], [sets[name] for name in cfg.sets.test])
        settings = ClipFeatureSettings(**cfg.features)
        for name, clips in sets.items():
            make_features(clips, settings, cfg.nj)
            targets = data.targets(name)
            print(f"{name}: {len(clips)} clips in {len(set(clips.groups))} groups, {(targets >= 0).sum()} labels")

    def teachers_of(self, cfg: DictConfig, system: DictConfig, seed: int) -> list[RunName]:
        """The runs that ``system.teacher`` and ``system.start_from`` name."""
        start = [(system.start_from, seed)] if system.start_from else []
        return [*teachers_by_name(system, seed), *start]

    def check_teachers(self, cfg: DictConfig) -> str:
        """Nothing: teachers are scored like all systems."""
        return ""

    def make_book(self, cfg: DictConfig, systems: Sequence[DictConfig], shard: int, shards: int) -> None:
        """Nothing: the first student of a teacher computes its table, and others read it."""
        print("a teacher's outputs are computed by its first student, and kept in its run for the others")

    def entries_to_make(self, cfg: DictConfig, systems: Sequence[DictConfig]) -> int:
        """None: see `make_book`."""
        return 0

    def describe(self, cfg: DictConfig, objective: Objective) -> dict[str, Any]:
        """Clips, network, training, views and teachers."""
        from seqkd.tasks.classification.work import ClipData, labels_hash, run_hash

        data, system, role = ClipData(cfg), cfg.system, cfg[cfg.system.role]
        if system.examples.subset and cfg.classes.subset is None:
            raise ConfigError(f"system {system.name} is for a subset of the classes; set classes.subset=0.2")
        keys = (
            "network",
            "procedure",
            "options",
            "views",
            "mixup",
            "draws",
            "teacher_view",
            "teacher_mode",
            "start_from",
        )
        sets = [cfg.sets.train] if cfg.folds else [cfg.sets.train, cfg.sets.dev]
        made_from = {}
        for name, seed in self.teachers_of(cfg, system, cfg.seed):
            made_from[name] = run_hash(run_directory(cfg, name, seed), system.name)
        return {
            "data": {name: data.features(name).fingerprint for name in sets},
            "labels": {name: labels_hash(Path(cfg.data) / name) for name in sets},
            "classes": plain(cfg.classes),
            "folds": cfg.folds,
            "model": {**plain(role.model), **plain(system.model)},
            "training": {**plain(role.training), **plain(system.training)},
            "examples": plain(system.examples),
            "augment": plain(cfg.augment) if "jda" in system.views else None,
            **{key: plain(system[key]) if hasattr(system[key], "items") else _listed(system[key]) for key in keys},
            "made_from": made_from,
        }

    def workload(self, study: Study) -> ClipWork:
        """Clips, the network and its teachers."""
        from seqkd.tasks.classification.work import ClipWork

        return ClipWork(study)

    def decode(self, cfg: DictConfig, run: Path, name: str) -> None:
        """``decode_<set>/decoded.safetensors``."""
        from seqkd.tasks.classification.deciding import decode_run

        decode_run(cfg, run, name)

    def export(self, cfg: DictConfig, systems: Sequence[DictConfig]) -> None:
        """ONNX, and int8, of every trained system."""
        from seqkd.tasks.classification.exporting import export_runs

        export_runs(cfg, systems)


def _listed(value: Any) -> Any:
    return list(value) if hasattr(value, "append") else value


TASK = ClassificationTask()
