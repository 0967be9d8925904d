"""Settings that every task has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from seqkd.config import check_system_name
from seqkd.errors import ConfigError
from seqkd.layout import plain
from seqkd.losses import Objective
from seqkd.losses.build import objective_of
from seqkd.settings import at_least, build, one_of


@dataclass(frozen=True)
class RunSettings:
    """Where and how often runs are made.

    Attributes:
        nj: jobs side by side.
        ngpu: GPUs of a training run on each node.
        nodes: machines of a training run.
        processes: of a training run on each node, on the CPU.
        seeds: seeds 0 to this, without it, of each system.
        seed: the seed of a single run.
    """

    nj: int
    ngpu: int
    seeds: int
    seed: int
    nodes: int = 1
    processes: int = 1

    def __post_init__(self) -> None:
        at_least(1, nj=self.nj, nodes=self.nodes, processes=self.processes, seeds=self.seeds)
        at_least(0, ngpu=self.ngpu, seed=self.seed)


@dataclass(frozen=True)
class ReportSettings:
    """Of RESULTS.md; what ``expect`` holds is checked by what compares it with the scores."""

    out: str
    replicates: int
    notes: list[str]
    expect: Mapping[str, Any]
    expect_metric: str | None = None
    baseline: str | None = None
    compare: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        at_least(1, replicates=self.replicates)
        for pair in self.compare:
            if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)):
                raise ConfigError(f"compare has {pair!r}; expected pairs of systems, as in [[cons_kd, kd]]")


RUN = ("nj", "ngpu", "nodes", "processes", "seeds", "seed")


def check_common(cfg: DictConfig) -> None:
    """Raise ConfigError about settings that every task has."""
    build(RunSettings, {name: cfg[name] for name in RUN if name in cfg}, "")
    build(ReportSettings, plain(cfg.report), "report")
    check_system_name(cfg, *cfg.systems)
    check_system_name(cfg, *(name for pair in cfg.report.compare for name in pair), where="report.compare: ")
    for name, chosen in plain(cfg.dev_chosen).items():
        check_system_name(cfg, name, where="dev_chosen: ")
        if not (isinstance(chosen, list) and all(isinstance(one, str) and "=" in one for one in chosen)):
            raise ConfigError(f"setting dev_chosen.{name} is {chosen!r}; expected a list such as [a=1,b=2]")


def check_system(cfg: DictConfig, *, taught: bool = False) -> Objective:
    """Build a system's objective; raise ConfigError about what cannot be in it or beside it.

    ``taught``: its procedure knows who teaches, without a system of that name.
    """
    system = cfg.system
    at_least(1, **{"setting system.passes": system.passes})
    one_of(("student", "teacher"), **{"setting system.role": system.role})
    if system.get("teacher_seed") is not None:
        at_least(0, **{"setting system.teacher_seed": system.teacher_seed})
    teachers = [system.teacher] if isinstance(system.teacher, str) else system.teacher or []
    check_system_name(cfg, *teachers, where="setting system.teacher: ")
    objective = objective_of(plain(system.objective), passes=system.passes)
    if "teacher" in objective.sources() and not (teachers or taught):
        raise ConfigError(f"system {system.name} learns from a teacher, but system.teacher names no system to be it")
    return objective


def unlabelled_sets(cfg: DictConfig) -> list[str]:
    """The sets without labels that a system uses; ConfigError where it is to use some and there are none."""
    if not cfg.system.use_unlabelled:
        return []
    if not cfg.unlabelled:
        raise ConfigError(
            f"system {cfg.system.name} uses sets without labels, but unlabelled= names none; set "
            "unlabelled=[unlabelled], or leave the system out"
        )
    return list(cfg.unlabelled)


def built_on_nothing(kind: Callable[..., Any], settings: Mapping[str, Any], where: str, *args: Any) -> None:
    """Build a model without memory for its weights: all of its own checks, in no time."""
    import torch

    with torch.device("meta"):
        build(kind, settings, where, *args)
