"""Does a preset reach the numbers that it promises? ``report.expect``, of every task."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkd.errors import ConfigError, DataError, SeqkdError
from seqkd.experiment.files import SCORE, seed_directories
from seqkd.experiment.scores import Scores, read_scores
from seqkd.stages import again
from seqkd.statistics.measures import Measure, measure_of

if TYPE_CHECKING:
    from omegaconf import DictConfig


def check(task: Scores, cfg: DictConfig, chosen: Collection[str]) -> None:
    """Compare scores with ``report.expect``, and print each comparison.

    ``report.expect`` is ``{system: {measure: limit}}``, or ``{system: limit}`` of ``report.expect_metric``, by default
    the task's first measure. Limits are in the unit in which the measure is shown; its direction says whether they are
    lower or upper ones. The mean over a system's seeds has to keep them, on every test set.

    Args:
        task: says which measures there are.
        cfg: of the recipe.
        chosen: the systems that the recipe trains; others are left out with a word.

    Raises:
        ConfigError: there is no such measure, or it has no better side, or a limit is no number.
        SeqkdError: a limit is missed, or a system has no score.
    """
    for system, limits in wanted(task, cfg).items():
        if system not in chosen:
            print(f"{system} is not among the systems chosen here: what report.expect says of it is left out")
            continue
        for name in cfg.sets.test:
            for measure, limit in limits:
                _compare(measure, limit, system, name, _value(Path(cfg.exp) / system, name, measure))


def wanted(task: Scores, cfg: DictConfig) -> dict[str, list[tuple[Measure, float]]]:
    """Return what ``report.expect`` demands, by system: measures and their limits."""
    measures = [*task.measures, *task.further]
    usual = cfg.report.get("expect_metric") or measures[0].key
    measure_of(measures, usual, "report.expect_metric")
    demanded: dict[str, list[tuple[Measure, float]]] = {}
    for system, limits in cfg.report.expect.items():
        demanded[system] = []
        for key, limit in (limits if isinstance(limits, Mapping) else {usual: limits}).items():
            measure = measure_of(measures, key, f"a measure of report.expect.{system}")
            if measure.higher_is_better is None:
                raise ConfigError(f"report.expect.{system} names {key}, of which neither more nor less is better")
            if isinstance(limit, bool) or not isinstance(limit, (int, float)):
                raise ConfigError(f"report.expect.{system} has the limit {limit!r} for {key}; expected a number")
            demanded[system].append((measure, float(limit)))
    return demanded


def _value(system: Path, name: str, measure: Measure) -> float:
    """Return the mean over seeds of a measure on one test set, as score.json has it."""
    values: list[Any] = []
    for _, run in seed_directories(system):
        path = run / f"decode_{name}" / SCORE
        if path.is_file():
            values.append(read_scores(path).get(measure.key, {}).get("value"))
    if not values:
        raise SeqkdError(f"{system} has no scored decoding of {name}; {again('score')}")
    if None in values:
        raise DataError(f"{system} has no {measure.name} on {name}, which report.expect names: it is undefined there")
    return float(np.mean(values))


def _compare(measure: Measure, limit: float, system: str, name: str, value: float) -> None:
    least = bool(measure.higher_is_better)
    bound = f"at {'least' if least else 'most'} {limit:g} {measure.unit}".rstrip()
    found = f"{measure.with_unit(value)} {measure.name}"
    shown = measure.scale * value
    if not (shown >= limit if least else shown <= limit):
        raise SeqkdError(f"{system} has {found} on {name}; this preset must reach {bound}")
    print(f"{system} on {name}: {found}, must be {bound}: reached")
