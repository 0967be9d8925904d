"""A CTC acoustic model: normalisation, encoder, linear head; and its form on disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqkd.data.features import FeatureSettings
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError
from seqkd.models import encoders
from seqkd.models.decoders import TransformerDecoder
from seqkd.models.layers import valid_frames
from seqkd.models.storage import not_a_description, read_description, read_weights, write_model

ENCODERS = {"conformer": encoders.conformer, "conv": encoders.convolutional}


@dataclass
class CtcOutput:
    """``logits`` (B, T', C) with blank at 0, ``lengths`` (B,), the encoder's ``states`` (B, T', D).

    ``intermediate`` (B, T', C) are the logits of a tapped layer.
    """

    logits: Tensor
    lengths: Tensor
    states: Tensor
    intermediate: Tensor | None = None


class CtcModel(nn.Module):
    """Features (B, T, F) to CTC logits (B, T', C). Blank is class 0.

    ``architecture`` holds ``encoder`` ("conformer" or "conv") and that builder's keyword arguments; and maybe
    ``decoder_layers``, of an attention decoder that helps to train the encoder and has no part in decoding
    (joint CTC/attention, Kim et al. 2017, arXiv:1609.06773).
    Global mean and variance normalisation is inside, so that a model carries its own statistics.
    """

    def __init__(self, architecture: dict[str, Any], features: FeatureSettings, classes: int) -> None:
        super().__init__()
        self.architecture, self.features, self.classes = dict(architecture), features, classes
        options = dict(architecture)
        kind, decoder_layers = options.pop("encoder", None), options.pop("decoder_layers", 0)
        if kind not in ENCODERS:
            raise ConfigError(f"model.encoder is {kind!r}; expected one of {', '.join(ENCODERS)}")
        try:
            self.encoder = ENCODERS[kind](features.num_mel_bins, **options)
            width = self.encoder.norm.normalized_shape[0]
            if decoder_layers:
                self.embedding = nn.Embedding(classes, width)
                self.decoder = TransformerDecoder(width, decoder_layers, 4, options["hidden"], options["dropout"])
                self.decoder_head = nn.Linear(width, classes)
        except (TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
            raise ConfigError(f"model settings for encoder {kind!r} do not fit: {error}") from error
        self.head = nn.Linear(width, classes)
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
        return CtcOutput(self.head(encoded), lengths, encoded, None if tapped is None else self.head(tapped))

    def attend(self, output: CtcOutput, inputs: Tensor) -> Tensor:
        """Logits (B, S, C) of the attention decoder; ``inputs`` (B, S) are a boundary (class 0) and the units."""
        memory = self.decoder.remember(output.states, valid_frames(output.lengths, output.states.shape[1]))
        return self.decoder_head(self.decoder(self.embedding(inputs), memory)[0])

    def parameter_count(self) -> int:
        """Trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def save_model(directory: Path, model: CtcModel, tokenizer: Tokenizer) -> None:
    """Write a model directory."""
    description = {"architecture": model.architecture, "features": asdict(model.features), "classes": model.classes}
    write_model(directory, model, description, tokenizer)


def load_model(directory: Path) -> tuple[CtcModel, Tokenizer]:
    """Read a model directory. Raises DataError when it is incomplete or does not fit its own description."""
    description, tokenizer = read_description(directory)
    try:
        features, architecture = FeatureSettings(**description["features"]), description["architecture"]
    except (KeyError, TypeError) as error:
        raise not_a_description(directory, error) from error
    model = CtcModel(architecture, features, description["classes"])
    read_weights(directory, model)
    return model.eval(), tokenizer
