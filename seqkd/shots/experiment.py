"""Reading an experiment directory of the music2shot recipe: what was trained, how, and how good it is.

Layout: ``exp/<system>/seed<k>/`` with ``config.yaml``, ``history.json``, ``summary.json`` and, by test set,
``decode_<set>/score.safetensors``.

Legend: N songs of all test sets, S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.errors import DataError
from seqkd.experiment.files import read_json, read_yaml, seed_directories
from seqkd.shots.metrics import ShotScores, interval
from seqkd.shots.scoring import read_sums
from seqkd.stages import again
from seqkd.statistics.bootstrap import holm, paired_bootstrap

SUMMARY_KEYS = ("parameters", "steps", "passes", "train_seconds", "device")


@dataclass(frozen=True)
class Run:
    """One seed of one system: its settings, a row a validation, its summary, and the scores of each test song."""

    seed: int
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    songs: dict[str, ShotScores]


@dataclass(frozen=True)
class System:
    """All finished seeds of one system.

    Attributes:
        name: its directory.
        label: its name for people.
        control: the system it is compared with, if any.
        isolates: what differs from the control, in words, if given.
        runs: finished seeds, in order.
        unfinished: seeds that exist but lack a summary or the scores of some test set.
    """

    name: str
    label: str
    control: str | None
    isolates: str | None
    runs: list[Run]
    unfinished: list[int]

    @cached_property
    def songs(self) -> list[ShotScores]:
        """(N,) the scores of each song, all seeds together."""
        return [sum(run.songs[key] for run in self.runs) for key in self.runs[0].songs]

    @cached_property
    def pooled(self) -> ShotScores:
        """The scores of all songs and seeds together."""
        return sum(self.songs)

    def errors(self) -> np.ndarray:
        """(S, N) wrong frames of each song."""
        return np.array([[song.frames - song.frames_right for song in run.songs.values()] for run in self.runs])

    def frames(self) -> np.ndarray:
        """(N,) frames of each song."""
        return np.array([song.frames for song in self.runs[0].songs.values()])

    def by_seed(self, measure: str = "asc") -> np.ndarray:
        """(S,) a measure over all songs, seed by seed."""
        return np.array([getattr(sum(run.songs.values()), measure) for run in self.runs])

    def interval(self, measure: str, *, replicates: int, seed: int) -> tuple[float, float]:
        """95 % bootstrap interval over songs, each drawn with all of its seeds."""
        return interval(self.songs, measure, replicates=replicates, seed=seed)

    def mean(self, key: str) -> float:
        """A number of the summaries, averaged over seeds."""
        return float(np.mean([run.summary[key] for run in self.runs]))


@dataclass(frozen=True)
class Experiment:
    """Systems in display order."""

    systems: dict[str, System]

    @property
    def finished(self) -> dict[str, System]:
        """Those with at least one finished seed."""
        return {name: system for name, system in self.systems.items() if system.runs}


@dataclass(frozen=True)
class Comparison:
    """One system's ASC against another's, over all test songs and seeds.

    Attributes:
        points: difference of ASC in points; positive if the first is better.
        p_value: two-sided, paired bootstrap over songs, uncorrected.
        survives: whether it is below .05 after Holm's correction for all comparisons of the report.
    """

    points: float
    p_value: float
    survives: bool


def compare(
    experiment: Experiment, pairs: Sequence[tuple[str, str]], *, replicates: int, seed: int
) -> dict[tuple[str, str], Comparison]:
    """Compare pairs of systems, those of them that are finished."""
    finished = experiment.finished
    wanted = [pair for pair in dict.fromkeys(pairs) if set(pair) <= finished.keys()]
    results = {}
    for one, other in wanted:
        a, b = finished[one], finished[other]
        results[one, other] = paired_bootstrap(a.errors(), b.errors(), a.frames(), replicates=replicates, seed=seed)
    survive = holm([result.p_value for result in results.values()])
    return {
        pair: Comparison(-100 * result.delta, result.p_value, survives)
        for (pair, result), survives in zip(results.items(), survive, strict=True)
    }


def read_experiment(exp: Path, systems: Mapping[str, Mapping[str, Any]], test_sets: Sequence[str]) -> Experiment:
    """Read every system's finished seeds.

    Args:
        exp: experiment directory.
        systems: in display order, by name of the directory: ``label``, ``control``, ``isolates``, as in
            ``conf/shots/system``.
        test_sets: names of the test sets.

    Raises:
        DataError: a file of a finished run is missing or damaged, or seeds were scored on different songs.
    """
    made = {}
    for name, about in systems.items():
        runs, unfinished = [], []
        for seed, path in seed_directories(exp / name):
            scored = [path / f"decode_{test}" / "score.safetensors" for test in test_sets]
            if not all(file.is_file() for file in (path / "summary.json", *scored)):
                unfinished.append(seed)
                continue
            summary = read_json(path / "summary.json", SUMMARY_KEYS)
            history = read_json(path / "history.json", ["rows"])["rows"]
            songs = {
                f"{test}/{key}": song
                for test, file in zip(test_sets, scored, strict=True)
                for key, song in read_sums(file).items()
            }
            runs.append(Run(seed, read_yaml(path / "config.yaml"), history, summary, songs))
        label, control, isolates = (about.get(key) for key in ("label", "control", "isolates"))
        made[name] = System(name, label or name, control, isolates, runs, unfinished)
    kinds = {tuple(run.songs) for system in made.values() for run in system.runs}
    if len(kinds) > 1:
        raise DataError(f"Systems of {exp} were scored on different songs; {again('decode')}")
    return Experiment(made)
