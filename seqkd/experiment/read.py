"""Reading an experiment directory, whatever its task: what was trained, how, and the sums that scoring counted.

Layout::

    exp/<system>/seed<k>/config.yaml                resolved settings
    exp/<system>/seed<k>/history.json               {"rows": [{"step", "seconds", <dev measure>, "train": {}}, ...]}
    exp/<system>/seed<k>/summary.json               see `SUMMARY_KEYS`
    exp/<system>/seed<k>/decode_<set>/counts.npz    see `seqkd.experiment.scores`
    exp/.estimates/*.npz                            what was estimated of them; see `seqkd.experiment.kept`

Legend: N items of all test sets, S seeds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkd.errors import DataError
from seqkd.experiment.files import COUNTS, flatten, is_scored, read_json, read_yaml, seed_directories
from seqkd.experiment.kept import estimate_once
from seqkd.stages import again
from seqkd.statistics.bootstrap import Estimates, estimate
from seqkd.statistics.measures import Measure, tested
from seqkd.statistics.table import Table, same_items

if TYPE_CHECKING:
    from seqkd.task import Task

FEWER = 1000  # replicates of measures that are shown only
_OF_A_SEED = ("seed", "made_from", "start_from", "teacher")  # the last are hashes of runs
_NOT_OF_THE_SEARCH = ("model", "features", "pairs", "labels", "subset")
SUMMARY_KEYS = ("parameters", "steps", "passes", "train_seconds", "device")


@dataclass(frozen=True)
class Run:
    """One seed of one system.

    Attributes:
        seed: its number.
        directory: where it is.
        config: resolved settings.
        history: a row a validation: ``step``, ``seconds``, what is watched on dev, and ``train``, the loss terms.
        summary: at least `SUMMARY_KEYS`.
        tables: sums of each item, by test set.
        search: how outputs were decoded, such as ``beam``, in words; empty where nothing is chosen.
    """

    seed: int
    directory: Path
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    tables: dict[str, Table]
    search: str = ""

    @cached_property
    def table(self) -> Table:
        """The items of all test sets."""
        return Table.joined(self.tables)


@dataclass(frozen=True)
class System:
    """All finished seeds of one system.

    Attributes:
        name: its directory.
        label: its name for people.
        control: name of the system with the same budget that lacks only the idea under test, if any.
        isolates: what differs from the control, in words, if given.
        runs: finished seeds, in order; none if the system was not run.
        unfinished: seeds that exist but lack a summary or the scores of some test set.
    """

    name: str
    label: str
    control: str | None
    isolates: str | None
    runs: list[Run]
    unfinished: list[int]

    def mean(self, key: str) -> float:
        """Return a number of the summaries, averaged over seeds."""
        return float(np.mean([run.summary[key] for run in self.runs]))

    def tables(self, test_set: str | None = None) -> dict[int, Table]:
        """Return the table of each seed, of one test set or of all of them."""
        return {run.seed: run.tables[test_set] if test_set else run.table for run in self.runs}

    def total(self, column: str) -> np.ndarray:
        """Return the sum of a column over all seeds and items."""
        return sum(run.table.columns[column].sum(axis=0) for run in self.runs)


@dataclass(frozen=True)
class Experiment:
    """What was run, and how it is measured.

    Attributes:
        task: says which measures there are, and which systems have a part of their own.
        systems: in display order, finished or not.
        test_sets: their names, in order.
        baseline: the system that all are compared with, besides each one's control, if any.
        replicates: of the bootstrap.
        seed: of the bootstrap.
        directory: of the experiment, where estimates are kept; None keeps none.
    """

    task: Task
    systems: dict[str, System]
    test_sets: list[str]
    baseline: str | None = None
    replicates: int = 10_000
    seed: int = 0
    directory: Path | None = None

    @cached_property
    def finished(self) -> dict[str, System]:
        """The systems with at least one finished seed."""
        return {name: system for name, system in self.systems.items() if system.runs}

    @cached_property
    def estimates(self) -> dict[str, Estimates]:
        """All measures of the finished systems on all test sets together, with paired replicates.

        Those that systems are not compared in have `FEWER` replicates: enough for an interval, and much sooner made.
        """
        measures = (*self.task.measures, *self.task.further)
        compared = self.measured(tested(measures), replicates=self.replicates)
        others = [measure for measure in measures if measure not in tested(measures)]
        shown = self.measured(others, replicates=min(FEWER, self.replicates)) if others else {}
        return {name: estimates | shown.get(name, {}) for name, estimates in compared.items()}

    def measured(
        self, measures: Sequence[Measure], test_set: str | None = None, *, replicates: int = 0
    ) -> dict[str, Estimates]:
        """Measure the finished systems on one test set, or on all together."""
        tables = {name: system.tables(test_set) for name, system in self.finished.items()}
        if self.directory is None or not replicates:
            return estimate(tables, measures, replicates=replicates, seed=self.seed)
        kept = self.directory / ".estimates"
        return estimate_once(kept, tables, measures, replicates=replicates, seed=self.seed)

    @property
    def some_run(self) -> Run:
        """Any run, for what is the same in all: the test items."""
        return next(iter(self.finished.values())).runs[0]


def read_experiment(
    task: Task,
    exp: Path,
    systems: Mapping[str, Mapping[str, Any]],
    test_sets: Sequence[str],
    *,
    baseline: str | None = None,
    replicates: int = 10_000,
    seed: int = 0,
    undecoded: Collection[Path] = (),
) -> Experiment:
    """Read what was run.

    Args:
        task: see `Experiment`.
        exp: experiment directory.
        systems: by directory name, in display order: ``{"label": str, "control": str | None, "isolates": str}``, all
            optional; see `System`.
        test_sets: names of the test sets, at least one.
        baseline: what the task's baseline is, if not the usual.
        replicates, seed: of the bootstrap.
        undecoded: runs whose decoding is not finished, so that what was scored is of an older one.

    Raises:
        DataError: nothing was run, a file of a finished run is missing or damaged, seeds were scored on different
            items, or one system has runs of different settings.
    """
    if not test_sets:
        raise DataError("There are no test sets to report on; name at least one in sets.test.")
    found = {}
    for name, about in systems.items():
        runs, unfinished = [], []
        for number, directory in seed_directories(exp / name):
            scored = directory not in undecoded and all(is_scored(directory, test_set) for test_set in test_sets)
            if scored and (directory / "summary.json").is_file():
                runs.append(_read_run(number, directory, test_sets))
            else:
                unfinished.append(number)
        _check_alike(name, runs)
        label, control, isolates = (about.get(key) for key in ("label", "control", "isolates"))
        found[name] = System(name, label or name, control, isolates, runs, unfinished)
    experiment = Experiment(task, found, list(test_sets), baseline or task.baseline, replicates, seed, exp)
    if not experiment.finished:
        raise DataError(f"{exp} holds no finished run of {', '.join(systems)}; nothing to report.")
    tables = [table for system in experiment.finished.values() for table in system.tables().values()]
    if not same_items(tables):
        raise DataError(f"Systems of {exp} were scored on different {task.items}; {again('decode')}")
    return experiment


def _read_run(seed: int, directory: Path, test_sets: Sequence[str]) -> Run:
    summary = read_json(directory / "summary.json", SUMMARY_KEYS)
    history = read_json(directory / "history.json", ("rows",))["rows"]
    tables = {name: Table.load(directory / f"decode_{name}" / COUNTS) for name in test_sets}
    searches = dict.fromkeys(_search(directory / f"decode_{name}" / "decode.json") for name in test_sets)
    config = read_yaml(directory / "config.yaml")
    return Run(seed, directory, config, history, summary, tables, "; ".join(filter(None, searches)))


def _search(path: Path) -> str:
    """Return what decode.json says of the search, which is all but what was decoded with which model."""
    if not path.is_file():
        return ""
    made_by = read_json(path, ())
    settings = {key: value for key, value in made_by.items() if key not in _NOT_OF_THE_SEARCH}
    return ", ".join(f"{key}={value}" for key, value in flatten(settings).items())


def _check_alike(name: str, runs: Sequence[Run]) -> None:
    """Raise DataError where the runs of a system differ in more than their seed, as those left over from old settings.

    Which runs a run was made from differs, too: a student of each seed may have its own teacher.
    """
    by_run = [(run, flatten({k: v for k, v in run.config.items() if k not in _OF_A_SEED})) for run in runs]
    for run, config in by_run[1:]:
        first, common = by_run[0]
        for key in sorted(config.keys() | common.keys()):
            if config.get(key) != common.get(key):
                raise DataError(
                    f"The runs of {name} have different settings: {key} is {common.get(key)} in {first.directory} and "
                    f"{config.get(key)} in {run.directory}; train with as many seeds as before, or move one aside."
                )
