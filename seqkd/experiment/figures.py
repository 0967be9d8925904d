"""Figures of a report, by matplotlib, which is imported only here and only inside functions."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkd import files
from seqkd.experiment.parts import AnyExperiment, AnySystem
from seqkd.experiment.speech import Experiment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can tell apart, without yellow (faint on white).
_COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F7F7F")
_DASHES = ("-", "--", ":")
_TERMS = ("total", "ctc", "kd", "consistency")
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw_wer(experiment: Experiment, intervals: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw a bar a system: WER pooled over seeds and test sets, 95 % interval, and a dot a seed."""
    finished = experiment.finished
    figure, axes = new_figure(1, 7.5, 0.8 + 0.42 * len(finished))
    words = experiment.all_words().sum()
    right = 0.0
    for row, (name, system) in enumerate(finished.items()):
        rate, (low, high) = 100 * experiment.wer(name), (100 * end for end in intervals[name])
        seeds = 100 * system.errors(experiment.test_sets).sum(axis=1) / words  # (S,)
        colour = colour_of(experiment, name)
        axes[0].barh(row, rate, height=0.62, color=colour, alpha=0.35, linewidth=0)
        axes[0].plot([low, high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        offsets = np.linspace(-0.14, 0.14, len(seeds)) if len(seeds) > 1 else np.zeros(1)
        axes[0].plot(seeds, row + offsets, "o", color=colour, markersize=4, markeredgecolor="white")
        end = max(high, seeds.max())
        right = max(right, end)
        axes[0].annotate(f"{rate:.2f}", (end, row), (5, 0), textcoords="offset points", va="center", fontweight="bold")
    axes[0].set_yticks(range(len(finished)), [system.label for system in finished.values()])
    axes[0].tick_params(axis="y", length=0)
    axes[0].invert_yaxis()
    axes[0].set_xlim(0, 1.1 * right or 1)
    axes[0].set_xlabel("WER %; line: 95 % interval, dots: seeds")
    return figure


def draw_training(experiment: Experiment) -> Figure | None:
    """Draw dev WER over steps, one line a system: mean and range over seeds; None if nothing was recorded."""
    curves = curves_of(experiment, lambda row: row.get("dev_wer"))
    if not curves:
        return None
    figure, axes = new_figure(1, 7.5, 4.2)
    draw_curves(experiment, axes[0], {name: _percent(curve) for name, curve in curves.items()}, labels=True)
    axes[0].set_ylabel("dev WER %")
    return figure


def draw_losses(experiment: Experiment) -> Figure | None:
    """Draw the unweighted loss terms over steps, a panel a term; None if none was recorded."""
    panels = {}
    for term in _TERMS:
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


def curves_of(experiment: AnyExperiment, value: Value) -> dict[str, Curve]:
    """Return the curve of each finished system that has one, by name; ``value`` takes it from a row of the history."""
    found = {}
    for name, system in experiment.finished.items():
        curve = _curve(system, value)
        if curve is not None:
            found[name] = curve
    return found


def _curve(system: AnySystem, value: Value) -> Curve | None:
    points = [{row["step"]: value(row) for row in run.history if value(row) is not None} for run in system.runs]
    steps = sorted({step for seed in points for step in seed})
    if not steps:
        return None
    return np.array(steps), np.array([[seed.get(step, np.nan) for step in steps] for seed in points])


def _percent(curve: Curve) -> Curve:
    return curve[0], 100 * curve[1]


def draw_curves(experiment: AnyExperiment, axes: Axes, curves: Mapping[str, Curve], *, labels: bool) -> None:
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
    places = _spread([height for height, *_ in wanted], gap=0.055)
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


def colour_of(experiment: AnyExperiment, name: str) -> str:
    """Return a system's colour, which depends on its place in the experiment alone."""
    place = list(experiment.systems).index(name)
    return _COLOURS[place and 1 + (place - 1) % (len(_COLOURS) - 1)]  # black for the first one only


def dash_of(experiment: AnyExperiment, name: str) -> str:
    """Return a system's line style, which tells those apart that share a colour."""
    place = list(experiment.systems).index(name)
    return _DASHES[max(place - 1, 0) // (len(_COLOURS) - 1) % len(_DASHES)]
