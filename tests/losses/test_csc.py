"""CSC by hand, and what must change nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqkd.losses.csc import ChannelSpatial
from seqkd.losses.outputs import Features

EXAMPLES = {"csc": ChannelSpatial(layer="x"), "csc_frames_only": ChannelSpatial(layer="x", channels=0.0)}

# methods.md: F_S and F_T as (channels, frames).
STUDENT, TEACHER = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]), torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])


def features(channels_by_frames: Tensor, padding: int = 0) -> Features:
    values = torch.nn.functional.pad(channels_by_frames.T.double(), (0, 0, 0, padding))[None, None]  # (1, 1, T, D)
    frames = channels_by_frames.shape[1]
    return Features(values, torch.tensor([frames]), torch.arange(frames + padding)[None] < frames)


def value(student: Tensor, teacher: Tensor, channels: float, padding: int = 0) -> float:
    term = ChannelSpatial(layer="x", channels=channels)
    return term(features(student, padding), features(teacher, padding), None).item()


def test_by_hand() -> None:
    spatial = value(STUDENT, TEACHER, 0.0)
    assert spatial == pytest.approx(0.1633531, abs=1e-7)
    assert value(STUDENT, TEACHER, 1.0) - spatial == pytest.approx(0.00877223, abs=1e-7)
    assert value(STUDENT, TEACHER, 3.0) - spatial == pytest.approx(3 * 0.00877223, abs=1e-7)


def test_a_padded_frame_does_not_count() -> None:
    # Counted in the divisor it would give 9/16 of the value: .09188612.
    assert value(STUDENT, TEACHER, 1.0, padding=1) == pytest.approx(value(STUDENT, TEACHER, 1.0))


def test_equal_features_cost_nothing() -> None:
    assert value(TEACHER, TEACHER, 1.0) == 0.0


def test_the_order_of_frames_and_the_scale_of_the_student_change_nothing() -> None:
    order = torch.tensor([2, 0, 1])
    expected = pytest.approx(value(STUDENT, TEACHER, 1.0))
    assert value(STUDENT[:, order], TEACHER[:, order], 1.0) == expected
    assert value(7 * STUDENT, TEACHER, 1.0) == expected
    assert value(STUDENT[:, order], TEACHER, 1.0) != expected


def test_rotating_channels_changes_their_term_alone() -> None:
    angle = torch.tensor(0.4)
    rotation = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    assert value(rotation @ STUDENT, TEACHER, 0.0) == pytest.approx(value(STUDENT, TEACHER, 0.0), abs=1e-6)
    assert value(rotation @ STUDENT, TEACHER, 1.0) != pytest.approx(value(STUDENT, TEACHER, 1.0), abs=1e-3)


def test_channels_of_different_widths_are_refused() -> None:
    wide = torch.cat([TEACHER, TEACHER])
    with pytest.raises(ValueError, match="the layers have 2 and 4 features, whose pairs cannot be compared"):
        value(STUDENT, wide, 1.0)
    assert value(STUDENT, wide, 0.0) == pytest.approx(value(STUDENT, TEACHER, 0.0))
