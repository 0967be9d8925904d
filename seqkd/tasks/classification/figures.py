"""Figures of classes.

Letters: C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkd.experiment.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from seqkd.statistics.bootstrap import Estimate

SET_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MOST_NAMED = 60  # classes whose names can be read beside a matrix


def draw_confusion(matrix: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """Draw (C, C) counts, true classes down and found ones across, as shares of the true ones, without the diagonal."""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    errors = shares.copy()
    np.fill_diagonal(errors, np.nan)
    size = min(9.0, 2.5 + 0.17 * len(names))
    figure, (axes,) = new_figure(1, size + 0.8, size)
    drawn = axes.imshow(100 * errors, cmap="magma_r", vmin=0)
    figure.colorbar(drawn, ax=axes, shrink=0.7, label="% of the true class")
    if len(names) <= MOST_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.set_xlabel("found")
    axes.set_ylabel("true")
    axes.set_title(title, loc="left", fontsize=10)
    return figure


def draw_curves_of(curves: Mapping[str, Sequence[Any]], x: str, y: str, *, log: bool, zero: bool) -> Figure:
    """Draw a line by label through its points, ``place``, ``value`` and ``ends``; words are places in their order."""
    figure, (axes,) = new_figure(1, 7.0, 3.8)
    words = list(dict.fromkeys(point.place for points in curves.values() for point in points))
    named = any(isinstance(word, str) for word in words)
    at = {word: number for number, word in enumerate(words)} if named else {word: word for word in words}
    for number, (label, points) in enumerate(curves.items()):
        places = [at[point.place] + (0.08 * number if named else 0) for point in points]
        values = [point.value for point in points]
        ends = np.array([point.ends for point in points]).T
        (line,) = axes.plot(places, values, "o" if named else "o-", label=label)
        if named:
            axes.vlines(places, *ends, color=line.get_color())
        else:
            axes.fill_between(places, *ends, color=line.get_color(), alpha=0.15, linewidth=0)
    if zero:
        axes.axhline(0, color="black", linewidth=1)
    if named:
        axes.set_xticks(range(len(words)), words)
    elif log:
        axes.set_xscale("log")
        axes.set_xticks(words, [f"{word:g}" for word in words])
        axes.minorticks_off()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return figure


def draw_by_set(values: Mapping[str, Sequence[Estimate]], sets: Sequence[str], chance: float) -> Figure:
    """Draw a row a system: its value on each test set, with the 95 % interval, and the share that chance gets."""
    figure, (axes,) = new_figure(1, 7.5, 1.4 + 0.36 * len(values))
    measure = next(iter(values.values()))[0].measure
    for place, name in enumerate(sets):
        colour = SET_COLOURS[place % len(SET_COLOURS)]
        for row, estimates in enumerate(values.values()):
            one, height = estimates[place], row + 0.14 * (place - (len(sets) - 1) / 2)
            if one.ci95 is not None:
                axes.plot([measure.scale * end for end in one.ci95], [height, height], color=colour, linewidth=2)
            label = name if not row else None
            axes.plot(measure.scale * one.value, height, "o", color=colour, markersize=5, label=label)
    axes.axvline(measure.scale * chance, color="black", linestyle="--", linewidth=1, label="chance")
    axes.set_yticks(range(len(values)), values)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_xlabel(measure.label)
    axes.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside upper center", ncols=len(sets) + 1, frameon=False)
    return figure
