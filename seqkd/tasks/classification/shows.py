"""What a method is to show, and against what: curves over systems, as the setting ``shows`` of a recipe lists them.

    shows:
      - title: Extractive KD against temperature
        claim: accuracy hardly depends on the teacher's temperature, that of ordinary distillation does
        x: temperature of the teacher
        log: true
        curves:
          KD: [[1, kd_t1], [4, kd], [16, kd_t16]]
          Extractive KD: [[1, extractive_t1], [4, extractive_kd], [16, extractive_t16]]

A point of three has a control, whose accuracy is taken off: ``[0.1, de_kd_10, student]`` is a gain. Places are numbers,
or words in the order in which they come. What was not trained is left out.

With ``tries: true`` the places of a curve are settings of one method that were tried. Then the best of each curve on
dev is compared with that of the first curve on the test sets, where both had as many tries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkd.errors import ConfigError
from seqkd.experiment.figures import save_all
from seqkd.experiment.findings import p
from seqkd.experiment.parts import bullets, table
from seqkd.layout import plain
from seqkd.settings import build
from seqkd.statistics.bootstrap import difference
from seqkd.statistics.holm import holm
from seqkd.tasks.classification.figures import draw_curves_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from seqkd.experiment.read import Experiment
    from seqkd.statistics.measures import Measure


@dataclass(frozen=True, kw_only=True)
class Show:
    """One entry of ``shows``; see the module.

    Attributes:
        title: heads the section.
        claim: what the paper says, or what would follow from it.
        x: what the places are.
        curves: by label, points ``[place, system]`` or ``[place, system, control]``.
        log: whether places are shown on a logarithmic axis.
        tries: whether the places are settings of one method, of which dev chooses one.
        note: a sentence more.
    """

    title: str
    claim: str
    x: str
    curves: Mapping[str, Sequence[Sequence[Any]]]
    log: bool = False
    tries: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        for label, points in self.curves.items():
            for point in points:
                if not isinstance(point, (list, tuple)) or len(point) not in (2, 3):
                    raise ConfigError(
                        f"curves has the point {point!r} in {label!r}; expected [place, system] or "
                        "[place, system, control]"
                    )


@dataclass(frozen=True)
class Point:
    """A value with its 95 % interval, as shown.

    Attributes:
        place: on the axis.
        system: whose value it is.
        value: as shown.
        ends: of the interval.
        p_value: of a gain; None of a value by itself.
        survives: whether a gain's p-value is below .05 after Holm's correction for the points of its entry.
    """

    place: Any
    system: str
    value: float
    ends: tuple[float, float]
    p_value: float | None = None
    survives: bool = False


def shows_of(cfg: DictConfig) -> list[Show]:
    """The entries of ``shows``, checked."""
    return [build(Show, entry, f"shows[{number}]") for number, entry in enumerate(plain(cfg.shows))]


def systems_shown(cfg: DictConfig) -> list[str]:
    """The systems that the entries name."""
    names = [
        name for show in shows_of(cfg) for points in show.curves.values() for point in points for name in point[1:]
    ]
    return list(dict.fromkeys(names))


def sections(cfg: DictConfig, experiment: Experiment, figures: Path) -> list[str]:
    """Return a section for each entry of which something was trained."""
    found = []
    measure = experiment.task.measures[0]
    for number, show in enumerate(shows_of(cfg), 1):
        curves = {label: points_of(points, experiment, measure) for label, points in show.curves.items()}
        curves = _corrected({label: points for label, points in curves.items() if points})
        if not curves:
            continue
        gains = any(point.p_value is not None for points in curves.values() for point in points)
        y = f"gain, points of {measure.name}" if gains else measure.label
        drawn = draw_curves_of(curves, show.x, y, log=show.log, zero=gains)
        name = f"show{number}.png"
        found += [
            f"### {show.title}",
            f"Claim: {show.claim}.",
            table(*_rows(show, curves, measure)),
            bullets([*_findings(curves, measure), *(chosen(curves, experiment, measure) if show.tries else [])]),
            *([show.note] if show.note else []),
            *save_all({name: (drawn, show.title)}, figures),
        ]
    return ["## What each method shows", *found] if found else []


def points_of(points: Sequence[Sequence[Any]], experiment: Experiment, measure: Measure) -> list[Point]:
    """The points whose systems were trained, in order."""
    found = []
    for place, system, *controls in points:
        names = [system, *controls]
        if any(name not in experiment.finished for name in names):
            continue
        estimate = experiment.estimates[system][measure.key]
        if controls:
            test = difference(estimate, experiment.estimates[controls[0]][measure.key])
            value, ends, p_value = measure.gain(test.delta), test.ci95, test.p_value
        else:
            value, ends, p_value = estimate.value, estimate.ci95, None
        scaled = sorted(measure.scale * end for end in ends)
        found.append(Point(place, system, measure.scale * value, (scaled[0], scaled[1]), p_value))
    return found


def _corrected(curves: dict[str, list[Point]]) -> dict[str, list[Point]]:
    """Say of each gain whether it survives Holm's correction for all gains of the entry."""
    p_values = [point.p_value for points in curves.values() for point in points if point.p_value is not None]
    survives = iter(holm(p_values))
    return {
        label: [point if point.p_value is None else replace(point, survives=next(survives)) for point in points]
        for label, points in curves.items()
    }


