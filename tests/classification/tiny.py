"""A tiny classifier whose statistics are not the trivial ones, and clips of several lengths."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqkd.classification.batches import Clips
from seqkd.classification.model import NetworkDescription
from seqkd.losses.outputs import IGNORE
from seqkd.models.classifier import Classifier

FEATURES, CLASSES = 6, 4
SETTINGS: dict[str, Any] = {"widths": [5, 4, 6], "strides": [2, 1, 2], "kernel": 3, "hidden": 7, "dropout": 0.2}
FRAME: dict[str, Any] = SETTINGS | {"strides": [1, 1, 1], "target": "frame"}


def random_model(model: Classifier, seed: int = 0) -> Classifier:
    """With random gains and biases, and the statistics of random features, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(20, 16, len(model.feature_mean), generator=generator)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm1d)]
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim == 1:
                value.copy_(torch.rand(value.shape, generator=generator) + (-0.3 if "bias" in name else 0.5))
        model.normalise(features.mean((0, 1)) + 0.2, 1.5 * features.std((0, 1)))
        for norm in norms:
            norm.momentum = 1.0
        model.train()(features, torch.full((20,), 16))
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


def tiny_model(seed: int = 0, **settings: Any) -> Classifier:
    """A classifier."""
    torch.manual_seed(seed)
    return random_model(Classifier(FEATURES, CLASSES, **SETTINGS | settings), seed)


def description(**settings: Any) -> NetworkDescription:
    """How `tiny_model` is built."""
    return NetworkDescription(FEATURES, ("a", "b", "c", "d"), SETTINGS | settings, {}, {"num_mel_bins": FEATURES})


def padded(count: int, frames: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (B, T, F), 0 where padded, and lengths from 3 on, of which one is T."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, frames + 1, (count,), generator=generator)
    lengths[0] = frames
    features = torch.randn(count, frames, FEATURES, generator=generator)
    return features.masked_fill(~(torch.arange(frames) < lengths[:, None])[..., None], 0.0), lengths


def made_clips(count: int = 9, frames: int = 11, *, by_frame: bool = False, seed: int = 0) -> Clips:
    """Clips with a class each, or one a frame."""
    features, lengths = padded(count, frames, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    targets = torch.randint(CLASSES, (count, frames if by_frame else 1), generator=generator)
    if by_frame:
        targets = targets.masked_fill(~(torch.arange(frames) < lengths[:, None]), IGNORE)
    return Clips(features, lengths, targets, torch.arange(count))
