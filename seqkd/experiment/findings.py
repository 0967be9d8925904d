"""Which systems of an experiment are compared, and the sentences that follow; none is a fixed claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from seqkd.experiment.read import Experiment, System
from seqkd.statistics.bootstrap import LEVEL, Difference, difference
from seqkd.statistics.holm import holm
from seqkd.statistics.measures import tested


@dataclass(frozen=True)
class Compared:
    """One system against another in one measure, over test items and seeds.

    Attributes:
        difference: the first less the second.
        relative: that as a share of the second's value; None where that is 0, or where more is better.
        survives: whether its p-value is below .05 after Holm's correction for all comparisons of the report.
    """

    difference: Difference
    relative: float | None
    survives: bool

    @property
    def significant(self) -> bool:
        """Whether the uncorrected p-value is below .05."""
        return self.difference.p_value < LEVEL

    def __str__(self) -> str:
        """As in ``+0.31, p = .012 †``."""
        return f"{signed(self.difference)}, {p(self.difference.p_value)}{' †' if self.survives else ''}"


Comparisons = dict[tuple[str, str], dict[str, Compared]]  # by (system, against) and `Measure.key`


def compare(experiment: Experiment, pairs: Sequence[tuple[str, str]] = ()) -> Comparisons:
    """Compare each system with the baseline and with its control, in every tested measure.

    Two systems that are each other's baseline are compared once, and count once for Holm's correction.

    Args:
        experiment: the runs.
        pairs: of systems that are to be compared, too, where both were run.
    """
    task, finished, estimates = experiment.task, experiment.finished, experiment.estimates
    wanted = []
    for name, system in finished.items():
        baseline = None if name == task.teacher else experiment.baseline
        others = dict.fromkeys([baseline, system.control, *(other for one, other in pairs if one == name)])
        wanted += [(name, other) for other in others if other in finished and other != name]
    keys = [measure.key for measure in tested(task.measures)]
    tests = {
        (*pair, key): difference(estimates[pair[0]][key], estimates[pair[1]][key]).p_value
        for pair in dict.fromkeys(tuple(sorted(pair)) for pair in wanted)
        for key in keys
    }
    survives = dict(zip(tests, holm(list(tests.values())), strict=True))
    comparisons: Comparisons = {}
    for name, other in wanted:
        comparisons[name, other] = {}
        for key in keys:
            ours, theirs = estimates[name][key], estimates[other][key]
            one = difference(ours, theirs)
            relative = None if one.measure.higher_is_better or not theirs.value > 0 else one.delta / theirs.value
            comparisons[name, other][key] = Compared(one, relative, survives[(*sorted((name, other)), key)])
    return comparisons


def count_tests(comparisons: Comparisons) -> int:
    """Return how many different comparisons there are."""
    return len({(frozenset(pair), key) for pair, measures in comparisons.items() for key in measures})


def share_kept(experiment: Experiment, name: str) -> float | None:
    """Return the share of the teacher's lead over the unaided student that a system keeps, if there is a lead."""
    task, estimates = experiment.task, experiment.estimates
    if not {task.teacher, task.student} <= estimates.keys():
        return None
    measure = task.measures[0]
    ours, teacher, student = (
        measure.gain(estimates[one][measure.key].value) for one in (name, task.teacher, task.student)
    )
    return (ours - student) / (teacher - student) if teacher > student else None


def findings(experiment: Experiment, comparisons: Comparisons) -> list[str]:
    """Say in sentences what the numbers show and what they do not."""
    task = experiment.task
    sentences = _lead(experiment)
    for name, system in experiment.finished.items():
        others = [other for one, other in comparisons if one == name]
        if not others or (name == task.student and (experiment.baseline, name) in comparisons):
            continue  # the baseline's sentence says the same the other way round
        # The control decides, if there is one: it differs in nothing but the idea.
        others.sort(key=lambda other: other != system.control)
        sentences += [_against(experiment, system, other, comparisons) for other in others[:1]]
        if more := [_briefly(experiment, other, comparisons[name, other]) for other in others[1:]]:
            sentences[-1] += " " + " ".join(more)
        kept = share_kept(experiment, name)
        if kept is not None and name != task.student:
            sentences[-1] += f" It keeps {f'{100 * kept:.0f} %' if kept > 0 else 'nothing'} of the teacher's lead."
        if system.control and system.control not in others:
            control = experiment.systems.get(system.control)
            sentences[-1] += f" Its control, **{control.label if control else system.control}**, was not run."
    return sentences + caveats(experiment)


def _lead(experiment: Experiment) -> list[str]:
    task, finished = experiment.task, experiment.finished
    if not {task.teacher, task.student} <= finished.keys():
        return []
    measure = task.measures[0]
    values = {name: experiment.estimates[name][measure.key].value for name in (task.teacher, task.student)}
    teacher, student = (f"**{finished[name].label}**" for name in values)
    start = (
        f"{teacher} has {measure.with_unit(values[task.teacher])} {measure.name}, "
        f"{student} {measure.with_unit(values[task.student])}"
    )
    lead = measure.gain(values[task.teacher] - values[task.student])
    if lead > 0:
        return [f"{start}: a lead of {measure.amount(lead)}."]
    return [f"{start}: the teacher is not ahead, so there is no lead to keep."]


