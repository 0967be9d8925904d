"""Figures of a report, by matplotlib, which is imported only here and only inside functions."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkd import files
from seqkd.experiment.read import Experiment, System
from seqkd.statistics.bootstrap import Estimate
from seqkd.statistics.measures import Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can tell apart, without yellow (faint on white).
_COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F7F7F")
_DASHES = ("-", "--", ":")
_GREY = "#7F7F7F"
NAME = 0.231  # inches that a line's name takes beside a plot
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw_estimates(
    experiment: Experiment, measures: Sequence[Measure], lines: Mapping[str, float] | None = None
) -> Figure:
    """Draw a panel a measure and a row a system: the value, its 95 % interval, and a small dot a seed.

    Args:
        experiment: with its estimates.
        measures: one or a few.
        lines: values of the first measure to draw across all systems, by their labels.
    """
    finished = experiment.finished
    width = 7.5 if len(measures) == 1 else 0.5 + 3 * len(measures)
    figure, axes = new_figure(len(measures), width, 1.1 + 0.42 * len(finished), columns=len(measures))
    for column, (panel, measure) in enumerate(zip(axes, measures, strict=True)):
        for row, name in enumerate(finished):
            one = experiment.estimates[name][measure.key]
            if one.ci95 is not None:
                _draw_estimate(panel, row, one, colour_of(experiment, name))
        panel.set_yticks(range(len(finished)), [s.label if not column else "" for s in finished.values()])
        panel.tick_params(axis="y", length=0)
        panel.set_ylim(len(finished) - 0.5, -0.5)
        if measure.higher_is_better is False:
            panel.set_xlim(left=0)  # an error's size is its distance from none; a score's zero says nothing
        panel.set_title(measure.label, loc="left", fontsize=10)
        better = {True: "higher is better", False: "lower is better", None: ""}
        panel.set_xlabel(better[measure.higher_is_better])
        panel.grid(axis="x", color=_GREY, alpha=0.25, linewidth=0.6)
    for (label, value), dash in zip((lines or {}).items(), ("-", "--", ":"), strict=False):
        axes[0].axvline(measures[0].scale * value, color="black", linewidth=1, linestyle=dash, label=label)
    if lines:
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.supxlabel("large dot: mean of the seeds, line: its 95 % interval, small dots: seeds", fontsize=9)
    return figure


def _draw_estimate(axes: Axes, row: int, one: Estimate, colour: str) -> None:
    scale = one.measure.scale
    axes.plot([scale * end for end in one.ci95], [row, row], color=colour, linewidth=2.5, solid_capstyle="butt")
    axes.plot(scale * one.value, row, "o", color=colour, markersize=7, markeredgecolor="white")
    seeds = [scale * value for value in one.seeds.values()]
    if len(seeds) > 1:
        axes.plot(seeds, np.full(len(seeds), row + 0.24), "o", color=colour, markersize=2.5)
    place = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 9}
    axes.annotate(one.measure.show(one.value), (1.02, row), **place)


def draw_training(experiment: Experiment) -> Figure | None:
    """Draw what is watched on dev over steps: mean and range over seeds; None if nothing was recorded."""
    monitor = experiment.task.monitor
    curves = curves_of(experiment, lambda row: row.get(monitor.key))
    if not curves:
        return None
    figure, axes = new_figure(1, 7.5, max(4.2, NAME * len(curves)))
    scaled = {name: (steps, monitor.scale * values) for name, (steps, values) in curves.items()}
    draw_curves(experiment, axes[0], scaled, labels=True)
    axes[0].set_ylabel(monitor.label)
    return figure


def draw_losses(experiment: Experiment) -> Figure | None:
    """Draw the unweighted loss terms over steps, a panel a term; None if none was recorded."""
    rows = (row for system in experiment.finished.values() for run in system.runs for row in run.history)
    terms = dict.fromkeys(["total", *(term for row in rows for term in row.get("train", {}) if "." not in term)])
    panels = {}
    for term in terms:
        if curves := curves_of(experiment, lambda row, term=term: row.get("train", {}).get(term)):
            panels[term] = curves
    if not panels:
        return None
    shown = [name for name in experiment.finished if any(name in curves for curves in panels.values())]
    figure, axes = new_figure(len(panels), 7.5, 2.6 * ((len(panels) + 1) // 2) + 0.12 * len(shown), columns=2)
    for panel, (term, curves) in zip(axes, panels.items(), strict=False):
        draw_curves(experiment, panel, curves, labels=False)
        panel.set_title(term, loc="left", fontsize=10)
    from matplotlib.lines import Line2D

    figure.legend(
        [Line2D([], [], color=colour_of(experiment, n), linestyle=dash_of(experiment, n)) for n in shown],
        [experiment.systems[name].label for name in shown],
        loc="outside lower center",
        ncols=2,  # three of the longest labels are wider than the figure
        frameon=False,
    )
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG atomically, of 256 colours to keep it small."""
    from PIL import Image  # matplotlib's own dependency

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    with files.atomic_path(path) as temporary:
        Image.open(drawn).convert("RGB").quantize(256).save(temporary, optimize=True)


