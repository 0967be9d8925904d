"""Figures of classes.

Letters: C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seqkd.experiment.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def draw_lines(
    curves: dict[str, tuple[Sequence[float], Sequence[float], Sequence[tuple[float, float]]]],
    x: str,
    y: str,
    *,
    log: bool = False,
    flat: dict[str, float] | None = None,
) -> Figure:
    """Draw lines by label: places, values and 95 % intervals; and horizontal ones, ``flat``, by label."""
    figure, (axes,) = new_figure(1, 7.0, 3.8)
    for label, (places, values, ends) in curves.items():
        (line,) = axes.plot(places, values, "o-", label=label)
        low, high = zip(*ends, strict=True)
        axes.fill_between(places, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    for (label, value), dash in zip((flat or {}).items(), ("--", ":", "-."), strict=False):
        axes.axhline(value, color="black", linestyle=dash, linewidth=1, label=label)
    if log:
        axes.set_xscale("log")
        ticks = sorted({place for places, _, _ in curves.values() for place in places})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return figure
