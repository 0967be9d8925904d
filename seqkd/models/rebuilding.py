"""The settings that a network was built with, read from the network itself."""

from __future__ import annotations

from typing import Any

from seqkd.models.classifier import Classifier


def settings_of(model: Classifier) -> dict[str, Any]:
    """All arguments of `Classifier` that build a network of this shape, ``features`` and ``classes`` too."""
    return {
        "features": len(model.feature_mean),
        "classes": model.output.out_features,
        "widths": [stage.conv2.out_channels for stage in model.stages],
        "strides": [stage.stride for stage in model.stages],
        "kernel": model.stages[0].conv1.kernel_size[0],
        "hidden": model.hidden.out_features,
        "dropout": model.dropout.p,
        "target": model.target,
        "planes": 0 if model.stem is None else model.stem.planes,
    }