def _against(experiment: Experiment, system: System, other: str, comparisons: Comparisons) -> str:
    """Say how a system does against its control or the baseline, and what that shows."""
    measures = comparisons[system.name, other]
    rival = experiment.finished[other]
    is_control = other == system.control
    fair = "equal-budget " if equal_budgets(system, rival) else ""
    role = f"its {fair}control, " if is_control else "the baseline, " if other == experiment.baseline else ""
    isolates = (is_control and system.isolates) or ""
    first = next(iter(measures.values()))
    start = f"**{system.label}** has {_amount(first)} than {role}**{rival.label}** ({_evidence(first)})"
    if len(measures) == 1:
        return f"{start}: {_verdict(first, isolates)}."
    return f"{start}: {_verdicts(measures, isolates)}."


def _briefly(experiment: Experiment, other: str, measures: dict[str, Compared]) -> str:
    first = next(iter(measures.values()))
    return f"It has {_amount(first)} than **{experiment.finished[other].label}** ({_evidence(first)})."


def _amount(one: Compared) -> str:
    return f"{one.difference.measure.amount(one.difference.delta)} {'less' if one.difference.delta < 0 else 'more'}"


def _evidence(one: Compared) -> str:
    relative = f"{100 * abs(one.relative):.1f} % relative, " if one.relative is not None else ""
    return relative + p(one.difference.p_value)


def _verdict(one: Compared, isolates: str) -> str:
    idea = f" from {isolates}" if isolates else ""
    if not one.significant:
        return f"no difference{idea} is shown"
    verdict = f"a {'gain' if one.difference.better else 'loss'}{idea} is shown"
    return verdict if one.survives else f"{verdict}, which does not survive Holm's correction"


def _verdicts(measures: dict[str, Compared], isolates: str) -> str:
    """Sort several measures by what is shown in each."""
    shown: dict[str, list[str]] = {"a gain": [], "a loss": [], "no difference": []}
    for one in measures.values():
        kind = "no difference" if not one.significant else "a gain" if one.difference.better else "a loss"
        fragile = " (not after Holm's correction)" if one.significant and not one.survives else ""
        shown[kind].append(f"{one.difference.measure.name}{fragile}")
    parts = [f"{kind} is shown in {listed(names)}" for kind, names in shown.items() if names]
    return (f"from {isolates}, " if isolates else "") + "; ".join(parts)


def caveats(experiment: Experiment) -> list[str]:
    """Return what a reader must know before trusting the comparisons."""
    finished = experiment.finished
    sentences = []
    for system in finished.values():
        control = finished.get(system.control or "")
        budgets = _budgets(system, control) if control else []
        # What is not trained at all, such as a fusion of other models, has no budget to compare.
        if control and all(budgets) and not equal_budgets(system, control):
            sentences.append(
                f"**{system.label}** and its control, **{control.label}**, did not have equal budgets: "
                f"{budgets[0]:,.0f} against {budgets[1]:,.0f} passes (steps × passes a step)."
            )
        if system.unfinished:
            seeds = ", ".join(map(str, system.unfinished))
            sentences.append(f"**{system.label}**: unfinished and left out: seed {seeds}.")
    if single := [f"**{system.label}**" for system in finished.values() if len(system.runs) == 1]:
        sentences.append(f"From one seed only, so that another seed may change them: {', '.join(single)}.")
    searches = {name: "; ".join(dict.fromkeys(run.search for run in one.runs)) for name, one in finished.items()}
    usual = Counter(searches.values()).most_common(1)[0][0] if searches else ""
    if others := [f"**{finished[name].label}**: {one or 'none'}" for name, one in searches.items() if one != usual]:
        sentences.append(f"Decoded with other settings than most systems ({usual or 'none'}): {'; '.join(others)}.")
    if absent := [f"**{system.label}**" for name, system in experiment.systems.items() if name not in finished]:
        sentences.append(f"Not run: {', '.join(absent)}.")
    return sentences


def equal_budgets(system: System, other: System) -> bool:
    """Whether two systems had as many passes over the data, to 2 %; no, if one was not trained at all."""
    budgets = _budgets(system, other)
    return 0 < max(budgets) <= 1.02 * min(budgets)


def _budgets(*systems: System) -> list[float]:
    """Return each system's student passes over the data: steps × passes a step."""
    return [system.mean("steps") * system.mean("passes") for system in systems]


def signed(one: Difference) -> str:
    """Show a difference with its sign, in the unit of its measure."""
    return "–" if one.ci95 is None else f"{'+' if one.delta >= 0 else '−'}{one.measure.show(abs(one.delta))}"


def p(value: float) -> str:
    """Show a p-value."""
    return "p < .001" if value < 0.001 else f"p = {value:.3f}".replace("0.", ".")


def listed(names: Sequence[str]) -> str:
    """Say names in a row: ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
