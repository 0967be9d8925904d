"""Figures that only the report of shots has, by matplotlib, which is imported only inside functions.

Legend: T seconds, C shot classes.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqkd.shots.classes import SHOTS
from seqkd.shots.data import frame_classes, read_songs
from seqkd.shots.decoding import read_decoded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from seqkd.experiment.read import Experiment

# Okabe and Ito's colours, which colour-blind readers can tell apart; a shot each.
COLOURS = ("#D55E00", "#E69F00", "#F0E442", "#009E73", "#56B4E9", "#0072B2", "#CC79A7", "#4D4D4D")
_STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def draw_rounds(experiment: Experiment) -> Figure | None:
    """Draw the dev error of student, teacher and assistants over rounds: thin lines the seeds, thick lines their means,

    as far as every seed went.
    """
    dil = experiment.finished.get("dil")
    histories = [run.summary["rounds"] for run in dil.runs] if dil else []
    if not any(len(rounds) > 1 for rounds in histories):
        return None
    figure, (axes,) = _new(7.5, 3.6)
    parts = {
        "student": ("Student", "#0072B2", "-"),
        "teacher": ("Teacher", "#D55E00", "-"),
        "assistant_1s": ("Assistant, 1 s", "#7F7F7F", "-"),
        "assistant_2s": ("Assistant, 2 s frames", "#7F7F7F", "--"),
        "assistant_4s": ("Assistant, 4 s frames", "#7F7F7F", ":"),
    }
    longest = max(map(len, histories))
    for part, (label, colour, dash) in parts.items():
        table = np.full((len(histories), longest), np.nan)
        for row, rounds in zip(table, histories, strict=True):
            row[: len(rounds)] = [100 * one.get(part, np.nan) for one in rounds]
        if part in ("student", "teacher"):
            axes.plot(range(longest), table.T, color=colour, linewidth=0.7, alpha=0.4)
        there = ~np.isnan(table).any(0)  # a mean over those alone that went on would be of other seeds
        axes.plot(
            np.flatnonzero(there),
            table[:, there].mean(0),
            color=colour,
            linestyle=dash,
            linewidth=2,
            marker="o",
            label=label,
        )
    axes.set_xticks(range(longest))
    axes.set_xlabel("round; 0 is plain distillation")
    axes.set_ylabel("dev error %")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def draw_song(cfg: DictConfig, experiment: Experiment) -> Figure | None:
    """Draw one test song: the true shots, the best student's shots, and its probabilities."""
    for name in ("dil", "student_kd", "student"):
        if name in experiment.finished:
            break
    else:
        return None
    system, test = experiment.finished[name], cfg.sets.test[0]
    decoded = read_decoded(system.runs[0].directory / f"decode_{test}")
    song = next(song for song in read_songs(Path(cfg.data) / test) if song.id in decoded)
    found = decoded[song.id]
    figure, (truth, shots, probabilities) = _new(9.0, 3.8, rows=(1, 1, 4))
    _strip(truth, frame_classes(song.shots, len(found.shots)), "truth")
    _strip(shots, found.shots, "student")
    probabilities.stackplot(np.arange(len(found.shots)) + 0.5, found.posteriors.T, colors=COLOURS, linewidth=0)
    probabilities.set(xlim=(0, len(found.shots)), ylim=(0, 1), xlabel=f"{song.id}, seconds", ylabel="probability")
    from matplotlib.patches import Patch

    keys = [Patch(color=colour, label=kind) for kind, colour in zip(SHOTS, COLOURS, strict=True)]
    figure.legend(handles=keys, loc="outside right upper", frameon=False)
    return figure


def _strip(axes: Axes, classes: np.ndarray, label: str) -> None:
    """Draw a sequence of shots as blocks of colour."""
    edges = np.flatnonzero(np.diff(classes, prepend=-1, append=-1))
    for start, end in itertools.pairwise(edges):
        kind = classes[start]
        axes.axvspan(start, end, color=COLOURS[kind], linewidth=0)
        if end - start > 3:
            dark = kind in (5, 7)
            axes.text((start + end) / 2, 0.5, SHOTS[kind], ha="center", va="center", fontsize=6,
                      color="white" if dark else "black")  # fmt: skip
    axes.set(xlim=(0, len(classes)), ylim=(0, 1), xticks=[], yticks=[])
    axes.set_ylabel(label, rotation=0, ha="right", va="center")


def _new(width: float, height: float, rows: tuple[int, ...] = (1,)) -> tuple[Figure, list[Axes]]:
    # Without pyplot there is no global state: no backend to choose, no window, nothing to close.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.add_gridspec(len(rows), 1, height_ratios=rows)
        return figure, [figure.add_subplot(grid[row]) for row in range(len(rows))]
