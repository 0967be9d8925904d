"""What the numbers of an experiment say of the paper's pattern, in sentences; none is a fixed claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from seqkd.experiment.findings import p

if TYPE_CHECKING:
    from seqkd.shots.experiment import Comparison, Experiment, System
    from seqkd.shots.truth import Bound

__all__ = ["LEVEL", "WITHIN", "aims", "p"]

LEVEL = 0.05
WITHIN = 2.0  # points of ASC below the attainable one that the student with interaction may be


def aims(experiment: Experiment, bound: Bound | None, comparisons: Mapping[tuple[str, str], Comparison]) -> list[str]:
    """Say which parts of the published pattern hold here, which do not, and what cannot be told."""
    finished = experiment.finished
    sentences = []
    for pair in (("student_kd", "student"), ("dil", "student_kd"), ("dil", "student"), ("teacher_dil", "teacher")):
        if pair in comparisons:
            sentences.append(_order(*(finished[name] for name in pair), comparisons[pair]))
    best = max((finished[name] for name in finished if name.startswith("assistant_")), default=None, key=_asc)
    if best and "teacher" in finished:
        gain = 100 * (_asc(finished["teacher"]) - _asc(best))
        sentences.append(
            f"**{finished['teacher'].label}** is {abs(gain):.2f} points {'above' if gain > 0 else 'below'} its best "
            f"assistant, **{best.label}**."
        )
    if bound and "dil" in finished:
        gap = round(100 * (bound.drawn_accuracy - _asc(finished["dil"])), 2)  # as it is shown
        sentences.append(
            f"**{finished['dil'].label}** is {gap:.2f} points below what is attainable: "
            + ("within" if gap <= WITHIN else "not within")
            + f" the {WITHIN:g} points aimed at."
        )
    if {"dil", "teacher_dil"} <= finished.keys():
        student, teacher = (finished[name].mean("parameters") for name in ("dil", "teacher_dil"))
        sentences.append(f"The student has {100 * student / teacher:.0f} % of its teacher's parameters.")
    return sentences + _caveats(experiment)


def _order(one: System, other: System, comparison: Comparison) -> str:
    """One sentence on whether ``one`` is at least as good as ``other``, as in the paper."""
    points, test = comparison.points, p(comparison.p_value)
    idea = f" from {one.isolates}" if one.isolates and one.control == other.name else ""
    held = points >= 0
    start = f"**{one.label}** has {abs(points):.2f} points of ASC {'more' if held else 'less'} than **{other.label}**"
    if comparison.p_value >= LEVEL:
        verdict = f"no difference{idea} is shown"
    else:
        verdict = f"a {'gain' if held else 'loss'}{idea} is shown"
        verdict += "" if comparison.survives else ", which does not survive Holm's correction"
    return f"{start} ({test}): the paper's order {'holds' if held else 'does not hold'}, {verdict}."


def _caveats(experiment: Experiment) -> list[str]:
    finished = experiment.finished
    sentences = []
    if {"dil", "student", "student_kd"} <= finished.keys():
        kept = [run.summary for run in finished["dil"].runs]
        most = max(finished[name].mean("steps") for name in ("student", "student_kd"))
        sentences.append(
            f"Budgets: the students without interaction had {most:,.0f} updates, the one with interaction "
            f"{finished['dil'].mean('steps'):,.0f} on average, in {', '.join(str(len(s['rounds']) - 1) for s in kept)} "
            f"rounds after the first distillation (by seed), of which round "
            f"{', '.join(str(s['round']) for s in kept)} was kept. Theirs too came in phases, each from the best "
            "weights of the one before. Interaction also retrains three assistants a round."
        )
    for system in finished.values():
        if system.unfinished:
            seeds = ", ".join(map(str, system.unfinished))
            sentences.append(f"**{system.label}**: unfinished and left out: seed {seeds}.")
    if single := [f"**{s.label}**" for s in finished.values() if len(s.runs) == 1]:
        sentences.append(f"From one seed only, so that another seed may change them: {', '.join(single)}.")
    if absent := [f"**{s.label}**" for name, s in experiment.systems.items() if name not in finished]:
        sentences.append(f"Not run: {', '.join(absent)}.")
    return sentences


def _asc(system: System) -> float:
    return system.pooled.asc
