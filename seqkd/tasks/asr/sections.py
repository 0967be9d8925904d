"""What only the report of speech recognition shows: kinds of errors, confidences, matched pairs, hours of audio."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqkd.experiment.findings import compare
from seqkd.experiment.parts import bullets, table
from seqkd.experiment.read import Experiment, System
from seqkd.experiment.report import cell
from seqkd.scoring.formats import read_text
from seqkd.scoring.measures import KINDS
from seqkd.scoring.wer import count
from seqkd.statistics.holm import holm
from seqkd.statistics.mapsswe import Errors, matched_pairs
from seqkd.tasks.asr.latency import latency_sections
from seqkd.tasks.asr.posteriors import posterior_sections

if TYPE_CHECKING:
    from omegaconf import DictConfig


def sections(cfg: DictConfig, experiment: Experiment) -> list[str]:
    """Return the sections, as `seqkd.task.Task.sections`."""
    return [
        "## Errors and confidences",
        _errors(experiment),
        bullets(
            [
                "S, D, I: substitutions, deletions and insertions in % of the reference words.",
                "ECE and NCE are of the confidence of each decoded word: ECE, the expected calibration error, is the "
                "mean gap between confidence and accuracy over 15 bins, its interval turned about the value, because a "
                "replicate adds the error's bias once more; NCE is NIST's normalised cross entropy, where 1 is perfect "
                "and 0 no better than the same confidence for all.",
            ]
        ),
        *latency_sections(cfg, experiment),
        *_matched_pairs(cfg, experiment),
        *posterior_sections(cfg, experiment),
        "## Audio",
        _audio(experiment),
    ]


def _errors(experiment: Experiment) -> str:
    measures = experiment.task.further
    rows = [
        [system.label, *(cell(experiment.estimates[name][measure.key]) for measure in measures)]
        for name, system in experiment.finished.items()
    ]
    heads = [f"{measure.name[0]} %" if measure in KINDS else measure.label for measure in measures]
    return table(["System", *(f"{head} [95 %] ± seeds" for head in heads)], rows)


def _matched_pairs(cfg: DictConfig, experiment: Experiment) -> list[str]:
    """Test the pairs of the report by sentence segments, all seeds together."""
    finished = experiment.finished
    pairs = list(dict.fromkeys(tuple(sorted(pair)) for pair in compare(experiment)))
    if not pairs:
        return []
    references = {name: read_text(Path(cfg.data) / name / "text") for name in experiment.test_sets}
    wrong = {name: _errors_of(finished[name], references) for pair in pairs for name in pair}
    results = []
    for one, other in pairs:
        # Where one has more seeds, the other's errors count so many times: the mean difference is that of the rates.
        times = [len(finished[name].runs) for name in (other, one)]
        both = (_times(wrong[name], number) for name, number in zip((one, other), times, strict=True))
        results.append(matched_pairs(*both))
    survives = holm([result.p_value for result in results])
    rows = [
        [
            f"{finished[one].label} – {finished[other].label}",
            str(result.segments),
            f"{result.mean:+.3f}".replace("-", "−"),
            f"{result.z:+.2f}".replace("-", "−"),
            f"{_p(result.p_value)}{' †' * survived}",
        ]
        for (one, other), result, survived in zip(pairs, results, survives, strict=True)
    ]
    return [
        "## Matched pairs",
        table(["Systems", "Segments", "Mean difference of errors", "Z", "p"], rows),
        "MAPSSWE, the matched-pairs test of sentence segments (Gillick & Cox 1989), two-sided, of the errors of all "
        "seeds together; † marks p below .05 after Holm's correction for this table. It takes the trained models as "
        "given: it says whether other speech could reverse the difference, not whether another training could.",
    ]


def _errors_of(system: System, references: dict[str, dict[str, str]]) -> Errors:
    """Return where the errors of all seeds together are, one test set after the other."""
    runs = []
    for run in system.runs:
        texts = {name: read_text(run.directory / f"decode_{name}" / "text") for name in references}
        parts = [count(references[name], texts[name], characters=False).alignments.errors() for name in references]
        runs.append([np.concatenate([getattr(part, field) for part in parts]) for field in _FIELDS])
    at, before = (sum(run[place] for run in runs) for place in range(2))
    return Errors(at, before, *runs[0][2:])


_FIELDS = ("at", "before", "words", "positions")


def _times(errors: Errors, number: int) -> Errors:
    return Errors(number * errors.at, number * errors.before, errors.words, errors.positions)


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".replace("0.", ".")


def _audio(experiment: Experiment) -> str:
    rows = []
    for system in experiment.finished.values():
        hours = [
            np.mean([run.summary[key] for run in system.runs])
            if all(key in run.summary for run in system.runs)
            else None
            for key in ("labelled_hours", "unlabelled_hours")
        ]
        rows.append([system.label, *("–" if value is None else f"{value:.2f}" for value in hours)])
    return table(["System", "Labelled hours", "Unlabelled hours"], rows)
