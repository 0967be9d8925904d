"""What terms on features share: means over valid frames, unit vectors, and the class of each sample.

Letters: P passes, B items, T frames, D features, N samples.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.ctc.frames import at_least_float32
from seqkd.ctc.transforms import readable
from seqkd.errors import ConfigError
from seqkd.losses.outputs import IGNORE, Features, Labels, Outputs


def as_features(layer: Features | Outputs) -> Features:
    """A layer as features, float32 at least; outputs are features too, D their classes."""
    if isinstance(layer, Outputs):
        layer = Features.of(layer.logits, layer.lengths)
    return Features(at_least_float32(layer.values), layer.lengths, layer.mask)


def pooled(values: Tensor, mask: Tensor) -> Tensor:
    """Average values (P, B, T, D), 0 on padded frames, over the valid frames: (P, B, D), 0 if there are none."""
    return values.sum(2) / mask.sum(1).clamp(min=1)[:, None]


def unit(x: Tensor) -> Tensor:
    """Divide vectors (..., D) by their length.

    A vector of zeros stays one, and gets no gradient: it has no direction.
    """
    squared = x.square().sum(-1, keepdim=True)
    zero = squared == 0
    # Both are filled: 0 times the infinite slope of the root would be NaN.
    return x.masked_fill(zero, 0.0) * squared.masked_fill(zero, 1.0).rsqrt()


def samples(layer: Features | Outputs, labels: Labels) -> tuple[Tensor, Tensor]:
    """The labelled samples of a batch: ``(values (P, N, D), classes (N,))``.

    With one label an item a sample is an item, the mean over its valid frames; with one label a frame it is a frame.

    Raises:
        ConfigError: there are neither, as beside CTC.
        ValueError: a target below 0 that is not -100.
    """
    features = as_features(layer)
    frames, width = features.values.shape[2], labels.targets.shape[1]
    if width not in (1, frames):
        raise ConfigError(
            f"the labels are {width} wide and layer has {frames} frames; expected one class an item, or one a frame: a "
            "transcript does not class samples"
        )
    targets = labels.positions(width).to(features.values.device)
    valid = targets != IGNORE
    wrong = valid & (targets < 0)
    if readable(wrong) and wrong.any():
        item, position = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"item {item}: target {int(targets[item, position])} at position {position} is no class; expected one from "
            f"0 on, or {IGNORE} for none"
        )
    if width == 1:
        return pooled(features.values, features.mask)[:, valid[:, 0]], targets[:, 0][valid[:, 0]]
    valid = valid & features.mask
    return features.values[:, valid], targets[valid]
