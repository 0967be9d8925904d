"""Which systems of a translation experiment are compared, and the sentences that follow; none is a fixed claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seqkd.experiment.findings import LEVEL, caveats, equal_budgets, p
from seqkd.statistics.bootstrap import holm
from seqkd.translation.bootstrap import Difference, Estimates, difference
from seqkd.translation.experiment import TranslationExperiment, TranslationSystem
from seqkd.translation.measures import BLEU, ECE, INFERENCE_ECE, Measure


@dataclass(frozen=True)
class Roles:
    """Names of the systems that have a part of their own in a report: no smoothing, and the idea under test."""

    baseline: str = "none"
    subject: str = "adaptive"


@dataclass(frozen=True)
class Compared:
    """One system against another in one measure; ``survives`` Holm's correction for all comparisons of the report."""

    difference: Difference
    survives: bool

    @property
    def significant(self) -> bool:
        """Whether the uncorrected p-value is below .05."""
        return self.difference.p_value < LEVEL

    def __str__(self) -> str:
        """As in ``+0.31, p = .012 †``."""
        return f"{signed(self.difference)}, {p(self.difference.p_value)}{' †' if self.survives else ''}"


Comparisons = dict[tuple[str, str], dict[str, Compared]]  # by (system, against) and `Measure.key`


def signed(one: Difference) -> str:
    """Say a difference with its sign, in the unit of its measure."""
    return "–" if one.ci95 is None else f"{'+' if one.delta >= 0 else '−'}{one.measure.show(abs(one.delta))}"


def compare(experiment: TranslationExperiment, roles: Roles, estimates: Mapping[str, Estimates]) -> Comparisons:
    """Compare each system with the baseline and its control, and the subject with its best rival, in every measure.

    Two systems that are each other's baseline are compared once, and count once for the correction.
    """
    finished = experiment.finished
    wanted = []
    for name, system in finished.items():
        others = [roles.baseline, system.control]
        if name == roles.subject and (rival := best_rival(roles, estimates)):
            others.append(rival)
        wanted += [(name, other) for other in dict.fromkeys(others) if other in finished and other != name]
    tests = {
        (*pair, key): difference(estimates[pair[0]][key], estimates[pair[1]][key])
        for pair in dict.fromkeys(tuple(sorted(pair)) for pair in wanted)
        for key in estimates[pair[0]]
    }
    survives = dict(zip(tests, holm([test.p_value for test in tests.values()], LEVEL), strict=True))
    return {
        (name, other): {
            key: Compared(
                difference(estimates[name][key], estimates[other][key]), survives[(*sorted((name, other)), key)]
            )
            for key in estimates[name]
        }
        for name, other in wanted
    }


def count_tests(comparisons: Comparisons) -> int:
    """Return how many different comparisons there are."""
    return len({(frozenset(pair), key) for pair, measures in comparisons.items() for key in measures})


def best_rival(roles: Roles, estimates: Mapping[str, Estimates]) -> str | None:
    """Return the system with the highest BLEU but for the subject, or None if there is no other."""
    others = [name for name in estimates if name != roles.subject]
    return max(others, key=lambda name: estimates[name][BLEU.key].value, default=None)


def findings(
    experiment: TranslationExperiment, roles: Roles, estimates: Mapping[str, Estimates], comparisons: Comparisons
) -> list[str]:
    """Say in sentences what the numbers show and what they do not."""
    return [
        *_aim(experiment, roles, estimates, comparisons),
        *(
            _against(experiment, roles, system, comparisons)
            for name, system in experiment.finished.items()
            if any(one == name for one, _ in comparisons) and name != roles.baseline
        ),
        *caveats(experiment),
    ]


def _aim(
    experiment: TranslationExperiment, roles: Roles, estimates: Mapping[str, Estimates], comparisons: Comparisons
) -> list[str]:
    """Answer whether the subject is best or tied in BLEU and halves the calibration errors of the baseline."""
    finished = experiment.finished
    rival = best_rival(roles, estimates)
    if roles.subject not in finished or rival is None:
        return []
    subject = f"**{finished[roles.subject].label}**"
    sentence, in_bleu = _best_or_tied(experiment, roles, estimates, comparisons[roles.subject, rival][BLEU.key])
    sentences, halved = [sentence], {}
    if roles.baseline in finished:
        for measure in (ECE, INFERENCE_ECE):
            halving, halved[measure] = _halving(experiment, roles, estimates, measure)
            sentences.append(halving)
        met = [name for name, reached in (("BLEU", in_bleu), ("ECE", halved[ECE])) if reached]
        said = {2: "is met in both", 1: f"is met in {' '.join(met)} only", 0: "is not met"}[len(met)]
        sentences.append(
            f"The aim, that {subject} is best or tied in BLEU and halves the teacher-forced ECE of "
            f"**{finished[roles.baseline].label}**, {said}."
        )
    return sentences


