"""Figures that only a translation report has, in the style of `seqkd.experiment.figures`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkd.experiment.figures import colour_of, curves_of, label_ends, new_figure
from seqkd.experiment.read import Experiment, Run
from seqkd.statistics.calibration import diagram_of
from seqkd.statistics.measures import Measure
from seqkd.translation.measures import ECE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GREY = "#7F7F7F"


def refreshes(run: Run) -> list[int]:
    """Return the steps at which validation found another prior than before."""
    steps, last = [], None
    for row in run.history:
        prior = row.get("prior_step")
        if prior is not None and prior != last:
            steps.append(row["step"])
            last = prior
    return steps


def draw_reliability(experiment: Experiment, measure: Measure) -> Figure | None:
    """Draw accuracy over confidence, a panel a system, all seeds together; None if nothing was predicted.

    Args:
        experiment: with its estimates.
        measure: the calibration error, whose column holds the predictions by bin.
    """
    (column,) = measure.columns
    states = {name: system.total(column) for name, system in experiment.finished.items()}  # (3, M + 1)
    states = {name: bins for name, bins in states.items() if bins[0].sum()}
    if not states:
        return None
    columns = min(4, len(states))
    rows = -(-len(states) // columns)
    figure, axes = new_figure(len(states), 2.4 * columns + 0.4, 2.5 * rows + 0.5, columns=columns)
    for index, (panel, (name, state)) in enumerate(zip(axes, states.items(), strict=True)):
        colour, width = colour_of(experiment, name), 1 / (state.shape[-1] - 1)
        bins = diagram_of(state)
        low, high, count, confidence, accuracy = (
            np.array([one[key] for one in bins]) for key in ("from", "to", "count", "confidence", "accuracy")
        )
        panel.bar((low + high) / 2, count / count.sum(), 0.9 * width, color=_GREY, alpha=0.3, linewidth=0)
        panel.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle="--")
        panel.plot(confidence, accuracy, "o-", color=colour, markersize=3, linewidth=1.2)
        panel.set_title(textwrap.fill(experiment.systems[name].label, 28), loc="left", fontsize=9)
        panel.annotate(
            f"ECE {measure.with_unit(experiment.estimates[name][measure.key].value)}", (0.05, 0.9), fontsize=9
        )
        panel.set_xlim(0, 1.07)
        panel.set_ylim(0, 1.02)
        panel.set_xticks([0, 0.5, 1])
        panel.set_yticks([0, 0.5, 1])
        panel.set_aspect("equal")
        if index >= len(states) - columns:
            panel.set_xlabel("confidence")
        if index % columns == 0:
            panel.set_ylabel("accuracy")
    what = "reference tokens, teacher-forced" if measure is ECE else "decoded tokens"
    figure.supxlabel(f"{what}; bars: share of all tokens", fontsize=9)
    return figure


def draw_alpha(experiment: Experiment) -> Figure | None:
    """Draw the amount of smoothing over steps, a line a seed, a dot where it has a new prior; None without any."""
    curves = curves_of(experiment, alpha_of)
    if not curves:
        return None
    figure, axes = new_figure(1, 7.5, 3.8)
    ends, refreshed = [], False
    for name, (steps, values) in curves.items():
        colour = colour_of(experiment, name)
        for run, amounts in zip(experiment.systems[name].runs, values, strict=True):
            known = np.isfinite(amounts)
            axes[0].plot(steps[known], amounts[known], color=colour, linewidth=1, alpha=0.8)
            new = known & np.isin(steps, refreshes(run))
            axes[0].plot(steps[new], amounts[new], "o", color=colour, markersize=3.5, markeredgecolor="white")
            refreshed = refreshed or bool(new.any())
        mean = np.nanmean(values, axis=0)
        ends.append((steps[-1], mean[-1], experiment.systems[name].label, colour))
    axes[0].set_ylim(bottom=0)
    axes[0].set_xlim(left=0)
    axes[0].xaxis.set_major_formatter("{x:,.0f}")
    axes[0].set_xlabel("steps" + ("; dots: a new prior" if refreshed else ""))
    axes[0].set_ylabel("mean amount of smoothing α")
    label_ends(axes[0], ends)
    return figure


def alpha_of(row: Mapping[str, Any]) -> float | None:
    """Return the mean amount of smoothing since the row before, of the term that has one."""
    return next((value for name, value in row.get("train", {}).items() if name.endswith(".alpha")), None)
