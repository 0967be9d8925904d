"""The scores of a decoded test set, whatever the task: the sums of each item, and the measures that follow from them.

A decoding ``exp/<system>/seed<k>/decode_<set>/`` receives

- ``counts.npz``, the `Table` of sums from which reports compute everything;
- ``score.json``: ``{"made_by", "items", "scores": {key: {"value", "ci95": [low, high]}}}`` and what a task adds. Values
  are unscaled (shares are fractions), and null where undefined. Intervals are over items, for there is one seed.

Both are up to date while ``made_by`` is what they would be made by now: the content of the decoding and of the
references, and the settings. File times play no part: a corrected file with an older time is noticed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqkd import files
from seqkd.errors import ConfigError, DataError
from seqkd.experiment.files import COUNTS, SCORE
from seqkd.layout import run_directory
from seqkd.stages import again
from seqkd.statistics.bootstrap import Estimates, estimate
from seqkd.statistics.measures import Measure
from seqkd.statistics.table import Table
from seqkd.task import Monitor
from seqkd.uptodate import content_hash

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from seqkd.experiment.read import Experiment

VERSION = 1  # of what is counted; scores of another are made again


class Undecoded(ConfigError):
    """There is nothing decoded yet that could be scored."""


class Scores:
    """What a task says of its scores; the base of one class a task. See `seqkd.task.Task` for the rest of a task.

    Attributes:
        name: of the task.
        measures: those of the report's first table; the first ranks systems and is compared with controls.
        further: measures that score.json holds, too, and that only the task's own sections show.
        teacher: the system whose lead over ``student`` others keep a share of.
        student: the system without any teacher.
        baseline: the system that all are compared with, besides each one's control.
        monitor: what training watches on dev.
        items: what an item of a test set is called, in the plural.
        units: names of columns that say how large a test set is, and what they count, such as ``words``.
        outputs: files that scoring leaves in a decoding.
    """

    name: str
    measures: tuple[Measure, ...]
    further: tuple[Measure, ...] = ()
    teacher: str = "teacher"
    student: str = "student"
    baseline: str | None = None
    monitor: Monitor
    items: str = "items"
    units: tuple[tuple[str, str], ...] = ()
    outputs: tuple[str, ...] = (COUNTS, SCORE)

    def evidence(self, cfg: DictConfig, run: Path, name: str) -> Mapping[str, Any]:
        """Return hashes and settings of all that `count` looks at, as JSON could hold them.

        Raises:
            Undecoded: ``<run>/decode_<name>`` is not there, or not finished.
            ConfigError, DataError: what it is compared with is missing.
        """
        raise NotImplementedError

    def count(self, cfg: DictConfig, run: Path, name: str) -> Table:
        """Return one row of sums an item of the test set ``name``, from ``<run>/decode_<name>`` and the references."""
        raise NotImplementedError

    def details(self, cfg: DictConfig, run: Path, name: str, table: Table) -> dict[str, Any]:
        """Return what else score.json is to hold, and write what else of ``outputs`` the task has."""
        return {}

    def legend(self, cfg: DictConfig, experiment: Experiment) -> list[str]:
        """Return sentences for the legend of the results that the measures do not carry themselves."""
        return []

    def sections(self, cfg: DictConfig, experiment: Experiment) -> list[str]:
        """Return Markdown that only this task's report has; figures go to ``figures`` beside ``report.out``."""
        return []


def score(task: Scores, cfg: DictConfig, system: str, seed: int, name: str) -> dict[str, Any]:
    """Score the decoding of a test set, unless that was done with the same evidence; print what was found.

    Args:
        task: counts, and says which measures there are.
        cfg: of the recipe.
        system: whose decoding.
        seed: of its run.
        name: of the test set.

    Returns:
        The content of score.json.

    Raises:
        Undecoded: there is nothing to score.
        ConfigError, DataError: files are missing, damaged or do not fit each other; the sentence names them.
    """
    run = run_directory(cfg, system, seed)
    decoded = run / f"decode_{name}"
    made_by = _made_by(task, cfg, run, name)
    kept = _read(decoded / SCORE)
    if kept.get("made_by") == made_by and all((decoded / output).is_file() for output in task.outputs):
        return kept
    table = task.count(cfg, run, name)
    (estimates,) = estimate({"": {seed: table}}, [*task.measures, *task.further], replicates=1000).values()
    found = {
        **task.details(cfg, run, name, table),
        "made_by": made_by,
        "items": len(table),
        "scores": {key: _entry(estimates, key) for key in estimates},
    }
    table.save(decoded / COUNTS)
    files.write_json(decoded / SCORE, found)  # last: it vouches for the others
    print(f"{system} seed {seed}, {name}: {line(task, estimates)}")
    return _read(decoded / SCORE)


def line(task: Scores, estimates: Estimates) -> str:
    """Say the values of a task's measures in one line, with the interval of the first."""
    parts = []
    for measure in task.measures:
        one = estimates[measure.key]
        ends = one.ci95 if measure is task.measures[0] else None
        interval = f" [{measure.show(ends[0])}, {measure.show(ends[1])}]" if ends else ""
        parts.append(f"{measure.name} {measure.with_unit(one.value)}{interval}")
    return ", ".join(parts)


def hash_of(path: Path) -> str | None:
    """Return a hash of a file's content, or None if there is no such file."""
    return content_hash(path) if path.is_file() else None


def _made_by(task: Scores, cfg: DictConfig, run: Path, name: str) -> dict[str, Any]:
    keys = [measure.key for measure in (*task.measures, *task.further)]
    made_by = {"version": VERSION, "measures": keys, **task.evidence(cfg, run, name)}
    return json.loads(json.dumps(made_by))  # as it will be read: tuples are lists then


def _read(path: Path) -> dict[str, Any]:
    """Read a score.json; nothing if it is missing or damaged, for it can be made again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _entry(estimates: Estimates, key: str) -> dict[str, Any]:
    one = estimates[key]
    return {"value": one.value if math.isfinite(one.value) else None, "ci95": list(one.ci95) if one.ci95 else None}


def read_scores(path: Path) -> dict[str, Any]:
    """Read the ``scores`` of a score.json; DataError if it has none."""
    scores = _read(path).get("scores")
    if not isinstance(scores, dict):
        raise DataError(f"{path} is missing, damaged or of an older release; {again('score')}")
    return scores
