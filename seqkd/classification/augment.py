"""Augmentation of log-mel energies: eight operations in a fixed order, each on a clip with probability p (JDA).

Joint data augmentation (Neurocomputing 2024, 10.1016/j.neucom.2024.127516; ACCV 2022, 10.1007/978-3-031-26284-5_31)
applies fixed operations in a fixed order, each independently. Its operations are of images. Chosen: these of sounds in
their place, and that they work on the energies, where they cost a tenth of what they cost on samples: a change of gain
adds a constant, noise adds power, a room smears power over time.

Everything random is drawn from torch's own generator.

Letters: B clips, T frames, F mel bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from seqkd.settings import at_least, finite, share

OPERATIONS = ("gain", "noise", "shift", "speed", "time_mask", "frequency_mask", "low_pass", "room")


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """Of `augment`.

    Attributes:
        p: probability of each operation on each clip, from 0 to 1; 0 leaves clips as they are.
        gain_db: greatest change of level, either way.
        snr_db: least ratio of a clip's mean power to that of the noise; the greatest is 20 dB more.
        shift: greatest share of the clip that it is moved by, either way.
        speed: greatest change of speed, either way.
        mask: greatest share of time, or of mel bins, that a mask hides.
        low_pass_db: attenuation of the highest bin; it rises linearly from the middle on.
        room_frames: frames in which the power of an echo falls to a tenth, at most.
    """

    p: float = 0.5
    gain_db: float = 10.0
    snr_db: float = 0.0
    shift: float = 0.1
    speed: float = 0.1
    mask: float = 0.15
    low_pass_db: float = 30.0
    room_frames: float = 20.0

    def __post_init__(self) -> None:
        share(p=self.p, shift=self.shift, speed=self.speed, mask=self.mask)
        finite(snr_db=self.snr_db)
        at_least(0, gain_db=self.gain_db, low_pass_db=self.low_pass_db, room_frames=self.room_frames)


NEPERS = 0.23025850929940458  # of power, in a decibel: ln(10) / 10


def augment(features: Tensor, lengths: Tensor, settings: AugmentSettings) -> Tensor:
    """(B, T, F) log-mel energies, changed; padding stays padding."""
    operations: tuple[Callable[[Tensor, Tensor, AugmentSettings], Tensor], ...] = (
        gain, noise, shift, speed, time_mask, frequency_mask, low_pass, room,
    )  # fmt: skip
    for operation in operations:
        chosen = torch.rand(len(features), device=features.device) < settings.p
        changed = operation(features, lengths, settings)  # all draw, so that a choice changes no other draw
        features = torch.where(chosen[:, None, None], changed, features)
    valid = torch.arange(features.shape[1], device=features.device) < lengths[:, None]
    return features.masked_fill(~valid[..., None], 0.0)


def gain(features: Tensor, lengths: Tensor, settings: AugmentSettings) -> Tensor:
    """Change the level of a clip at random."""
    return features + NEPERS * settings.gain_db * _between(features, -1, 1)


def noise(features: Tensor, lengths: Tensor, settings: AugmentSettings) -> Tensor:
    """Noise whose spectrum falls or rises linearly over the bins, in each cell as random as that of white noise."""
    power = _mean(features.exp(), lengths)
    level = power.log() - NEPERS * (settings.snr_db + 20 * _between(features, 0, 1))
    slope = _between(features, -1, 1) * torch.linspace(-1, 1, features.shape[2], device=features.device)
    ragged = torch.rand_like(features).neg_().log1p_().neg_().log_()  # exponential: the power of white noise
    return torch.logaddexp(features, level + slope + ragged)


def shift(features: Tensor, lengths: Tensor, settings: AugmentSettings) -> Tensor:
    """Earlier or later; what is uncovered repeats the edge."""
    moved = settings.shift * _between(features, -1, 1) * lengths[:, None, None]
    return _resampled(features, lengths, torch.arange(features.shape[1], device=features.device)[:, None] + moved)


def speed(features: Tensor, lengths: Tensor, settings: AugmentSettings) -> Tensor:
    """Make a clip slower or faster, around its middle."""
    middle = (lengths[:, None, None] - 1) / 2
    times = torch.arange(features.shape[1], device=features.device)[:, None] - middle
    return _resampled(features, lengths, middle + times * (1 + settings.speed * _between(features, -1, 1)))


def time_mask(features: Tensor, lengths: Tensor, settings: AugmentSettings) -> Tensor:
    """A stretch of time replaced by the clip's mean."""
    times = torch.arange(features.shape[1], device=features.device)[:, None]
    return _hidden(features, lengths, times, lengths[:, None, None], settings.mask)


