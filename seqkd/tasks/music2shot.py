"""Music to shots by deep interactive learning: what the recipes' commands do for ``egs/*/music2shot``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqkd.cli.settings import student_runs
from seqkd.experiment import scores
from seqkd.tasks.shots_scores import ShotsScores

ASSISTANTS = ("assistant_1s", "assistant_2s", "assistant_4s")
TEACHERS = (*ASSISTANTS, "teacher")
TAUGHT = ("student_kd", "dil")


def make_features(cfg: DictConfig) -> None:
    """Validate every set the recipe uses, and make its features."""
    from seqkd.shots.listening import features

    for name in dict.fromkeys([cfg.sets.train, cfg.sets.dev, *cfg.sets.test]):
        settings = features.FeatureSettings(**cfg.features)
        count = features.make_features(Path(cfg.data) / name, settings, cfg.nj)
        print(f"{name}: {count} songs")


def assistant_runs(cfg: DictConfig) -> list[tuple[str, int]]:
    """The three assistants of each seed, if anyone is to be taught."""
    wanted = ASSISTANTS if {"teacher", *TAUGHT} & set(cfg.systems) else [s for s in ASSISTANTS if s in cfg.systems]
    return [(system, seed) for system in wanted for seed in range(cfg.seeds)]


def teacher_runs(cfg: DictConfig) -> list[tuple[str, int]]:
    """The fused teacher of each seed, if anyone is to be taught."""
    return [("teacher", seed) for seed in range(cfg.seeds) if {"teacher", *TAUGHT} & set(cfg.systems)]


def other_runs(cfg: DictConfig) -> list[tuple[str, int]]:
    """What needs at most a teacher: the baselines and the students."""
    return [run for run in student_runs(cfg) if run[0] not in (*TEACHERS, "dil", "teacher_dil")]


def round_runs(cfg: DictConfig) -> list[tuple[str, int]]:
    """Interactive rounds, one run a seed."""
    return [run for run in student_runs(cfg) if run[0] == "dil"]


def last_teacher_runs(cfg: DictConfig) -> list[tuple[str, int]]:
    """The teachers at the end of the rounds."""
    return [("teacher_dil", seed) for _, seed in round_runs(cfg)]


def train(cfg: DictConfig) -> None:
    """Train the system and seed of the settings."""
    from seqkd.shots import systems

    systems.train(cfg)


def export(cfg: DictConfig) -> None:
    """Copy the best student to ``<exp>/model``, for `seqkd shots`."""
    from seqkd.shots import systems

    systems.export(cfg)


PREPARE = {"features": make_features, "export": export}
GROUPS = {
    "assistants": assistant_runs,
    "teacher": teacher_runs,
    "students": other_runs,
    "rounds": round_runs,
    "last_teacher": last_teacher_runs,
}


def decode(cfg: DictConfig, system: str, seed: int, name: str) -> None:
    """``decode_<set>/``: shots and probabilities of every song."""
    from seqkd.shots import decoding

    decoding.decode_run(cfg, system, seed, name)


def score(cfg: DictConfig, system: str, seed: int, name: str) -> None:
    """``decode_<set>/score.json`` and ``counts.npz``."""
    scores.score(ShotsScores(), cfg, system, seed, name)


def report(cfg: DictConfig, systems: Mapping[str, Mapping[str, Any]], command: str) -> None:
    """RESULTS.md and its figures."""
    from seqkd.experiment.report import write_report

    write_report(ShotsScores(), cfg, systems, command)


def check(cfg: DictConfig, chosen: Sequence[str]) -> None:
    """Raise SeqkdError when a system misses a number that its preset promises (report.expect)."""
    from seqkd.experiment import check

    check.check(ShotsScores(), cfg, chosen)
