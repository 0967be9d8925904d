"""Which systems of an experiment are compared, and the sentences that follow; none is a fixed claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seqkd.experiment.parts import AnyExperiment, AnySystem
from seqkd.experiment.speech import Experiment
from seqkd.statistics.bootstrap import holm, paired_bootstrap
from seqkd.statistics.mapsswe import matched_pairs

LEVEL = 0.05


@dataclass(frozen=True)
class Roles:
    """Names of the systems that have a part of their own in a report."""

    teacher: str = "teacher"
    student: str = "student"
    kd: str = "kd"


@dataclass(frozen=True)
class Comparison:
    """One system against another, over all test utterances and seeds.

    Attributes:
        fewer: relative reduction of errors, as a fraction; negative if there are more; None (infinitely many
            more) against a system without errors.
        p_value: two-sided, paired bootstrap, uncorrected.
        p_mapsswe: two-sided, matched-pairs test, uncorrected; of the seeds' errors together.
        survives: whether it is below .05 after Holm's correction for all comparisons of the report.
    """

    fewer: float | None
    p_value: float
    p_mapsswe: float
    survives: bool

    @property
    def significant(self) -> bool:
        """Whether the uncorrected p-value is below .05."""
        return self.p_value < LEVEL

    def __str__(self) -> str:
        """As in ``3.1 % fewer, p = .040 †, MAPSSWE .038``."""
        mapsswe = p(self.p_mapsswe).removeprefix("p ").removeprefix("= ")
        return f"{change(self.fewer)}, {p(self.p_value)}{' †' if self.survives else ''}, MAPSSWE {mapsswe}"


def change(fewer: float | None) -> str:
    """Say a relative reduction in words."""
    if fewer is None:
        return "more"
    return f"{abs(fewer) * 100:.1f} % {'fewer' if fewer >= 0 else 'more'}"


def p(value: float) -> str:
    """Say a p-value."""
    return "p < .001" if value < 0.001 else f"p = {value:.3f}".replace("0.", ".")


def compare(experiment: Experiment, roles: Roles, *, replicates: int, seed: int) -> dict[tuple[str, str], Comparison]:
    """Compare each student with plain KD, and each system with its control.

    Returns:
        Comparisons by (system, against). Two systems that are each other's baseline are compared once, and
        count once for the correction.
    """
    finished = experiment.finished
    wanted = []
    for name, system in finished.items():
        baselines = [system.control] if name in (roles.teacher, roles.kd) else [roles.kd, system.control]
        wanted += [(name, other) for other in dict.fromkeys(baselines) if other in finished and other != name]
    tests, segments = {}, {}
    for pair in dict.fromkeys(tuple(sorted(pair)) for pair in wanted):
        both = [finished[name] for name in pair]
        errors = (system.errors(experiment.test_sets) for system in both)
        tests[pair] = paired_bootstrap(*errors, experiment.all_words(), replicates=replicates, seed=seed).p_value
        # Where one has more seeds, the other's errors count so many times: the mean difference is that of the rates.
        seeds = [len(system.runs) for system in both]
        where = (both[0].positions(experiment.test_sets, seeds[1]), both[1].positions(experiment.test_sets, seeds[0]))
        segments[pair] = matched_pairs(*where).p_value
    survives = dict(zip(tests, holm(list(tests.values()), LEVEL), strict=True))
    comparisons = {}
    for name, other in wanted:
        pair = tuple(sorted((name, other)))
        ours, theirs = experiment.wer(name), experiment.wer(other)
        fewer = (theirs - ours) / theirs if theirs else (None if ours else 0.0)
        comparisons[name, other] = Comparison(fewer, tests[pair], segments[pair], survives[pair])
    return comparisons


def count_tests(comparisons: Mapping[tuple[str, str], Comparison]) -> int:
    """Return how many different pairs of systems are compared."""
    return len({frozenset(pair) for pair in comparisons})


def share_kept(experiment: Experiment, roles: Roles, name: str) -> float | None:
    """Return the share of the teacher's lead over the unaided student that a system keeps, if any."""
    if not {roles.teacher, roles.student} <= experiment.finished.keys():
        return None
    teacher, student = experiment.wer(roles.teacher), experiment.wer(roles.student)
    return (student - experiment.wer(name)) / (student - teacher) if student > teacher else None