def frequency_mask(features: Tensor, lengths: Tensor, settings: AugmentSettings) -> Tensor:
    """Mask a random band of frequency bins of a clip."""
    bins = torch.arange(features.shape[2], device=features.device)
    every = torch.full_like(lengths, features.shape[2])[:, None, None]
    return _hidden(features, lengths, bins, every, settings.mask)


def low_pass(features: Tensor, lengths: Tensor, settings: AugmentSettings) -> Tensor:
    """The upper half of the bins attenuated, the more the higher."""
    slope = torch.linspace(-1, 1, features.shape[2], device=features.device).clamp(min=0)
    return features - NEPERS * settings.low_pass_db * _between(features, 0, 1) * slope


def room(features: Tensor, lengths: Tensor, settings: AugmentSettings) -> Tensor:
    """Echoes: power decays exponentially after each frame."""
    if settings.room_frames == 0:
        return features
    taps = torch.arange(2 * int(settings.room_frames) + 1, device=features.device)
    decay = 2.302585 / (settings.room_frames * _between(features, 0.1, 1)[:, :, 0])  # (B, 1)
    kernel = torch.exp(-decay * taps)  # (B, K)
    kernel[:, 1:] *= 0.3
    power = functional.pad(features.exp().transpose(1, 2), (len(taps) - 1, 0))  # (B, F, T + K − 1)
    smeared = functional.conv1d(
        power.transpose(0, 1), kernel.flip(1)[:, None], groups=len(features)
    )  # clips are the channels, bins the batch
    return smeared.transpose(0, 1).transpose(1, 2).clamp(min=1e-30).log()


def _between(like: Tensor, low: float, high: float) -> Tensor:
    """(B, 1, 1) numbers from ``low`` to ``high``."""
    return low + (high - low) * torch.rand(len(like), 1, 1, device=like.device)


def _mean(values: Tensor, lengths: Tensor) -> Tensor:
    """(B, 1, 1) mean over the bins of a clip's own frames, whatever the batch has padded it to."""
    valid = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
    total = values.masked_fill(~valid[..., None], 0.0).sum((1, 2), keepdim=True)
    return total / (lengths.clamp(min=1) * values.shape[2])[:, None, None]


def _hidden(features: Tensor, lengths: Tensor, places: Tensor, size: Tensor, mask: float) -> Tensor:
    """A band of ``places`` of up to a share ``mask`` of ``size`` (B, 1, 1) replaced by the clip's mean."""
    width = mask * size * _between(features, 0, 1)
    start = (size - width) * _between(features, 0, 1)
    inside = (places + 0.5 >= start) & (places + 0.5 < start + width)  # by their middles, so that none is spared
    return torch.where(inside, _mean(features, lengths), features)


def _resampled(features: Tensor, lengths: Tensor, times: Tensor) -> Tensor:
    """Features at times (B, T, 1), in frames, linearly between frames, the edges repeated."""
    last = (lengths[:, None, None] - 1).to(features)
    times = times.to(features).clamp(min=0).minimum(last)
    before = times.floor()
    part = times - before
    first = features.shape[1] * torch.arange(len(features), device=features.device)[:, None]
    frames = features.flatten(0, 1)  # of all clips: whole frames are fetched at once
    low, high = (
        frames.index_select(0, (first + place[..., 0].long()).flatten()).view_as(features)
        for place in (before, (before + 1).minimum(last))
    )
    return low * (1 - part) + high * part
