"""What the report shows of mixtures of experts (HME): the entropy of their choices over training, and the tree.

Letters: L block layers, C classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.classification.model import load_classifier
from seqkd.experiment.figures import curves_of, draw_curves, new_figure, save_all
from seqkd.experiment.parts import table
from seqkd.models.hme import BlockTree, HmeClassifier
from seqkd.tasks.classification.work import model_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from seqkd.experiment.read import Experiment


def sections(experiment: Experiment, names: Sequence[str], figures: Path) -> list[str]:
    """Return the section, empty where no such network was trained; ``names`` are those of the classes."""
    curves = curves_of(experiment, lambda row: row.get("entropy"))
    if not curves:
        return []
    figure, axes = new_figure(1, 7.5, 4.0)
    draw_curves(experiment, axes[0], curves, labels=True)
    axes[0].set_ylabel("entropy of the choice of parents, nats")
    rows = [
        [experiment.finished[name].label, *(f"{values[:, place].mean():.3f}" for place in (0, len(steps) // 2, -1))]
        for name, (steps, values) in curves.items()
    ]
    drawn = {"experts.png": (figure, "Entropy of the choice of parents during training")}
    last = list(curves)[-1]
    model, _ = load_classifier(model_folder(experiment.finished[last].runs[0].directory), own=True)
    if isinstance(model, HmeClassifier):
        label = experiment.finished[last].label
        drawn["tree.png"] = (draw_tree(model.tree(), names, label), f"The tree of classes of {label}")
    return [
        "## Mixtures of experts: how sub-tasks part",
        "Claim: KD resolves conflicts between sub-tasks: the entropy of the choice of parents falls faster under it "
        "than under cross-entropy or smoothing. Part of the fall is the schedule's own, the same for all.",
        table(["System", "Entropy at the first look, nats", "half way", "at the end"], rows),
        *save_all(drawn, figures),
    ]


def draw_tree(tree: BlockTree, names: Sequence[str], title: str) -> Figure:
    """Draw the blocks of each layer, the most probable parent of each, and the classes below the last."""
    below: dict[int, list[str]] = defaultdict(list)
    paths = tree.paths()
    for name, path in zip(names, paths, strict=True):
        below[path[-1]].append(name)
    leaves = sorted(below, key=lambda leaf: next(path for path in paths if path[-1] == leaf))
    place = {leaf: float(number) for number, leaf in enumerate(leaves)}
    depth = len(paths[0])
    most = max(map(len, below.values()))
    figure, (axes,) = new_figure(1, max(5.0, 1.15 * len(leaves)), 1.6 + 0.6 * depth + 0.16 * most)
    at: dict[tuple[int, ...], float] = {}
    for level in range(depth, 0, -1):
        for branch in dict.fromkeys(path[:level] for path in paths):
            inside = [place[path[-1]] for path in paths if path[:level] == branch]
            at[branch] = sum(set(inside)) / len(set(inside))
    root = sum(place.values()) / len(place)
    for branch, x in at.items():
        level = len(branch)
        parent = at[branch[:-1]] if level > 1 else root
        axes.plot([parent, x], [-level + 1, -level], color="#0072B2", linewidth=1)
        axes.plot(x, -level, "s", color="#0072B2", markersize=5)
    for leaf, members in below.items():
        axes.text(place[leaf], -depth - 0.25, "\n".join(members), ha="center", va="top", fontsize=7)
    axes.set_ylim(-depth - 0.4 - 0.27 * most, 0.3)
    axes.set_xlim(-0.6, len(leaves) - 0.4)
    axes.set_axis_off()
    axes.set_title(title, loc="left", fontsize=10)
    return figure
