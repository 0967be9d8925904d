"""Figures of a translation report, in the style of `seqkd.experiment.figures`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from seqkd.experiment.figures import colour_of, curves_of, draw_curves, label_ends, new_figure
from seqkd.translation.bootstrap import Estimate, Estimates
from seqkd.translation.experiment import TranslationExperiment
from seqkd.translation.measures import BLEU, ECE, INFERENCE_ECE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GREY = "#7F7F7F"


def draw_scores(experiment: TranslationExperiment, estimates: Mapping[str, Estimates]) -> Figure:
    """Draw BLEU and both calibration errors: a row a system, its 95 % interval, and a small dot a seed."""
    finished = experiment.finished
    figure, axes = new_figure(3, 9.5, 1.1 + 0.42 * len(finished), columns=3)
    for column, (panel, measure) in enumerate(zip(axes, (BLEU, ECE, INFERENCE_ECE), strict=True)):
        for row, name in enumerate(finished):
            one = estimates[name][measure.key]
            if one.ci95 is not None:
                _draw_estimate(panel, row, one, colour_of(experiment, name))
        panel.set_yticks(range(len(finished)), [s.label if not column else "" for s in finished.values()])
        panel.tick_params(axis="y", length=0)
        panel.set_ylim(len(finished) - 0.5, -0.5)
        if not measure.higher_is_better:
            panel.set_xlim(left=0)  # an error's size is its distance from none; a score's zero says nothing
        panel.set_title(measure.label, loc="left", fontsize=10)
        panel.set_xlabel("higher is better" if measure.higher_is_better else "lower is better")
        panel.grid(axis="x", color=_GREY, alpha=0.25, linewidth=0.6)
    figure.supxlabel("large dot: mean of the seeds, line: its 95 % interval, small dots: seeds", fontsize=9)
    return figure


def draw_reliability(
    experiment: TranslationExperiment, estimates: Mapping[str, Estimates], *, forced: bool
) -> Figure | None:
    """Draw accuracy over confidence, a panel a system, all seeds together; None if nothing was decoded."""
    states = {name: system.calibration(forced=forced) for name, system in experiment.finished.items()}
    states = {name: state for name, state in states.items() if state.count}
    if not states:
        return None
    columns = min(4, len(states))
    rows = -(-len(states) // columns)
    figure, axes = new_figure(len(states), 2.4 * columns + 0.4, 2.5 * rows + 0.5, columns=columns)
    measure = ECE if forced else INFERENCE_ECE
    for index, (panel, (name, state)) in enumerate(zip(axes, states.items(), strict=True)):
        colour = colour_of(experiment, name)
        bins = state.diagram()
        low, high, count, confidence, accuracy = (
            np.array([one[key] for one in bins]) for key in ("from", "to", "count", "confidence", "accuracy")
        )
        # The bin of exactly 1 has no width; its share is drawn with the last one's width, as all others have it.
        panel.bar(
            np.where(high > low, (low + high) / 2, 1 + 0.5 / state.bins), count / count.sum(), 0.9 / state.bins,
            color=_GREY, alpha=0.3, linewidth=0,
        )  # fmt: skip
        panel.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle="--")
        panel.plot(confidence, accuracy, "o-", color=colour, markersize=3, linewidth=1.2)
        panel.set_title(textwrap.fill(experiment.systems[name].label, 28), loc="left", fontsize=9)
        panel.annotate(f"ECE {measure.show(estimates[name][measure.key].value)} %", (0.05, 0.9), fontsize=9)
        panel.set_xlim(0, 1.07)
        panel.set_ylim(0, 1.02)
        panel.set_xticks([0, 0.5, 1])
        panel.set_yticks([0, 0.5, 1])
        panel.set_aspect("equal")
        if index >= len(states) - columns:
            panel.set_xlabel("confidence")
        if index % columns == 0:
            panel.set_ylabel("accuracy")
    what = "reference tokens, teacher-forced" if forced else "decoded tokens"
    figure.supxlabel(f"{what}; bars: share of all tokens", fontsize=9)
    return figure


def draw_alpha(experiment: TranslationExperiment) -> Figure | None:
    """Draw the amount of smoothing over steps, a line a seed, a dot where it has a new prior; None without any."""
    curves = curves_of(experiment, lambda row: row.get("train", {}).get("alpha"))
    if not curves:
        return None
    figure, axes = new_figure(1, 7.5, 3.8)
    ends, refreshed = [], False
    for name, (steps, values) in curves.items():
        colour = colour_of(experiment, name)
        for run, amounts in zip(experiment.systems[name].runs, values, strict=True):
            known = np.isfinite(amounts)
            axes[0].plot(steps[known], amounts[known], color=colour, linewidth=1, alpha=0.8)
            new = known & np.isin(steps, run.refreshes)
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


def draw_dev_nll(experiment: TranslationExperiment) -> Figure | None:
    """Draw dev NLL over steps, a line a system: mean and range over seeds; None if nothing was recorded."""
    curves = curves_of(experiment, lambda row: row.get("dev_nll"))
    if not curves:
        return None
    figure, axes = new_figure(1, 7.5, 4.2)
    draw_curves(experiment, axes[0], curves, labels=True)
    axes[0].set_ylabel("dev NLL, nats a token")
    return figure


def _draw_estimate(axes: Axes, row: int, one: Estimate, colour: str) -> None:
    scale = one.measure.scale
    axes.plot([scale * end for end in one.ci95], [row, row], color=colour, linewidth=2.5, solid_capstyle="butt")
    axes.plot(scale * one.value, row, "o", color=colour, markersize=7, markeredgecolor="white")
    if len(one.seeds) > 1:
        axes.plot(scale * one.seeds, np.full(len(one.seeds), row + 0.24), "o", color=colour, markersize=2.5)
    axes.annotate(
        one.measure.show(one.value), (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=9
    )  # fmt: skip
