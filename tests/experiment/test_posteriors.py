"""Pictures of posteriors: which units are drawn, in which order, and that dropout is on in passes alone."""

from __future__ import annotations

import numpy as np
import torch

from seqkd.tasks.asr.posteriors import Panel, _posteriors, draw
from tests.models.tiny_models import tiny_model


def panel(label: str, *spikes: tuple[int, int], frames: int = 12, classes: int = 6) -> Panel:
    """Blank but for spikes: (frame, unit)."""
    posteriors = np.zeros((frames, classes))
    posteriors[:, 0] = 1.0
    for frame, unit in spikes:
        posteriors[frame] = np.eye(classes)[unit]
    return Panel(label, posteriors, 0.04)


def test_units_are_drawn_in_the_order_in_which_they_are_written():
    units = ["<blank>", "▁a", "b", "▁", "c", "d"]
    figure = draw([panel("Teacher", (2, 4), (5, 1)), panel("Student", (3, 4), (8, 3))], units, "text")
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["Teacher", "Student"]
    for axis in figure.axes:
        assert [label.get_text() for label in axis.get_yticklabels()] == ["c", "a", "␣"]
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (3, 12) and shown[0, 2] == 1 and shown[1, 5] == 1 and shown.sum() == 2


def test_nothing_likely_is_an_empty_picture():
    figure = draw([panel("Teacher")], ["<blank>", *"abcde"], "text")
    assert len(figure.axes[0].get_yticklabels()) == 0


def test_dropout_is_on_in_passes_alone():
    model = tiny_model("conv", dropout=0.3)
    features = torch.randn(1, 40, model.features.num_mel_bins, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain, again, one, same, other = (_posteriors(model, features, seed) for seed in (None, None, 0, 0, 1))
    assert (plain == again).all() and (one == same).all()
    assert (plain != one).any() and (one != other).any()