def save_all(drawn: Mapping[str, tuple[Figure | None, str]], directory: Path) -> list[str]:
    """Write figures by file name, with their captions, and return the Markdown that shows them; None is left out."""
    lines = []
    for name, (figure, caption) in drawn.items():
        if figure is not None:
            save(figure, directory / name)
            lines.append(f"![{caption}](figures/{name})")
    return lines


def new_figure(panels: int, width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure, ``width`` by ``height`` inches, and its panels, row by row."""
    # Without pyplot there is no global state: no backend to choose, no window, nothing to close.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        rows = -(-panels // columns)
        axes = [figure.add_subplot(rows, columns, index + 1) for index in range(panels)]
    return figure, axes


Value = Callable[[dict[str, Any]], float | None]  # what to take from a row of the history
Curve = tuple[np.ndarray, np.ndarray]  # steps (V,), values (S, V) with NaN where a seed has none


def curves_of(experiment: Experiment, value: Value) -> dict[str, Curve]:
    """Return the curve of each finished system that has one, by name; ``value`` takes it from a row of the history."""
    found = {}
    for name, system in experiment.finished.items():
        curve = _curve(system, value)
        if curve is not None:
            found[name] = curve
    return found


def _curve(system: System, value: Value) -> Curve | None:
    points = [{row["step"]: value(row) for row in run.history if value(row) is not None} for run in system.runs]
    steps = sorted({step for seed in points for step in seed})
    if not steps:
        return None
    return np.array(steps), np.array([[seed.get(step, np.nan) for step in steps] for seed in points])


def draw_curves(experiment: Experiment, axes: Axes, curves: Mapping[str, Curve], *, labels: bool) -> None:
    """Draw a line a system over steps: mean and range over seeds; with ``labels``, each named at its end."""
    ends = []
    for name, (steps, values) in curves.items():
        # Seeds that stopped early have no value at the last steps; the mean is of those that have one.
        mean, low, high = (pool(values, axis=0) for pool in (np.nanmean, np.nanmin, np.nanmax))
        colour = colour_of(experiment, name)
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(steps, mean, color=colour, linestyle=dash_of(experiment, name), linewidth=1.5)
        ends.append((steps[-1], mean[-1], experiment.systems[name].label, colour))
    if all(np.nanmin(values) > 0 for _, values in curves.values()):
        _log_scale(axes)  # errors and losses fall by orders of magnitude
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("steps")
    axes.set_xlim(left=0)
    if labels:
        label_ends(axes, ends)


def _log_scale(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each line's name to the right of the plot, moved apart where lines end close together.

    Args:
        axes: the plot, with all its lines.
        ends: of each line: where it ends, x and y, its name and colour.
    """
    axes.autoscale_view()
    to_fraction = axes.transData + axes.transAxes.inverted()
    wanted = sorted((*to_fraction.transform((x, y))[::-1], label, colour) for x, y, label, colour in ends)
    places = _spread([height for height, *_ in wanted], gap=NAME / axes.figure.get_figheight())
    for (height, right, label, colour), moved in zip(wanted, places, strict=True):
        axes.annotate(
            label,
            xy=(right, height),
            xytext=(1.05, moved),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            va="center",
            # From the middle of the name's left edge: by default a line ends in its middle and strikes it out.
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "shrinkA": 1,
                "shrinkB": 1,
                "relpos": (0, 0.5),
            },
        )


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """Move ascending places as little as needed for neighbours to be a gap apart, keeping groups centred."""
    groups: list[list[float]] = []  # wanted places of labels that touch
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _low(groups[-1], gap) < _high(groups[-2], gap) + gap:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_low(group, gap) + index * gap for group in groups for index in range(len(group))]


def _low(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _high(group: Sequence[float], gap: float) -> float:
    return _low(group, gap) + gap * (len(group) - 1)


def colour_of(experiment: Experiment, name: str) -> str:
    """Return a system's colour, which depends on its place in the experiment alone."""
    place = list(experiment.systems).index(name)
    return _COLOURS[place and 1 + (place - 1) % (len(_COLOURS) - 1)]  # black for the first one only


def dash_of(experiment: Experiment, name: str) -> str:
    """Return a system's line style, which tells those apart that share a colour."""
    place = list(experiment.systems).index(name)
    return _DASHES[max(place - 1, 0) // (len(_COLOURS) - 1) % len(_DASHES)]
