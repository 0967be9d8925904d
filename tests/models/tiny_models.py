"""Small models of every kind, with random weights."""

from __future__ import annotations

from typing import Any

import torch

from seqkd.data.features import FeatureSettings
from seqkd.models.ctc import CtcModel

BINS, CLASSES = 12, 7
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "conformer": {
        "encoder": "conformer",
        **{"width": 16, "layers": 2, "heads": 2, "hidden": 24, "kernel": 5, "subsampling_channels": 4},
    },
    "conv": {"encoder": "conv", "width": 16, "layers": 2, "hidden": 24, "kernel": 5, "subsampling_channels": 4},
    "lookahead_conv": {
        "encoder": "lookahead_conv",
        **{"width": 16, "layers": 2, "hidden": 24, "kernel": 5, "subsampling_channels": 4, "lookahead": 1},
    },
    "chunk_conformer": {
        "encoder": "chunk_conformer",
        **{"width": 16, "layers": 2, "heads": 2, "hidden": 24, "kernel": 5, "subsampling_channels": 4},
        **{"chunk": 3, "left": 4, "train_chunks": [3]},
    },
}
ARCHITECTURES["within_chunks"] = {**ARCHITECTURES["chunk_conformer"], "convolution": "chunk"}


def tiny_model(kind: str, dropout: float = 0.0, seed: int = 0) -> CtcModel:
    """A model whose statistics and biases are not the trivial ones."""
    torch.manual_seed(seed)
    features = FeatureSettings(sample_rate=8000, num_mel_bins=BINS)
    model = CtcModel({**ARCHITECTURES[kind], "dropout": dropout}, features, CLASSES)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=0.3, std=0.2)
    model.feature_mean.copy_(torch.randn(BINS))
    model.feature_scale.copy_(torch.rand(BINS) + 0.5)
    return model
