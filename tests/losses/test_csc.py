"""CSC (Sensors 2020, 10.3390/s20164616) by hand, and what must change nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses.csc import MODES, ChannelSpatial
from seqkd.losses.outputs import Features

EXAMPLES = {
    "csc": ChannelSpatial(layer="x"),
    "csc_frames_only": ChannelSpatial(layer="x", channels=0.0),
}

# F_S and F_T as (channels, frames).
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


# ---- without a direction, or a frame


def test_vectors_of_zeros_have_no_direction_and_no_gradient() -> None:
    """As rectified units often are: divided by a least length, they would get a gradient of 10¹¹."""
    ours = drawn(1, 2, 5, 3).masked_fill(torch.arange(5)[:, None] % 2 == 0, 0.0).requires_grad_()
    layer, other = Features.of(ours, torch.tensor([5, 4])), Features.of(drawn(1, 2, 5, 3, seed=1), torch.tensor([5, 4]))
    loss = ChannelSpatial(layer="x")(layer, other, None).sum()
    gradient = torch.autograd.grad(loss, ours)[0]
    assert (gradient[:, :, ::2] == 0).sum() >= 2 * 3 * 2 and gradient.abs().max() < 10
    still = torch.zeros(1, 1, 4, 3, dtype=torch.float64, requires_grad=True)
    loss = ChannelSpatial(layer="x")(
        Features.of(still, torch.tensor([4])), Features.of(other.values[:, :1, :4], torch.tensor([4])), None
    )
    assert torch.autograd.grad(loss.sum(), still)[0].abs().max() == 0


def test_an_item_without_frames_costs_nothing() -> None:
    ours = drawn(1, 2, 4, 3).requires_grad_()
    lengths = torch.tensor([0, 4])
    for mode in MODES:
        term = ChannelSpatial(layer="x", mode=mode)
        found = term(Features.of(ours, lengths), Features.of(drawn(1, 2, 4, 3, seed=1), lengths), None)
        assert found[0] == 0 and found[1] > 0
        assert torch.autograd.grad(found.sum(), ours)[0].isfinite().all()


# ---- joint, and fewer frames


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_frames_and_channels_together_by_hand() -> None:
    term, student = ChannelSpatial(layer="x", mode="joint"), features(STUDENT)
    student.values.requires_grad_()
    loss = term(student, features(TEACHER), None).sum()
    assert loss.item() == pytest.approx(57)
    gradient = torch.autograd.grad(loss, student.values)[0][0, 0].T
    assert gradient.flatten().tolist() == pytest.approx([20, 56, -8, -8, 20, 28])


def test_frames_and_channels_together_written_out() -> None:
    ours, theirs = drawn(2, 3, 5, 4), drawn(1, 3, 5, 4, seed=1)
    lengths = torch.tensor([5, 3, 1])
    layers = Features.of(ours, lengths), Features.of(theirs, lengths)
    x, y = (one.values.flatten(2) for one in layers)
    outer = lambda v: v[..., None] * v[..., None, :]  # noqa: E731
    expected = (outer(x) - outer(y)).square().sum((-2, -1)).mean(0)
    torch.testing.assert_close(ChannelSpatial(layer="x", mode="joint")(*layers, None), expected)
    near = Features.of(theirs.float() * (1 + 1e-5), lengths), Features.of(theirs.float(), lengths)
    found = ChannelSpatial(layer="x", mode="joint")(*near, None)  # of large numbers that differ in their last digits
    small = (2e-5 * layers[1].values.flatten(2).square().sum(-1)).square()[0]
    torch.testing.assert_close(found.double(), small, rtol=0.05, atol=0)


def test_every_second_frame_is_the_layer_of_those_frames() -> None:
    ours, theirs, lengths = drawn(1, 2, 7, 3), drawn(1, 2, 7, 3, seed=1), torch.tensor([7, 4])
    term = ChannelSpatial(layer="x", channels=0.0, stride=2)
    found = term(Features.of(ours, lengths), Features.of(theirs, lengths), None)
    fewer = [Features.of(one[:, :, ::2], torch.tensor([4, 2])) for one in (ours, theirs)]
    torch.testing.assert_close(found, ChannelSpatial(layer="x", channels=0.0)(*fewer, None))


def test_settings_and_layers_that_do_not_fit() -> None:
    for options, said in (
        ({"mode": "both"}, "mode is 'both'; expected one of apart, joint"),
        ({"stride": 0}, "stride is 0; expected at least 1"),
        ({"stride": 1.5}, "stride is 1.5; expected a whole number, at least 1"),
        ({"mode": "joint", "stride": 2}, "stride is 2; expected 1 where mode is joint"),
    ):
        with pytest.raises(ConfigError, match=said):
            ChannelSpatial(layer="x", **options)
    with pytest.raises(ValueError, match="the layers have 3 and 2 frames"):
        value(STUDENT, TEACHER[:, :2], 0.0)
    with pytest.raises(ValueError, match="the layers have 2 and 4 features"):
        ChannelSpatial(layer="x", mode="joint")(features(STUDENT), features(torch.cat([TEACHER, TEACHER])), None)