def _best_or_tied(
    experiment: TranslationExperiment, roles: Roles, estimates: Mapping[str, Estimates], compared: Compared
) -> tuple[str, bool]:
    rival = best_rival(roles, estimates)
    ours, theirs = (estimates[name][BLEU.key].value for name in (roles.subject, rival))
    subject, other = (f"**{experiment.systems[name].label}**" for name in (roles.subject, rival))
    one = compared.difference
    low, high = (BLEU.show(end) for end in one.ci95)
    by = f"a difference of {BLEU.show(one.delta)} [{low}, {high}], {p(one.p_value)}"
    if ours >= theirs:
        verdict = "best" if compared.significant else f"best, though not shown to be better than {other}"
        start = f"{subject} has the highest BLEU, {BLEU.show(ours)}; the next, {other}, has {BLEU.show(theirs)}"
        return f"{start}, {by}: {verdict}.", True
    start = f"{other} has the highest BLEU, {BLEU.show(theirs)}; {subject} has {BLEU.show(ours)}"
    verdict = "worse" if compared.significant else f"tied, for no difference from {other} is shown"
    return f"{start}, {by}: {verdict}.", not compared.significant


def _halving(
    experiment: TranslationExperiment, roles: Roles, estimates: Mapping[str, Estimates], measure: Measure
) -> tuple[str, bool]:
    """Say whether an error of the subject is half of the baseline's, and how sure that is."""
    ours, theirs = (estimates[name][measure.key] for name in (roles.subject, roles.baseline))
    subject, baseline = (f"**{experiment.systems[name].label}**" for name in (roles.subject, roles.baseline))
    what = {ECE: "a teacher-forced ECE", INFERENCE_ECE: "an inference ECE"}[measure]
    test = difference(ours, theirs, factor=0.5)
    if test.ci95 is None or not theirs.value > 0:
        return f"{subject} or {baseline} has no {what.split(' ', 1)[1]} to compare.", False
    start = (
        f"{subject} has {what} of {measure.show(ours.value)} %, {baseline} of {measure.show(theirs.value)} %: "
        f"{100 * ours.value / theirs.value:.0f} % of it"
    )
    clear = test.p_value < LEVEL
    if test.delta <= 0:
        return f"{start}, halved{'' if clear else ', though not clearly below one half'}.", True
    if ours.value >= theirs.value:
        return f"{start}, not lower.", False
    return f"{start}, lower but not halved{'' if clear else ', though not clearly above one half'}.", False


def _against(
    experiment: TranslationExperiment, roles: Roles, system: TranslationSystem, comparisons: Comparisons
) -> str:
    """Compare a system with its control, which differs in nothing but the idea; without one, with the baseline."""
    finished = experiment.finished
    other = system.control if (system.name, system.control) in comparisons else roles.baseline
    if (system.name, other) not in comparisons:
        return f"**{system.label}** has neither its control nor the baseline to be compared with here."
    measures = comparisons[system.name, other]
    fair = "equal-budget " if equal_budgets(system, finished[other]) else ""
    role = f"its {fair}control, " if other == system.control else ""
    parts = [
        f"{signed(measures[one.key].difference)} {what} ({p(measures[one.key].difference.p_value)})"
        for one, what in ((BLEU, "BLEU"), (ECE, "points of ECE"), (INFERENCE_ECE, "points of inference ECE"))
    ]
    idea = f"from {system.isolates}, " if role and system.isolates else ""
    verdict = f"{_verdict(measures[BLEU.key], 'in BLEU')}; {_verdict(measures[ECE.key], 'in ECE')}"
    absent = ""
    if system.control and not role:
        control = experiment.systems.get(system.control)
        absent = f" Its control, **{control.label if control else system.control}**, was not run."
    return f"**{system.label}** against {role}**{finished[other].label}**: {', '.join(parts)}: {idea}{verdict}.{absent}"


def _verdict(compared: Compared, gain: str) -> str:
    if not compared.significant:
        return f"no gain {gain} is shown"
    verdict = f"a gain {gain} is shown" if compared.difference.better else f"a loss {gain} is shown"
    return verdict if compared.survives else f"{verdict}, which does not survive Holm's correction"
