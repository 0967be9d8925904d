"""A CTC acoustic model: normalisation, encoder, linear head; and its form on disk."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqkd.data.features import FeatureSettings
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError
from seqkd.models import encoders, streaming
from seqkd.models.decoders import TransformerDecoder
from seqkd.models.layers import valid_frames
from seqkd.models.storage import not_a_description, read_description, read_weights, write_model

ENCODERS = {
    "conformer": encoders.conformer,
    "conv": encoders.convolutional,
    "chunk_conformer": streaming.chunk_conformer,
    "lookahead_conv": streaming.lookahead_convolutional,
}


@dataclass
class CtcOutput:
    """``logits`` (B, T', C) with blank at 0, ``lengths`` (B,), the encoder's ``states`` (B, T', D).

    ``layers``: what else was asked for, by name: logits (B, T', C) or features (B, T', D).
    """

    logits: Tensor
    lengths: Tensor
    states: Tensor
    layers: dict[str, Tensor] = field(default_factory=dict)


class CtcModel(nn.Module):
    """Features (B, T, F) to CTC logits (B, T', C). Blank is class 0.

    ``architecture`` holds ``encoder``, one of `ENCODERS`, and that builder's keyword arguments; and maybe
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

    def forward(self, features: Tensor, lengths: Tensor, layers: Collection[str] = ()) -> CtcOutput:
        """``features`` (B, T, F) unnormalised, ``lengths`` (B,).

        ``layers`` asks for more: "3" for the CTC logits of block 3, by the model's one head, "block3" for its features,
        "states" for the encoder's. Raises ConfigError for a block that there is not.
        """
        normalised = (features - self.feature_mean) * self.feature_scale
        blocks = {name: self.block_of(name) for name in layers if name != "states"}
        encoded, lengths, inner = self.encoder(normalised, lengths, set(blocks.values()))
        found = {name: self.head(inner[k]) if name.isdecimal() else inner[k] for name, k in blocks.items()}
        found |= {"states": encoded} if "states" in layers else {}
        return CtcOutput(self.head(encoded), lengths, encoded, found)

    @property
    def streams(self) -> bool:
        """Whether there is `step`."""
        return isinstance(self.encoder, streaming.StreamingEncoder)

    def state(self, batch: int = 1) -> dict[str, Tensor]:
        """What the first `step` of ``batch`` utterances is given; see `seqkd.models.streaming.StreamingEncoder`."""
        return self.encoder.state(batch, len(self.feature_mean))

    def step(self, features: Tensor, lengths: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The logits (B, n, C) of the next features (B, 4n, F), unnormalised, and the new state.

        ``lengths`` (B,) are the features that belong to the utterances; fewer than 4n only at the end. Outputs come
        ``encoder.delay`` frames late. What is beyond the features that belong may be anything.
        """
        normalised = (features - self.feature_mean) * self.feature_scale
        encoded, state = self.encoder.step(normalised, lengths, state)
        return self.head(encoded), state

    def block_of(self, layer: str) -> int:
        """The number of the block that a layer's name stands for."""
        number, count = layer.removeprefix("block"), len(self.encoder.blocks)
        if not (number.isdecimal() and 1 <= int(number) <= count):
            raise ConfigError(
                f"layer is {layer!r}; expected 1 to {count} (logits), block1 to block{count} (features), states, or "
                "attention where there is a decoder"
            )
        return int(number)

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
