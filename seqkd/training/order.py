"""Which runs a recipe trains, and in which order: whoever teaches is trained first.

The order follows from ``system.teacher``; no task lists it. The stage "teachers" trains the runs that others learn
from, the stage "students" all others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from seqkd.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from seqkd.task import RunName, Task

GROUPS = ("teachers", "students")


def all_runs(task: Task, cfg: DictConfig, system_of: Callable[[str], DictConfig]) -> list[RunName]:
    """Every run of a recipe, in the order of training."""
    return [run for levels in levels_of(task, cfg, system_of).values() for level in levels for run in level]


def levels_of(task: Task, cfg: DictConfig, system_of: Callable[[str], DictConfig]) -> dict[str, list[list[RunName]]]:
    """The runs of "teachers" and "students", each in levels: those of one level need none of the same.

    Args:
        task: says whose outputs a run is trained on.
        cfg: settings with ``systems`` and ``seeds``.
        system_of: the settings of a system by its name.

    Raises:
        ConfigError: systems that learn from each other in a circle.
    """
    wanted = [(system, seed) for system in cfg.systems for seed in range(cfg.seeds)]
    needs: dict[RunName, list[RunName]] = {}
    open_runs = list(wanted)
    known = functools.cache(system_of)
    while open_runs:
        run = open_runs.pop(0)
        if run not in needs:
            needs[run] = task.teachers_of(cfg, known(run[0]), run[1])
            open_runs += needs[run]
    depths: dict[RunName, int] = {}
    for run in needs:
        _depth(run, needs, depths, ())
    teaching = {teacher for teachers in needs.values() for teacher in teachers}
    return {
        group: _by_depth([run for run in needs if (run in teaching) == (group == "teachers")], depths)
        for group in GROUPS
    }


def teachers_by_name(system: DictConfig, seed: int) -> list[RunName]:
    """The runs that ``system.teacher`` names, a system or several: of the same seed, or of ``teacher_seed``."""
    if system.teacher is None:
        return []
    names = [system.teacher] if isinstance(system.teacher, str) else list(system.teacher)
    fixed = system.get("teacher_seed")
    return [(name, seed if fixed is None else fixed) for name in names]


def _depth(
    run: RunName,
    needs: dict[RunName, list[RunName]],
    depths: dict[RunName, int],
    above: tuple[RunName, ...],
) -> int:
    if run in above:
        circle = " from ".join(name for name, _ in [*above[above.index(run) :], run])
        raise ConfigError(f"systems learn from each other in a circle: {circle}; change their teacher")
    if run not in depths:
        depths[run] = 1 + max((_depth(one, needs, depths, (*above, run)) for one in needs[run]), default=-1)
    return depths[run]


def _by_depth(runs: list[RunName], depths: dict[RunName, int]) -> list[list[RunName]]:
    levels = sorted({depths[run] for run in runs})
    return [[run for run in runs if depths[run] == level] for level in levels]
