"""What only the report of translations shows: the aim, calibration, the amount of smoothing over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqkd.experiment.figures import draw_estimates, save_all
from seqkd.experiment.findings import p
from seqkd.experiment.parts import bullets, capital, table
from seqkd.experiment.read import Experiment, Run, System
from seqkd.statistics.bootstrap import LEVEL, difference
from seqkd.statistics.measures import Measure, ece_by_chance
from seqkd.tasks.translation.figures import alpha_of, draw_alpha, draw_reliability, refreshes
from seqkd.translation.inference import EDIT, TER
from seqkd.translation.measures import BLEU, ECE, INFERENCE_ECE
from seqkd.translation.scorer import TranslationScorer

if TYPE_CHECKING:
    from omegaconf import DictConfig

TIED = 0.5  # BLEU: a system is tied with a better one if its interval excludes a greater loss (chosen)
_ALIGNED = {
    EDIT: "with the fewest edits, in order (chosen; the paper aligns by translation edit rate)",
    TER: "by translation edit rate, as the paper's released code reads it",
}


def legend(scorer: TranslationScorer, experiment: Experiment) -> list[str]:
    """Return sentences on signatures, alignment and chance."""
    chance = {}
    for column in ("forced", "decoded"):
        tables = [one.columns[column] for system in experiment.finished.values() for one in system.tables().values()]
        chance[column] = [100 * float(ece_by_chance(bins.sum(axis=0))) for bins in tables]
    return [
        f"BLEU: `{scorer.signatures['bleu']}`. chrF: `{scorer.signatures['chrf']}`.",
        f"Inference ECE: a decoded token is right if it matches in the alignment {_ALIGNED[scorer.alignment]}.",
        f"ECE, over {scorer.bins} bins, is biased upwards, for chance in one bin does not cancel that in another: a "
        f"perfectly calibrated model would show about {_span(chance['forced'])} % teacher-forced and "
        f"{_span(chance['decoded'])} % at inference here. Differences of that size mean little.",
    ]


def sections(cfg: DictConfig, experiment: Experiment, subject: str) -> list[str]:
    """Return the sections, as `seqkd.task.Task.sections`; ``subject`` is the system that the aim is about."""
    drawn = {
        "calibration.png": (draw_estimates(experiment, [ECE, INFERENCE_ECE]), "Calibration errors"),
        "reliability.png": (draw_reliability(experiment, ECE), "Reliability, teacher-forced"),
        "inference_reliability.png": (
            draw_reliability(experiment, INFERENCE_ECE),
            "Reliability of decoded tokens",
        ),
    }
    figures = Path(cfg.report.out).parent / "figures"
    aim = reached(experiment, subject)
    return [
        *(["## The aim", bullets(aim), "These p-values are uncorrected."] if aim else []),
        "## Calibration",
        *save_all(drawn, figures),
        *_smoothing(experiment, figures),
    ]


def _smoothing(experiment: Experiment, figures: Path) -> list[str]:
    """Return what became of the amount of smoothing, where a system has one that changes."""
    rows = [
        [system.label, _mean(system, _last_alpha, "{:.3f}"), _mean(system, _new_priors, "{:.1f}")]
        for system in experiment.finished.values()
        if any(_last_alpha(run) is not None for run in system.runs)
    ]
    if not rows:
        return []
    drawn = {"alpha.png": (draw_alpha(experiment), "Amount of smoothing during training")}
    return [
        "## Amount of smoothing",
        table(["System", "Smoothing at the end", "New priors a seed"], rows),
        *save_all(drawn, figures),
    ]


def reached(experiment: Experiment, subject: str) -> list[str]:
    """Say whether the subject is best or tied in BLEU and halves the calibration errors of the baseline.

    These comparisons answer one question that was asked beforehand; their p-values are uncorrected.
    """
    finished, estimates, baseline = experiment.finished, experiment.estimates, experiment.baseline
    rivals = [name for name in finished if name != subject]
    if subject not in finished or not rivals:
        return []
    rival = max(rivals, key=lambda name: estimates[name][BLEU.key].value)
    sentence, in_bleu = _best_or_tied(experiment, subject, rival)
    sentences = [sentence]
    if baseline in finished and baseline != subject:
        halved = {}
        for measure in (ECE, INFERENCE_ECE):
            halving, halved[measure.key] = _halving(experiment, subject, baseline, measure)
            sentences.append(halving)
        met = [name for name, is_met in (("BLEU", in_bleu), ("ECE", halved[ECE.key])) if is_met]
        verdict = {2: "is met in both", 1: f"is met in {' '.join(met)} only", 0: "is not met"}[len(met)]
        sentences.append(
            f"The aim, that **{finished[subject].label}** is best or tied in BLEU and halves the teacher-forced ECE of "
            f"**{finished[baseline].label}**, {verdict}."
        )
    return sentences


def _best_or_tied(experiment: Experiment, subject: str, rival: str) -> tuple[str, bool]:
    ours, theirs = (experiment.estimates[name][BLEU.key] for name in (subject, rival))
    one, other = (f"**{experiment.systems[name].label}**" for name in (subject, rival))
    test = difference(ours, theirs)
    ends = [BLEU.show(end) for end in test.ci95 or (np.nan, np.nan)]
    by = f"a difference of {BLEU.show(test.delta)} [{', '.join(ends)}], {p(test.p_value)}"
    significant = test.p_value < LEVEL
    if ours.value >= theirs.value:
        verdict = "best" if significant else f"best, though not shown to be better than {other}"
        start = f"{one} has the highest BLEU, {BLEU.show(ours.value)}; the next, {other}, has {BLEU.show(theirs.value)}"
        return f"{start}, {by}: {verdict}.", True
    start = f"{other} has the highest BLEU, {BLEU.show(theirs.value)}; {one} has {BLEU.show(ours.value)}"
    if significant:
        return f"{start}, {by}: worse.", False
    # No difference shown is not no difference: of a handful of sentences nothing is shown.
    least = test.ci95[0] if test.ci95 else -np.inf
    if BLEU.scale * least >= -TIED:
        return f"{start}, {by}: tied, a loss of more than {TIED:g} BLEU is excluded.", True
    return f"{start}, {by}: not decided, for neither a difference nor a tie within {TIED:g} BLEU is shown.", False


def _halving(experiment: Experiment, subject: str, baseline: str, measure: Measure) -> tuple[str, bool]:
    """Say whether an error of the subject is half of the baseline's, and how sure that is."""
    ours, theirs = (experiment.estimates[name][measure.key] for name in (subject, baseline))
    one, other = (f"**{experiment.systems[name].label}**" for name in (subject, baseline))
    what = "teacher-forced ECE" if measure is ECE else "inference ECE"
    test = difference(ours, theirs, factor=0.5)
    if test.ci95 is None or not theirs.value > 0:
        return f"{one} or {other} has no {what} to compare.", False
    start = (
        f"{capital(what)} of {one}: {measure.with_unit(ours.value)}, of {other}: {measure.with_unit(theirs.value)}; "
        f"that is {100 * ours.value / theirs.value:.0f} % of it"
    )
    clear = test.p_value < LEVEL
    if test.delta <= 0:
        return f"{start}, halved{'' if clear else ', though not clearly below one half'}.", True
    if ours.value >= theirs.value:
        return f"{start}, not lower.", False
    return f"{start}, lower but not halved{'' if clear else ', though not clearly above one half'}.", False


def _span(values: Sequence[float]) -> str:
    known = [value for value in values if np.isfinite(value)] or [0.0]
    low, high = (f"{pick(known):.2f}" for pick in (min, max))
    return low if low == high else f"{low} to {high}"


def _last_alpha(run: Run) -> float | None:
    amounts = [alpha_of(row) for row in run.history]
    return next((amount for amount in reversed(amounts) if amount is not None), None)


def _new_priors(run: Run) -> int | None:
    return len(refreshes(run)) or None


def _mean(system: System, value: Callable[[Run], float | None], form: str) -> str:
    """Say the mean over the seeds that have a value."""
    found = [one for one in map(value, system.runs) if one is not None]
    return form.format(np.mean(found)) if found else "–"
