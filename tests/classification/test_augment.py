"""Each operation does what it claims on an example that can be reckoned by hand; padding and choices change nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seqkd.classification import augment as module
from seqkd.classification.augment import OPERATIONS, AugmentSettings, augment
from seqkd.errors import ConfigError

SETTINGS = AugmentSettings()
LENGTHS = torch.tensor([20, 13, 1, 20])


def batch(seed: int = 0, frames: int = 20, bins: int = 8) -> Tensor:
    """(4, T, F) log energies, 0 where padded."""
    features = 3 * torch.randn(4, frames, bins, generator=torch.Generator().manual_seed(seed)) - 4
    return features.masked_fill(~(torch.arange(frames) < LENGTHS[:, None])[..., None], 0.0)


def changed(operation: str, features: Tensor, seed: int = 1, lengths: Tensor = LENGTHS, **settings: float) -> Tensor:
    torch.manual_seed(seed)
    return getattr(module, operation)(features, lengths, replace(SETTINGS, **settings))


def padding_of(features: Tensor, lengths: Tensor = LENGTHS) -> Tensor:
    return features[~(torch.arange(features.shape[1]) < lengths[:, None])]


def test_with_p_0_clips_are_as_they_were() -> None:
    assert augment(batch(), LENGTHS, replace(SETTINGS, p=0.0)).equal(batch())


def test_padding_stays_0_and_what_stands_in_it_changes_nothing() -> None:
    settings = replace(SETTINGS, p=1.0)
    torch.manual_seed(2)
    expected = augment(batch(), LENGTHS, settings)
    assert expected.isfinite().all() and (padding_of(expected) == 0).all() and not expected.equal(batch())
    torch.manual_seed(2)
    padded = batch().masked_fill((batch() == 0), 99.0)
    torch.testing.assert_close(augment(padded, LENGTHS, settings), expected)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_longer_batch_changes_no_clip(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise draws a number a cell, so that it is here the same in each."""
    monkeypatch.setattr(torch, "rand_like", lambda like: torch.full_like(like, 0.3))
    longer = torch.cat([batch(), torch.zeros(4, 7, 8)], 1)
    valid = torch.arange(20) < LENGTHS[:, None]
    one, other = changed(operation, batch()), changed(operation, longer)[:, :20]
    torch.testing.assert_close(other[valid], one[valid])