def findings(experiment: Experiment, roles: Roles, comparisons: Mapping[tuple[str, str], Comparison]) -> list[str]:
    """Say in sentences what the numbers show and what they do not."""
    finished = experiment.finished
    sentences = _lead(experiment, roles)
    for name, system in finished.items():
        baselines = {other: comparison for (one, other), comparison in comparisons.items() if one == name}
        if not baselines or (name == roles.student and (roles.kd, name) in comparisons):
            continue  # plain KD's sentence says the same the other way round
        parts = []
        for other, comparison in baselines.items():
            fair = "equal-budget " if equal_budgets(system, finished[other]) else ""
            role = f"its {fair}control, " if other == system.control else ""
            noun = "" if parts else " errors"
            than = f"than {role}**{finished[other].label}** ({p(comparison.p_value)})"
            parts.append(f"{change(comparison.fewer)}{noun} {than}")
        # The control decides, if there is one: it differs in nothing but the idea.
        decisive = system.control if system.control in baselines else roles.kd
        idea = f"from {system.isolates}" if decisive == system.control and system.isolates else ""
        verdict = _verdict(baselines[decisive], idea or f"over **{finished[decisive].label}**")
        kept = None if name == roles.student else share_kept(experiment, roles, name)
        sentence = f"**{system.label}** makes {' and '.join(parts)}: {verdict}."
        if kept is not None:
            sentence += f" It keeps {f'{100 * kept:.0f} %' if kept > 0 else 'nothing'} of the teacher's lead."
        sentences.append(sentence)
    return sentences + caveats(experiment)


def _lead(experiment: Experiment, roles: Roles) -> list[str]:
    finished = experiment.finished
    if not {roles.teacher, roles.student} <= finished.keys():
        return []
    teacher, student = (experiment.wer(name) for name in (roles.teacher, roles.student))
    start = (
        f"**{finished[roles.teacher].label}** has a WER of {100 * teacher:.2f} %, "
        f"**{finished[roles.student].label}** of {100 * student:.2f} %"
    )
    if student > teacher:
        return [f"{start}: a lead of {100 * (student - teacher):.2f} points."]
    return [f"{start}: the teacher is not ahead, so there is no lead to keep."]


def _verdict(comparison: Comparison, gain: str) -> str:
    if not comparison.significant:
        return f"no gain {gain} is shown here"
    if comparison.fewer is None or comparison.fewer < 0:
        verdict = f"this is a loss, not a gain {gain}"
    else:
        verdict = f"a gain {gain} is shown"
    return verdict if comparison.survives else f"{verdict}, which does not survive Holm's correction"


def caveats(experiment: AnyExperiment) -> list[str]:
    """Return what a reader must know before trusting the comparisons of an experiment of any task."""
    finished = experiment.finished
    sentences = []
    for system in finished.values():
        control = finished.get(system.control or "")
        if control and not equal_budgets(system, control):
            budgets = _budgets(system, control)
            sentences.append(
                f"**{system.label}** and its control, **{control.label}**, did not have equal budgets: "
                f"{budgets[0]:,.0f} against {budgets[1]:,.0f} passes (steps × passes a step)."
            )
        if system.unfinished:
            seeds = ", ".join(map(str, system.unfinished))
            sentences.append(f"**{system.label}**: unfinished and left out: seed {seeds}.")
    if single := [system.label for system in finished.values() if len(system.runs) == 1]:
        sentences.append(f"From one seed only, so that another seed may change them: {listed(single)}.")
    if absent := [system.label for name, system in experiment.systems.items() if name not in finished]:
        sentences.append(f"Not run: {listed(absent)}.")
    return sentences


def equal_budgets(system: AnySystem, other: AnySystem) -> bool:
    """Whether two systems had as many passes over the data, to 2 %."""
    budgets = _budgets(system, other)
    return max(budgets) <= 1.02 * min(budgets)


def _budgets(*systems: AnySystem) -> list[float]:
    """Return each system's student passes over the data: steps × passes a step."""
    return [system.mean("steps") * system.mean("passes") for system in systems]


def listed(labels: Sequence[str]) -> str:
    """Say labels in a row."""
    return ", ".join(f"**{label}**" for label in labels)
