"""A CTC acoustic model: normalisation, encoder, linear head; and its form on disk.

A saved model is a directory: ``model.safetensors``, ``model.yaml`` (how to build it) and ``tokenizer.model`` with
``tokenizer.json``. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from seqkd.data.features import FeatureSettings
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path, write_text
from seqkd.models import encoders

ENCODERS = {"conformer": encoders.conformer, "conv": encoders.convolutional}


@dataclass
class CtcOutput:
    """``logits`` (B, T', C) with blank at 0, ``lengths`` (B,), ``intermediate`` (B, T', C) of a tapped layer."""

    logits: Tensor
    lengths: Tensor
    intermediate: Tensor | None = None


class CtcModel(nn.Module):
    """Features (B, T, F) to CTC logits (B, T', C). Blank is class 0.

    ``architecture`` holds ``encoder`` ("conformer" or "conv") and that builder's keyword arguments.
    Global mean and variance normalisation is inside, so that a model carries its own statistics.
    """

    def __init__(self, architecture: dict[str, Any], features: FeatureSettings, classes: int) -> None:
        super().__init__()
        self.architecture, self.features, self.classes = dict(architecture), features, classes
        options = dict(architecture)
        kind = options.pop("encoder", None)
        if kind not in ENCODERS:
            raise ConfigError(f"model.encoder is {kind!r}; expected one of {', '.join(ENCODERS)}")
        try:
            self.encoder = ENCODERS[kind](features.num_mel_bins, **options)
        except (TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
            raise ConfigError(f"model settings for encoder {kind!r} do not fit: {error}") from error
        self.head = nn.Linear(self.encoder.norm.normalized_shape[0], classes)
        self.register_buffer("feature_mean", torch.zeros(features.num_mel_bins))
        self.register_buffer("feature_scale", torch.ones(features.num_mel_bins))

    @property
    def frame_shift_ms(self) -> float:
        """Time between two output frames."""
        return self.features.frame_shift_ms * self.encoder.subsampling.factor

    def forward(self, features: Tensor, lengths: Tensor, tap: int | None = None) -> CtcOutput:
        """``features`` (B, T, F) unnormalised, ``lengths`` (B,); ``tap`` asks for a middle layer's logits too."""
        normalised = (features - self.feature_mean) * self.feature_scale
        encoded, lengths, tapped = self.encoder(normalised, lengths, tap)
        return CtcOutput(self.head(encoded), lengths, None if tapped is None else self.head(tapped))

    def parameter_count(self) -> int:
        """Trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def save_model(directory: Path, model: CtcModel, tokenizer: Tokenizer) -> None:
    """Write a model directory; the weights come last, so a directory with weights is complete."""
    from safetensors.torch import save_file

    description = {"architecture": model.architecture, "features": asdict(model.features), "classes": model.classes}
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(directory)
    write_text(directory / "model.yaml", yaml.safe_dump(description, sort_keys=False))
    with atomic_path(directory / "model.safetensors") as path:
        save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, path)


def load_model(directory: Path) -> tuple[CtcModel, Tokenizer]:
    """Read a model directory. Raises DataError when it is incomplete or does not fit its own description."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for name in ("model.yaml", "model.safetensors"):
        if not (directory / name).is_file():
            raise DataError(f"{directory}: no {name} here; expected a model directory written by 'seqkd train'")
    tokenizer = Tokenizer.load(directory)
    try:
        description = yaml.safe_load((directory / "model.yaml").read_text(encoding="utf-8"))
        features = FeatureSettings(**description["features"])
        classes, architecture = description["classes"], description["architecture"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(
            f"{directory}/model.yaml is not a model's description ({' '.join(str(error).split())})"
        ) from error
    if len(tokenizer) != classes:
        raise DataError(
            f"{directory}: the tokenizer has {len(tokenizer)} units but the model {classes} classes; "
            "the files come from different runs, train again"
        )
    model = CtcModel(architecture, features, classes)
    try:
        model.load_state_dict(load_file(directory / "model.safetensors"))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{directory}/model.safetensors cannot be loaded ({reason}); train again") from error
    return model.eval(), tokenizer


def model_hash(directory: Path) -> str:
    """Short content hash of a model's weights: names a teacher in what was learned from it."""
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()[:16]