def test_all_is_reproducible_by_torchs_seed() -> None:
    def found(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return augment(batch(), LENGTHS, SETTINGS)

    assert found(3).equal(found(3)) and not found(3).equal(found(4))


def test_a_choice_changes_no_other_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation draws the same, whichever clips the others were chosen for."""
    drawn: list[Tensor] = []
    monkeypatch.setattr(module, "room", lambda features, *_: (drawn.append(torch.rand(5)), features)[1])
    for p in (0.0, 0.5, 1.0):
        torch.manual_seed(5)
        augment(batch(), LENGTHS, replace(SETTINGS, p=p))
    assert drawn[0].equal(drawn[1]) and drawn[0].equal(drawn[2])


def test_each_is_on_a_clip_with_probability_p(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations that each add a digit: all sixteen-bit patterns of choices come out, each as often as it should."""
    for place, name in enumerate(OPERATIONS):
        monkeypatch.setattr(module, name, lambda features, *_, place=place: features + 2.0**place)
    clips = 4000
    torch.manual_seed(0)
    found = augment(torch.zeros(clips, 1, 1), torch.ones(clips, dtype=torch.long), replace(SETTINGS, p=0.3))
    bits = found[:, 0].long() >> torch.arange(len(OPERATIONS)) & 1  # (N, 8)
    assert bits.double().mean(0).tolist() == pytest.approx([0.3] * 8, abs=0.03)
    assert float((bits[:, 0] & bits[:, 7]).double().mean()) == pytest.approx(0.09, abs=0.02)  # independently


# ---- one by one


def test_gain_adds_a_constant_of_at_most_so_many_decibels() -> None:
    added = changed("gain", torch.zeros(500, 3, 2), lengths=torch.full((500,), 3), gain_db=6.0)
    assert (added == added[:, :1, :1]).all()
    most = 6.0 * math.log(10) / 10
    assert added.abs().max() <= most and added.max() > 0.9 * most and added.min() < -0.9 * most
    assert changed("gain", batch(), gain_db=0.0).equal(batch())


def test_noise_has_the_power_that_the_ratio_gives_it() -> None:
    """Of silence beside one loud frame, the noise is all that is left."""
    clips, frames, bins = 300, 50, 16
    features = torch.full((clips, frames, bins), -60.0)
    features[:, 0] = 0.0  # mean power 1 / 50
    lengths = torch.full((clips,), frames)
    power = changed("noise", features, lengths=lengths, snr_db=10.0)[:, 1:].exp()
    ratios = -10 * torch.log10(power.mean((1, 2)) * frames)  # of the clip's mean power to the noise
    # The spectrum's slope of up to ±1 adds up to 1.18 of power: sinh(1) / 1, 0.7 dB.
    assert ratios.min() > 10 - 1.2 and ratios.max() < 30 + 0.5
    assert ratios.min() < 12 and ratios.max() > 28
    assert (changed("noise", batch()) >= batch() - 1e-6).all()  # only adds
    tilt = power.mean(1).log()  # (B, F)
    slopes = tilt[:, -1] - tilt[:, 0]
    assert slopes.min() < -1 and slopes.max() > 1  # falls or rises over the bins


def impulse(at: int, frames: int = 41) -> Tensor:
    features = torch.zeros(200, frames, 1)
    features[:, at] = 1.0
    return features


def test_shift_moves_by_a_share_of_the_clip() -> None:
    moved = changed("shift", impulse(20), lengths=torch.full((200,), 41), shift=0.2)
    torch.testing.assert_close(moved.sum((1, 2)), torch.ones(200))  # between two frames, shared by both
    centres = (moved[..., 0] * torch.arange(41)).sum(1)
    assert (centres - 20).abs().max() <= 0.2 * 41 + 1e-4
    assert centres.max() > 27 and centres.min() < 13
    ramp = torch.arange(41.0)[None, :, None].expand(200, -1, -1)
    moved = changed("shift", ramp, lengths=torch.full((200,), 41), shift=0.2)
    assert moved.min() >= 0 and moved.max() <= 40  # the edges repeat
    torch.testing.assert_close(moved[:, 20, 0], 40 - centres, rtol=0, atol=1e-3)  # the same draws


def test_speed_stretches_around_the_middle() -> None:
    ramp = torch.arange(41.0)[None, :, None].expand(200, -1, -1)
    found = changed("speed", ramp, lengths=torch.full((200,), 41), speed=0.1)[..., 0]
    torch.testing.assert_close(found[:, 20], torch.full((200,), 20.0))
    rate = found[:, 25] - found[:, 24]
    assert 0.9 <= rate.min() < 0.92 and 1.08 < rate.max() <= 1.1001
    torch.testing.assert_close(found[:, 21] - found[:, 20], rate)


@pytest.mark.parametrize(("operation", "axis", "size"), [("time_mask", 1, 40), ("frequency_mask", 2, 20)])
def test_masks_are_bands_of_at_most_their_share(operation: str, axis: int, size: int) -> None:
    torch.manual_seed(0)
    features, lengths = torch.randn(300, 40, 20), torch.full((300,), 40)
    found = changed(operation, features, lengths=lengths, mask=0.25)
    hidden = found != features
    bands = hidden.all(3 - axis)  # (B, places)
    assert bands.equal(hidden.any(3 - axis))  # whole frames, or whole bins
    widths = bands.sum(1)
    assert widths.max() in (size // 4, size // 4 - 1, size // 4 + 1) and widths.min() == 0
    assert (bands.long().diff(dim=1).clamp(min=0).sum(1) + bands[:, 0] <= 1).all()  # one stretch
    assert bands.any(0).all()  # anywhere
    mean = features.mean((1, 2), keepdim=True).expand_as(features)
    torch.testing.assert_close(found[hidden], mean[hidden])


def test_masks_of_a_padded_clip_lie_in_it() -> None:
    lengths = torch.full((300,), 8)
    features = torch.randn(300, 40, 4)
    hidden = changed("time_mask", features, lengths=lengths, mask=1.0) != features
    assert hidden[:, :8].any(0).all() and not hidden[:, 8:].any()


def test_low_pass_leaves_the_lower_half() -> None:
    found = changed("low_pass", torch.zeros(200, 2, 9), lengths=torch.full((200,), 2), low_pass_db=20.0)
    assert (found[..., :5] == 0).all() and (found[:, 0] == found[:, 1]).all()
    top = found[:, 0, 8]
    assert -20 * math.log(10) / 10 <= top.min() < -4.0 and top.max() <= 0
    torch.testing.assert_close(found[:, 0, 5:], top[:, None] * torch.tensor([0.25, 0.5, 0.75, 1.0]))


def test_a_room_adds_echoes_that_decay_and_nothing_before_the_sound() -> None:
    features = torch.full((100, 60, 2), -50.0)
    features[:, 15, 0] = 0.0
    found = changed("room", features, lengths=torch.full((100,), 60), room_frames=10.0)
    torch.testing.assert_close(found[:, :15], features[:, :15], rtol=0, atol=1.3)  # silence has its own echo
    torch.testing.assert_close(found[:, 15, 0], torch.zeros(100))
    torch.testing.assert_close(found[..., 1], features[..., 1], rtol=0, atol=1.3)  # the other bin
    echo = found[:, 16:30, 0]
    fall = echo[:, :1] - echo[:, 1:2]  # nepers a frame
    least, most = math.log(10) / 10, math.log(10)  # to a tenth in 10 frames; or in one
    assert least - 1e-3 <= fall.min() < 1.3 * least and most / 2 < fall.max() <= most + 1e-3
    torch.testing.assert_close(echo[:, 0], math.log(0.3) - fall[:, 0], rtol=1e-3, atol=1e-3)
    slow = fall[:, 0] < 0.5
    torch.testing.assert_close(echo[slow, 9], echo[slow, 0] - 9 * fall[slow, 0], rtol=1e-3, atol=1e-3)
    assert changed("room", batch(), room_frames=0.0).equal(batch())


@pytest.mark.parametrize("name", ["p", "shift", "speed", "mask"])
def test_shares_are_from_0_to_1(name: str) -> None:
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match=rf"^{name} is {value}; expected from 0 to 1"):
            AugmentSettings(**{name: value})


@pytest.mark.parametrize("name", ["gain_db", "low_pass_db", "room_frames"])
def test_sizes_are_at_least_0(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} is -1; expected at least 0"):
        AugmentSettings(**{name: -1})
