"""Reading an experiment directory of a translation task.

Layout::

    exp/<system>/seed<k>/config.yaml              resolved settings
    exp/<system>/seed<k>/history.json             {"rows": [{"step", "seconds", "dev_nll", "train": {}, ...}, ...]}
    exp/<system>/seed<k>/summary.json             see `SUMMARY_KEYS`
    exp/<system>/seed<k>/decode_<set>/hyp.jsonl   translations, with the confidence of each token
    exp/<system>/seed<k>/decode_<set>/forced.npz  teacher-forced predictions of the references
    data/<set>/tgt                                references

In a row of the history, ``train`` holds the means of the loss terms since the row before, and ``alpha``, the amount of
smoothing, where there is one; ``prior_step`` is the step whose weights are the prior, where there is one.
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
from seqkd.statistics.calibration import Calibration
from seqkd.translation.bootstrap import Estimates, estimate
from seqkd.translation.files import check_ids, read_translations
from seqkd.translation.forced import read_forced
from seqkd.translation.inference import EDIT
from seqkd.translation.measures import Sums
from seqkd.translation.scorer import Encode, Sentences, TranslationScorer
from seqkd.translation.scores import INPUTS

SUMMARY_KEYS = ("parameters", "steps", "passes", "train_seconds", "device", "best_dev_nll")


@dataclass(frozen=True)
class TranslationRun:
    """One seed of one system.

    Attributes:
        seed: its number.
        config: resolved settings.
        history: a row a validation.
        summary: at least `SUMMARY_KEYS`; ``best_dev_nll`` in nats a token.
        decoded: what was measured of each sentence, by test set.
    """

    seed: int
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    decoded: dict[str, Sentences]

    @property
    def refreshes(self) -> list[int]:
        """The steps at which validation found another prior than before."""
        steps, last = [], None
        for row in self.history:
            prior = row.get("prior_step")
            if prior is not None and prior != last:
                steps.append(row["step"])
                last = prior
        return steps


@dataclass(frozen=True)
class TranslationSystem:
    """All finished seeds of one system; attributes as of `seqkd.experiment.speech.System`."""

    name: str
    label: str
    control: str | None
    isolates: str | None
    runs: list[TranslationRun]
    unfinished: list[int]

    def mean(self, key: str) -> float:
        """Return a number of the summaries, averaged over seeds."""
        return float(np.mean([run.summary[key] for run in self.runs]))

    def sums(self, test_sets: Sequence[str]) -> list[Sums]:
        """Return the sentences of each seed, one set after the other."""
        return [Sums.joined([run.decoded[name].sums for name in test_sets]) for run in self.runs]

    def calibration(self, *, forced: bool) -> Calibration:
        """Return the calibration of all seeds and sets together: teacher-forced, or else of decoded tokens."""
        states = [one.forced if forced else one.decoded for run in self.runs for one in run.decoded.values()]
        return Calibration.from_vector(sum(state.to_vector() for state in states), states[0].bins)


@dataclass(frozen=True)
class TranslationExperiment:
    """Systems in display order.

    Attributes:
        systems: by name, finished or not.
        sentences: how many there are of each test set.
        signatures: sacreBLEU's of BLEU and chrF.
        alignment: what decides which decoded tokens are correct.
        bins: of the calibration errors.
    """

    systems: dict[str, TranslationSystem]
    sentences: dict[str, int]
    signatures: dict[str, str]
    alignment: str
    bins: int

    @property
    def test_sets(self) -> list[str]:
        """Names of the test sets, in order."""
        return list(self.sentences)

    @property
    def finished(self) -> dict[str, TranslationSystem]:
        """The systems with at least one finished seed."""
        return {name: system for name, system in self.systems.items() if system.runs}

    def estimate(
        self, test_sets: Sequence[str] | None = None, *, replicates: int = 0, seed: int = 0
    ) -> dict[str, Estimates]:
        """Measure the finished systems on test sets together, all if left out."""
        sets = list(test_sets or self.test_sets)
        systems = {name: system.sums(sets) for name, system in self.finished.items()}
        return estimate(systems, replicates=replicates, seed=seed)


def read_translation_experiment(
    exp: Path,
    data_dir: Path,
    encode: Encode,
    *,
    test_sets: Sequence[str],
    systems: Mapping[str, Mapping[str, Any]],
    bins: int = 15,
    alignment: str = EDIT,
    tokenize: str = "13a",
) -> TranslationExperiment:
    """Read and measure what was run.

    Args:
        exp: experiment directory.
        data_dir: holds ``<set>/tgt`` for each test set.
        encode: the tokenizer that the models were trained with.
        test_sets: names of the test sets.
        systems: by directory name, in display order: ``{"label": str, "control": str | None, "isolates": str}``, all
            optional; see `seqkd.experiment.speech.System`.
        bins, alignment, tokenize: see `TranslationScorer`.

    Raises:
        DataError: a file of a finished run is missing or malformed, or ids differ.
    """
    paths = {name: data_dir / name / "tgt" for name in test_sets}
    settings = {"bins": bins, "alignment": alignment, "tokenize": tokenize}
    scorers = {name: TranslationScorer(read_text(path), encode, **settings) for name, path in paths.items()}
    if not scorers:
        raise DataError("There are no test sets to report on; name at least one.")
    found = {}
    for name, about in systems.items():
        runs, unfinished = [], []
        for seed, directory in seed_directories(exp / name):
            if _is_finished(directory, test_sets):
                runs.append(_read_run(seed, directory, paths, scorers))
            else:
                unfinished.append(seed)
        label, control, isolates = about.get("label", name), about.get("control"), about.get("isolates")
        found[name] = TranslationSystem(name, label, control, isolates, runs, unfinished)
    sizes = {name: len(scorer.ids) for name, scorer in scorers.items()}
    return TranslationExperiment(found, sizes, next(iter(scorers.values())).signatures, alignment, bins)


def _is_finished(directory: Path, test_sets: Sequence[str]) -> bool:
    decoded = (directory / f"decode_{name}" / file for name in test_sets for file in INPUTS)
    return all(path.is_file() for path in (directory / "summary.json", *decoded))


def _read_run(
    seed: int, directory: Path, references: Mapping[str, Path], scorers: Mapping[str, TranslationScorer]
) -> TranslationRun:
    decoded = {}
    for test_set, scorer in scorers.items():
        hypotheses, forced = (directory / f"decode_{test_set}" / name for name in INPUTS)
        translations, predictions = read_translations(hypotheses), read_forced(forced)
        path = hypotheses
        try:
            check_ids(dict.fromkeys(scorer.ids), translations)
            path = forced
            decoded[test_set] = scorer.measure(translations, predictions)
        except DataError as fault:
            raise DataError(f"{path} against {references[test_set]}: {fault}") from None
    config = read_yaml(directory / "config.yaml")
    summary = read_json(directory / "summary.json", SUMMARY_KEYS)
    history = read_json(directory / "history.json", ("rows",))["rows"]
    return TranslationRun(seed, config, history, summary, decoded)
