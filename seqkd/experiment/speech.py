"""Reading an experiment directory: what was trained, how, and the errors that every run makes.

Layout::

    exp/<system>/seed<k>/config.yaml            resolved settings
    exp/<system>/seed<k>/history.json           {"rows": [{"step", "seconds", "dev_wer", "train": {}}, ...]}
    exp/<system>/seed<k>/summary.json           see `SUMMARY_KEYS`
    exp/<system>/seed<k>/decode_<set>/text      hypotheses
    exp/<system>/seed<k>/decode_<set>/hyp.jsonl the same with the confidence of each word, if decoding wrote it
    data/<set>/text                             references

Legend: N utterances of a test set, S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.errors import DataError
from seqkd.experiment.files import read_json, read_yaml, seed_directories
from seqkd.scoring.formats import read_text
from seqkd.scoring.segments import read_jsonl
from seqkd.scoring.tables import calibrate
from seqkd.scoring.wer import Counts, count
from seqkd.statistics.calibration import Calibration, Summary
from seqkd.statistics.mapsswe import Errors

SUMMARY_KEYS = (
    "parameters",
    "steps",
    "passes",
    "train_seconds",
    "device",
    "best_dev_wer",
    "labelled_hours",
    "unlabelled_hours",
)


@dataclass(frozen=True)
class Run:
    """One seed of one system.

    Attributes:
        seed: its number.
        config: resolved settings.
        history: a row a validation: ``step``, ``seconds``, ``dev_wer`` (fraction), ``train`` (loss terms).
        summary: at least `SUMMARY_KEYS`; rates are fractions.
        counts: word errors by test set, each field (N,).
        errors: where they are, by test set, for the matched-pairs test.
        calibration: of the words' confidences over all test sets, or None without confidences.
    """

    seed: int
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    counts: dict[str, Counts]
    errors: dict[str, Errors]
    calibration: Calibration | None


@dataclass(frozen=True)
class System:
    """All finished seeds of one system.

    Attributes:
        name: its directory.
        label: its name for people.
        control: name of the system with the same budget that lacks only the idea under test, if any.
        isolates: what differs from the control, in words, if given.
        runs: finished seeds, in order; none if the system was not run.
        unfinished: seeds that exist but lack a summary or the decoding of some test set.
    """

    name: str
    label: str
    control: str | None
    isolates: str | None
    runs: list[Run]
    unfinished: list[int]

    def errors(self, test_sets: Sequence[str]) -> np.ndarray:
        """Return (S, N) errors of each utterance of the sets, one set after the other."""
        return np.stack([np.concatenate([run.counts[name].errors for name in test_sets]) for run in self.runs])

    def positions(self, test_sets: Sequence[str], times: int = 1) -> Errors:
        """Return where the errors of all seeds together are, one set after the other, each counted ``times``."""
        runs = [[run.errors[name] for name in test_sets] for run in self.runs]
        at, before = (
            times * sum(np.concatenate([getattr(part, field) for part in parts]) for parts in runs)
            for field in ("at", "before")
        )
        words, positions = (
            np.concatenate([getattr(part, field) for part in runs[0]]) for field in ("words", "positions")
        )
        return Errors(at, before, words, positions)

    def calibration(self) -> Summary | None:
        """Return the calibration of the words' confidences over all runs, or None if a run has none."""
        states = [run.calibration for run in self.runs]
        if not states or any(state is None for state in states):
            return None
        return Calibration.from_vector(sum(state.to_vector() for state in states)).summary()

    def mean(self, key: str) -> float:
        """Return a number of the summaries, averaged over seeds."""
        return float(np.mean([run.summary[key] for run in self.runs]))


@dataclass(frozen=True)
class Experiment:
    """Systems in display order, and the number of words of each test utterance, (N,) by test set."""

    systems: dict[str, System]
    words: dict[str, np.ndarray]

    @property
    def test_sets(self) -> list[str]:
        """Names of the test sets, in order."""
        return list(self.words)

    @property
    def finished(self) -> dict[str, System]:
        """The systems with at least one finished seed."""
        return {name: system for name, system in self.systems.items() if system.runs}

    def all_words(self) -> np.ndarray:
        """Return (N,) words of each utterance of all test sets, in the order of `System.errors`."""
        return np.concatenate(list(self.words.values()))

    def wer(self, name: str, test_sets: Sequence[str] | None = None) -> float:
        """Return the WER of a finished system, pooled over its seeds and over test sets, as a fraction."""
        sets = list(test_sets or self.test_sets)
        words = sum(int(self.words[test_set].sum()) for test_set in sets)
        errors = self.systems[name].errors(sets)  # (S, N)
        return float(errors.sum() / (len(errors) * words))


def read_experiment(
    exp: Path, data_dir: Path, *, test_sets: Sequence[str], systems: Mapping[str, Mapping[str, Any]]
) -> Experiment:
    """Read what was run.

    Args:
        exp: experiment directory.
        data_dir: holds ``<set>/text`` for each test set.
        test_sets: names of the test sets.
        systems: by directory name, in display order: ``{"label": str, "control": str | None,
            "isolates": str}``, all optional; see `System`.

    Raises:
        DataError: a file of a finished run is missing or malformed, or ids differ.
    """
    references = {test_set: read_text(data_dir / test_set / "text") for test_set in test_sets}
    found = {}
    for name, about in systems.items():
        runs, unfinished = [], []
        for seed, directory in seed_directories(exp / name):
            if _is_finished(directory, test_sets):
                runs.append(_read_run(seed, directory, references))
            else:
                unfinished.append(seed)
        label, control, isolates = about.get("label", name), about.get("control"), about.get("isolates")
        found[name] = System(name, label, control, isolates, runs, unfinished)
    words = {
        test_set: np.array([len(text.split()) for text in texts.values()]) for test_set, texts in references.items()
    }
    return Experiment(found, words)


def _is_finished(directory: Path, test_sets: Sequence[str]) -> bool:
    needed = [directory / "summary.json", *(directory / f"decode_{name}" / "text" for name in test_sets)]
    return all(path.is_file() for path in needed)


def _read_run(seed: int, directory: Path, references: Mapping[str, Mapping[str, str]]) -> Run:
    counts, errors, calibration = {}, {}, Calibration()
    for test_set, texts in references.items():
        path = directory / f"decode_{test_set}" / "text"
        sure = path.with_name("hyp.jsonl")
        try:
            utterances = count(texts, read_text(path), characters=False)
            counts[test_set], errors[test_set] = utterances.words, utterances.alignments.errors()
            if sure.is_file() and calibration is not None:
                calibration.merge(calibrate(utterances, read_jsonl(sure).confidences)[0])
            else:
                calibration = None
        except DataError as fault:
            named = any(str(file) in str(fault) for file in (path, sure))
            raise fault if named else DataError(f"{path}: {fault}") from None
    if calibration is not None and not calibration.count:
        calibration = None
    config = read_yaml(directory / "config.yaml")
    summary = read_json(directory / "summary.json", SUMMARY_KEYS)
    history = read_json(directory / "history.json", ("rows",))["rows"]
    return Run(seed, config, history, summary, counts, errors, calibration)
