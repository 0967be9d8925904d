"""Tiny classifiers that have learned nothing, as model directories, and a set of clips to compare them on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import nn

from seqkd.classification.data import read_set
from seqkd.classification.features import ClipFeatureSettings, make_features
from seqkd.classification.model import NetworkDescription, save_classifier
from seqkd.models.packing import save_packed
from seqkd.models.quantised import quantised
from seqkd.models.reparametrised import plain

CLASSES = ("no", "yes", "stop")
RATE = 8000
FEATURES = ClipFeatureSettings(sample_rate=RATE, num_mel_bins=8, max_seconds=0.5, size=16)
SMALL: dict[str, Any] = {"widths": [8, 8], "strides": [2, 1], "hidden": 8, "dropout": 0.1}
FRAMES = SMALL | {"strides": [1, 1], "target": "frame"}
IMAGES = SMALL | {"planes": 3}
VAM = {"_target_": "seqkd.models.vam.with_vam", "groups": 4}


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """In eval mode, with numbers of no special kind everywhere: no norm is the identity, no attention is even."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.dtype == torch.float32 and value.ndim:
                noise = torch.randn(value.shape, generator=generator)
                if name.endswith("running_var") or (value.ndim == 1 and "norm" in name and name.endswith("weight")):
                    value.copy_(noise.abs() + 0.5)
                elif name.endswith("attention") or value.ndim == 1:
                    value.add_(0.3 * noise)
        mean, std = torch.full_like(model.feature_mean, 8.0), torch.full_like(model.feature_scale, 4.0)
        model.normalise(mean + torch.randn(mean.shape, generator=generator), std)
    return model.eval()


def saved(
    directory: Path,
    settings: Mapping[str, Any] = SMALL,
    *,
    network: Mapping[str, Any] | None = None,
    levels: int = 0,
    seed: int = 0,
) -> nn.Module:
    """Write a model directory, quantised and packed if ``levels`` are given; the model as it was trained."""
    features = 3 * FEATURES.size if settings.get("planes") else FEATURES.num_mel_bins
    architecture = NetworkDescription(features, CLASSES, dict(settings), dict(network or {}), asdict(FEATURES))
    torch.manual_seed(seed)
    model = shaken(architecture.build(), seed)
    if levels:
        model = quantised(model, levels=levels)
        save_classifier(directory, plain(model), architecture)
        save_packed(directory / "packed.safetensors", model)
    else:
        save_classifier(directory, model, architecture)
    return model


def tone(pitch: float, seconds: float, rate: int = RATE) -> np.ndarray:
    """(N,) a sine with a little noise, the same each time."""
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(round(pitch)).normal(size=len(times))
    return (0.3 * np.sin(2 * np.pi * pitch * times) + 0.003 * noise).astype(np.float32)


def write_clips(data: Path, name: str = "test", clips: int = 9) -> Path:
    """Write a set of tones of several lengths, one of a class that no model knows, with features."""
    directory = data / name
    directory.mkdir(parents=True)
    rows = []
    for number in range(clips):
        key = f"clip{number}"
        soundfile.write(directory / f"{key}.wav", tone(200 + 300 * number, 0.1 + 0.05 * number), RATE)
        rows.append((key, [*CLASSES, "other"][number % 4]))
    (directory / "wav.scp").write_text("".join(f"{key} {key}.wav\n" for key, _ in rows))
    (directory / "label").write_text("".join(f"{key} {label}\n" for key, label in rows))
    make_features(read_set(directory), FEATURES, 1)
    return directory
