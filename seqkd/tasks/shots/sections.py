"""What only the report of shots shows: what is attainable, the published order, further measures, rounds, one song."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.experiment.figures import draw_estimates, save_all
from seqkd.experiment.findings import p
from seqkd.experiment.parts import bullets, table
from seqkd.experiment.read import Experiment
from seqkd.shots.measures import ASC, BEATS, DIRECTOR_KL, DS, DST_AC, ECE, LENGTHS, NLL, SHOT_EDITS, TRANSITION_KL
from seqkd.shots.truth import Bound, bound_of, read_truth
from seqkd.statistics.bootstrap import LEVEL, difference
from seqkd.tasks.shots.figures import draw_rounds, draw_song

if TYPE_CHECKING:
    from omegaconf import DictConfig

WITHIN = 2.0  # points of ASC below the attainable one that the student with interaction may be
ORDER = (("student_kd", "student"), ("dil", "student_kd"), ("dil", "student"), ("teacher_dil", "teacher"))
SHOWN = (DST_AC, DS, BEATS, SHOT_EDITS, TRANSITION_KL, LENGTHS, NLL, ECE)


def sections(cfg: DictConfig, experiment: Experiment) -> list[str]:
    """Return the sections, as `seqkd.task.Task.sections`."""
    bound = attainable(cfg)
    figures = Path(cfg.report.out).parent / "figures"
    song = {"song.png": (draw_song(cfg, experiment), "A test song: true shots, found ones, probabilities")}
    pattern = published(experiment)
    return [
        *(_attainable(experiment, bound, figures) if bound else []),
        *(["## The published pattern", bullets(pattern), "These p-values are uncorrected."] if pattern else []),
        "## More measures",
        _measures(experiment, bound),
        bullets(_legend(experiment, bound)),
        *_rounds(experiment, figures),
        *save_all(song, figures),
    ]


def attainable(cfg: DictConfig) -> Bound | None:
    """Return what nobody can beat on average over all test sets, or None where the director is not known."""
    folders = [Path(cfg.data) / name for name in cfg.sets.test]
    if not all((folder / "director.safetensors").is_file() for folder in folders):
        return None
    return bound_of(truth for folder in folders for truth in read_truth(folder).values())


def published(experiment: Experiment) -> list[str]:
    """Say which parts of the published pattern hold here, which do not, and what cannot be told.

    The p-values are of these four comparisons by themselves, uncorrected.
    """
    finished, estimates = experiment.finished, experiment.estimates
    sentences = []
    for one, other in ORDER:
        if {one, other} <= finished.keys():
            test = difference(estimates[one][ASC.key], estimates[other][ASC.key])
            held, clear = test.delta >= 0, test.p_value < LEVEL
            sentences.append(
                f"**{finished[one].label}** has {ASC.amount(test.delta)} {'more' if held else 'less'} than "
                f"**{finished[other].label}** ({p(test.p_value)}): the paper's order "
                f"{'holds' if held else 'does not hold'}{'' if clear else ', though no difference is shown'}."
            )
    assistants = [name for name in finished if name.startswith("assistant_")]
    best = max(assistants, key=lambda name: estimates[name][ASC.key].value, default=None)
    if best and "teacher" in finished:
        gain = estimates["teacher"][ASC.key].value - estimates[best][ASC.key].value
        sentences.append(
            f"**{finished['teacher'].label}** is {ASC.amount(gain)} {'above' if gain > 0 else 'below'} its best "
            f"assistant, **{finished[best].label}**."
        )
    if {"dil", "teacher_dil"} <= finished.keys():
        student, teacher = (finished[name].mean("parameters") for name in ("dil", "teacher_dil"))
        sentences.append(f"The student has {100 * student / teacher:.0f} % of its teacher's parameters.")
    return sentences


def below(bound: Bound, value: float) -> float:
    """Return how many points of ASC a value is below the attainable one, as it is shown."""
    return round(100 * (bound.drawn_accuracy - value), 2)


def _points(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _attainable(experiment: Experiment, bound: Bound, figures: Path) -> list[str]:
    rows = []
    for name, system in experiment.finished.items():
        value = experiment.estimates[name][ASC.key].value
        length = DS.show(experiment.estimates[name][DS.key].value)
        rows.append([system.label, ASC.show(value), _points(below(bound, value)), length])
    rows += [
        [
            "*The song known, each second by itself*",
            ASC.show(bound.drawn_accuracy),
            "0.00",
            f"{bound.shot_length_argmax:.2f}",
        ],
        [
            "*The song known, best sequence*",
            ASC.show(bound.drawn_accuracy_viterbi),
            _points(below(bound, bound.drawn_accuracy_viterbi)),
            f"{bound.shot_length_viterbi:.2f}",
        ],
        [
            "*The true previous shot known too*",
            ASC.show(bound.drawn_accuracy_given_previous),
            _points(below(bound, bound.drawn_accuracy_given_previous)),
            "–",
        ],
    ]
    lines = {"song known": bound.drawn_accuracy, "previous shot known too": bound.drawn_accuracy_given_previous}
    drawn = {"attainable.png": (draw_estimates(experiment, [ASC], lines), "ASC, and what is attainable")}
    text = (
        "Computed exactly from the director who made the shots, who draws each at random, so that even one who knows "
        "the song and the director perfectly errs. Figures are for the shots that were drawn; expected over all that "
        f"might have been: {100 * bound.accuracy:.2f} %, with the true previous shot known "
        f"{100 * bound.accuracy_given_previous:.2f} %. No model here is given any true shot."
    )
    if "from_director" in experiment.finished:
        label = experiment.finished["from_director"].label
        text += (
            f" **{label}** is a network like the students that learns the director's exact probabilities of all of the "
            "teacher's songs; real songs have none."
        )
    text += "".join(f" {sentence}" for sentence in gaps(experiment, bound))
    header = ["System", ASC.label, "Below attainable, points", DS.label]
    return ["## What is attainable", table(header, rows), text, *save_all(drawn, figures)]


def gaps(experiment: Experiment, bound: Bound) -> list[str]:
    """Say how far each student with interaction is below what is attainable, from audio where that is known."""
    values = {name: experiment.estimates[name][ASC.key].value for name in experiment.finished}
    aim, what = bound.drawn_accuracy, "what is attainable"
    if "from_director" in values:
        aim, what = values["from_director"], "what audio allows"
    found = {name: round(100 * (aim - values[name]), 2) for name in ("dil", "dil_unlabelled") if name in values}
    return [
        f"**{experiment.finished[name].label}** is {gap:.2f} points below {what}: "
        f"{'within' if gap <= WITHIN else 'not within'} the {WITHIN:g} points aimed at."
        for name, gap in found.items()
    ]


def _measures(experiment: Experiment, bound: Bound | None) -> str:
    shown = (*SHOWN, DIRECTOR_KL) if bound else SHOWN
    header = ["System", *(f"{one.label}{' ↓' if one.higher_is_better is False else ''}" for one in shown)]
    rows = [
        [system.label, *(one.show(experiment.estimates[name][one.key].value) for one in shown)]
        for name, system in experiment.finished.items()
    ]
    if bound:
        known = {NLL.key: NLL.show(bound.nll), DIRECTOR_KL.key: "0", DS.key: f"{bound.shot_length_argmax:.2f}"}
        rows.append(["*Attainable: the song known*", *(known.get(one.key, "–") for one in shown)])
    return table(header, rows)


def _legend(experiment: Experiment, bound: Bound | None) -> list[str]:
    total = experiment.some_run.table.total()
    return [
        f"DST-AC: mean error of a shot's length. DS: mean shot length, to be compared with the true one, "
        f"{total['frames'] / total['shots'][0]:.2f} s. Both are the paper's.",
        "Beats: right shot at the beat. Shot edits: edits between the sequences of shots, a true shot. Transition KL: "
        "from the true transition matrix, nats a second. Lengths: Wasserstein distance between the distributions of "
        "shot lengths.",
        "NLL, ECE: of the probabilities of each second, in nats and % (15 bins)."
        + (" KL to director: from the true P(shot | song), nats a second." if bound else ""),
    ]


def _rounds(experiment: Experiment, figures: Path) -> list[str]:
    """Say how many rounds of interaction there were, and which was kept."""
    finished = experiment.finished
    rows = [
        [system.label, ", ".join(f"{len(s['rounds']) - 1} / {s['round']}" for s in summaries)]
        for system in finished.values()
        if (summaries := [run.summary for run in system.runs if "rounds" in run.summary])
    ]
    if not rows:
        return []
    sections = ["## Rounds of interaction", table(["System", "Rounds run / kept, by seed"], rows)]
    if {"dil", "student", "student_kd"} <= finished.keys():
        most = max(finished[name].mean("steps") for name in ("student", "student_kd"))
        sections.append(
            f"Budgets: the students without interaction had {most:,.0f} updates, the one with interaction "
            f"{finished['dil'].mean('steps'):,.0f} on average. Theirs too came in phases, each from the best weights "
            "of the one before. Interaction also retrains three assistants a round."
        )
    drawn = {"rounds.png": (draw_rounds(experiment), "Dev error over the rounds of interaction")}
    return [*sections, *save_all(drawn, figures)]
