"""Pictures of what CTC models write where: posteriors of one test utterance, and those of two passes with dropout.

Legend: T output frames, C classes, the blank first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqkd.experiment.figures import new_figure, save_all
from seqkd.experiment.read import Experiment
from seqkd.scoring.formats import read_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from seqkd.models.ctc import CtcModel

SYSTEMS = 4  # that are drawn, beside the teacher
SECONDS = 4.0  # of the utterance, about
UNITS = 24  # that are drawn at most


@dataclass(frozen=True)
class Panel:
    """Posteriors (T, C) of one model, and the seconds of a frame."""

    label: str
    posteriors: np.ndarray
    frame: float


def posterior_sections(cfg: DictConfig, experiment: Experiment) -> list[str]:
    """The pictures, of seed 0; none where no model or no features of a test set are there."""
    models = {
        name: system.runs[0].directory / "model"
        for name, system in experiment.finished.items()
        if (system.runs[0].directory / "model" / "model.safetensors").is_file()
    }
    chosen = _chosen(experiment, models)
    name = next((one for one in experiment.test_sets if (Path(cfg.data) / one / "feats" / "done.json").is_file()), None)
    if not chosen or name is None:
        return []
    import torch

    from seqkd.data.features import FeatureStore
    from seqkd.models.ctc import load_model

    store = FeatureStore([Path(cfg.data) / name])
    utterance = min(
        sorted(store.frames), key=lambda one: abs(store.frames[one] * cfg.features.frame_shift_ms / 1000 - SECONDS)
    )
    features = store[utterance][None].float()
    panels, passes, units = [], [], ()
    for system in chosen:
        model, tokenizer = load_model(models[system])
        if model.features != store.settings:
            continue
        label, units = experiment.systems[system].label, tokenizer.units
        with torch.no_grad():
            panels.append(Panel(label, _posteriors(model, features), model.frame_shift_ms / 1000))
            if not passes and _agrees(experiment, system):
                passes = [
                    Panel(f"{label}, pass {seed + 1}", _posteriors(model, features, seed), panels[-1].frame)
                    for seed in (0, 1)
                ]
    if not panels:
        return []
    text = read_text(Path(cfg.data) / name / "text").get(utterance, "")
    drawn = {"posteriors.png": (draw(panels, units, f"“{text}”"), "Posteriors of one utterance of the test set")}
    if passes:
        title = f"“{text}”, two passes under different dropout masks"
        drawn["passes.png"] = (draw(passes, units, title), "Posteriors of two passes over one utterance")
    return ["## Posteriors", *save_all(drawn, Path(cfg.report.out).parent / "figures")]


def _chosen(experiment: Experiment, models: dict[str, Path]) -> list[str]:
    """The teacher, the last systems of those in the report (what all is about), in the report's order."""
    teacher = [name for name in models if name == experiment.task.teacher]
    others = [name for name in models if name not in teacher]
    agreeing = [name for name in others if _agrees(experiment, name)][:1]
    kept = set((agreeing + [name for name in others if name not in agreeing])[:SYSTEMS])
    return teacher + [name for name in others if name in kept]


def _agrees(experiment: Experiment, system: str) -> bool:
    """Whether two passes are to agree."""
    terms = experiment.systems[system].runs[0].config.get("objective") or {}
    return any(str(term.get("_target_")).endswith("Consistency") for term in terms.values() if isinstance(term, dict))


def _posteriors(model: CtcModel, features: object, seed: int | None = None) -> np.ndarray:
    """(T, C) of features (1, T, F); with a seed, under the dropout masks that it gives."""
    import torch

    model.eval()
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
            for layer in model.modules():
                layer.training = isinstance(layer, torch.nn.Dropout)
        output = model(features, torch.tensor([features.shape[1]]))
    return output.logits[0, : int(output.lengths[0])].softmax(-1).numpy()


def draw(panels: Sequence[Panel], units: Sequence[str], title: str) -> Figure:
    """Draw a panel a model: a row for each unit that some model finds likely somewhere, and the blank as a line."""
    likely = np.stack([panel.posteriors.max(0) for panel in panels]).max(0)
    likely[0] = 0.0
    rows = [int(unit) for unit in np.argsort(-likely)[:UNITS] if likely[unit] > 0.1]
    first = {unit: min(_first(panel, unit) for panel in panels) for unit in rows}
    rows.sort(key=lambda unit: first[unit])  # in the order in which they are written
    figure, axes = new_figure(len(panels), 7.5, 0.4 + len(panels) * (0.75 + 0.13 * len(rows)))
    for panel, axis in zip(panels, axes, strict=True):
        _draw(axis, panel, rows, [units[unit].replace("▁", "") or "␣" for unit in rows])
    axes[-1].set_xlabel("seconds; shade: probability of a unit, line: of the blank (bottom 0, top 1)")
    figure.suptitle(title, fontsize=9, x=0.02, ha="left")
    return figure


def _first(panel: Panel, unit: int) -> float:
    """When the unit's greatest posterior is, in seconds; late if it is never likely."""
    column = panel.posteriors[:, unit]
    return float(column.argmax()) * panel.frame if column.max() > 0.1 else float("inf")


def _draw(axis: Axes, panel: Panel, rows: Sequence[int], names: Sequence[str]) -> None:
    frames = len(panel.posteriors)
    extent = (0, frames * panel.frame, max(1, len(rows)) - 0.5, -0.5)
    image = panel.posteriors[:, rows].T if rows else np.zeros((1, frames))
    axis.imshow(image, aspect="auto", extent=extent, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    times = (np.arange(frames) + 0.5) * panel.frame
    height = len(rows) - 0.5 - panel.posteriors[:, 0] * len(rows)
    axis.plot(times, height, color="#D55E00", linewidth=0.8)
    axis.set_yticks(range(len(rows)), names, fontsize=6)
    axis.tick_params(axis="y", length=0)
    axis.set_title(panel.label, loc="left", fontsize=9)