def chosen(curves: Mapping[str, Sequence[Point]], experiment: Experiment, measure: Measure) -> list[str]:
    """Compare the best settings of each curve by dev with those of the first, on the test sets."""
    best = {label: min(points, key=lambda one: _on_dev(one.system, experiment)) for label, points in curves.items()}
    found = []
    for label, point in best.items():
        text = f"Of {len(curves[label])} tries of **{label}** dev chooses {point.place}: {_cell(point, measure)}"
        first = next(iter(curves))
        if label != first and len(curves[label]) == len(curves[first]):
            ours, theirs = (experiment.estimates[best[name].system][measure.key] for name in (label, first))
            test = difference(ours, theirs)
            gain = f"{measure.scale * measure.gain(test.delta):+.{measure.decimals}f}".replace("-", "−")
            text += f", {gain} points against **{first}** at {best[first].place} ({p(test.p_value)})"
        found.append(f"{text}.")
    return found


def _on_dev(system: str, experiment: Experiment) -> float:
    """The least that was watched on dev, averaged over seeds; infinite, and so never chosen, if nothing was."""
    key = experiment.task.monitor.key
    runs = experiment.systems[system].runs
    least = [min((row[key] for row in run.history if key in row), default=float("inf")) for run in runs]
    return float(np.mean(least))


def _rows(show: Show, curves: Mapping[str, Sequence[Point]], measure: Measure) -> tuple[list[str], list[list[str]]]:
    places = list(dict.fromkeys(point.place for points in curves.values() for point in points))
    header = [show.x, *curves]
    by_place = {label: {point.place: point for point in points} for label, points in curves.items()}
    return header, [
        [str(place), *(_cell(points.get(place), measure) for points in by_place.values())] for place in places
    ]


def _cell(point: Point | None, measure: Measure) -> str:
    if point is None:
        return "–"
    digits = measure.decimals
    low, high = (f"{end:.{digits}f}".replace("-", "−") for end in point.ends)
    value = f"{point.value:+.{digits}f}" if point.p_value is not None else f"{point.value:.{digits}f}"
    shown = f"{value.replace('-', '−')} [{low}, {high}]"
    return shown if point.p_value is None else f"{shown}, {p(point.p_value)}{' †' if point.survives else ''}"


def _findings(curves: Mapping[str, Sequence[Point]], measure: Measure) -> list[str]:
    return [sentence for label, points in curves.items() for sentence in findings(label, points, measure)]


def findings(label: str, points: Sequence[Point], measure: Measure) -> list[str]:
    """Say what a curve shows: where a gain is shown or lost and where it crosses zero, or how much a value varies.

    A gain or loss is shown where it survives Holm's correction for the points of the entry (†).
    """
    if points[0].p_value is None:
        best, worst = max(points, key=lambda one: one.value), min(points, key=lambda one: one.value)
        if len(points) == 1:
            return []
        apart, digits = best.value - worst.value, measure.decimals
        overlap = best.ends[0] <= worst.ends[1]
        return [
            f"**{label}**: best at {best.place} ({best.value:.{digits}f}), worst at {worst.place} "
            f"({worst.value:.{digits}f}): {apart:.{digits}f} points apart{', within the intervals' if overlap else ''}."
        ]
    gains = [str(point.place) for point in points if point.value > 0 and point.survives]
    losses = [str(point.place) for point in points if point.value < 0 and point.survives]
    parts = [f"a gain is shown at {', '.join(gains)}"] if gains else ["no gain is shown"]
    parts += [f"a loss is shown at {', '.join(losses)}"] if losses else []
    crossings = _crossings(points)
    parts += [f"it crosses zero at about {', '.join(crossings)}"] if crossings else []
    return [f"**{label}**: {'; '.join(parts)}."]


def _crossings(points: Sequence[Point]) -> list[str]:
    """Where a line through the values crosses zero, of numbered places."""
    if not all(isinstance(point.place, (int, float)) for point in points):
        return []
    found = []
    for one, other in pairwise(points):
        if one.value * other.value < 0:
            part = one.value / (one.value - other.value)
            found.append(f"{np.interp(part, [0, 1], [one.place, other.place]):.3g}")
    return found
