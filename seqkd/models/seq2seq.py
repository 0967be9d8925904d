"""Encoder–decoder models that turn one token sequence into another.

Class 0 is the boundary: it stands before the first target token and after the last, and takes the padded places of
the source, which are masked.

Letters: B sentences, L source tokens, S target positions, C classes, D model width.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError
from seqkd.models.decoders import LstmCache, LstmDecoder, Memory, TransformerCache, TransformerDecoder
from seqkd.models.layers import RotaryAttention, check_heads, feed_forward, sinusoids, valid_frames
from seqkd.models.storage import not_a_description, read_description, read_weights, write_model
from seqkd.settings import at_least, less_than


class EncoderBlock(nn.Module):
    """Self-attention and feed-forward, each pre-norm and residual."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = RotaryAttention(width, heads, dropout)
        self.ff = feed_forward(width, hidden, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """``x`` (B, L, D), ``valid`` (B, L) -> (B, L, D)."""
        x = x + self.dropout(self.attention(self.norm(x), valid))
        return x + self.ff(x)


class TransformerEncoder(nn.Module):
    """Blocks, then a layer norm."""

    def __init__(self, width: int, layers: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([EncoderBlock(width, heads, hidden, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """``x`` (B, L, D), ``lengths`` (B,) -> (B, L, D)."""
        x = x + sinusoids(0, x.shape[1], x.shape[2], x.device)
        valid = valid_frames(lengths, x.shape[1])
        for block in self.blocks:
            x = block(x, valid)
        return self.norm(x)


class LstmEncoder(nn.Module):
    """LSTM in both directions, half the width each."""

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        dropout = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(width, width // 2, layers, batch_first=True, dropout=dropout, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """``x`` (B, L, D), ``lengths`` (B,) -> (B, L, D)."""
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])[0]


def transformer(
    *, width: int, layers: int, decoder_layers: int, heads: int, hidden: int, dropout: float
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of a pre-norm Transformer (Vaswani et al. 2017, arXiv:1706.03762; rotary positions)."""
    at_least(1, width=width, layers=layers, decoder_layers=decoder_layers, hidden=hidden)
    less_than(0, 1, dropout=dropout)
    check_heads(width, heads)
    return (
        TransformerEncoder(width, layers, heads, hidden, dropout),
        TransformerDecoder(width, decoder_layers, heads, hidden, dropout),
    )


def lstm(*, width: int, layers: int, decoder_layers: int, dropout: float) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of an LSTM with attention."""
    at_least(1, width=width, layers=layers, decoder_layers=decoder_layers)
    less_than(0, 1, dropout=dropout)
    if width % 2:
        raise ConfigError(f"width is {width}; expected an even number: each direction of the encoder takes half")
    return LstmEncoder(width, layers, dropout), LstmDecoder(width, decoder_layers, dropout)


KINDS = {"transformer": transformer, "lstm": lstm}


class Seq2SeqModel(nn.Module):
    """Source tokens (B, L) to logits of the target tokens (B, S, C).

    ``architecture`` holds ``kind`` ("transformer" or "lstm") and that builder's keyword arguments. Source, target and
    output share one embedding (Press & Wolf 2017, arXiv:1608.05859).
    """

    boundary = 0

    def __init__(self, architecture: dict[str, Any], classes: int) -> None:
        super().__init__()
        self.architecture, self.classes = dict(architecture), classes
        options = dict(architecture)
        kind = options.pop("kind", None)
        if kind not in KINDS:
            raise ConfigError(f"model.kind is {kind!r}; expected one of {', '.join(KINDS)}")
        try:
            self.encoder, self.decoder = KINDS[kind](**options)
            self.embedding = nn.Embedding(classes, options["width"])
        except (TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
            raise ConfigError(f"model settings for kind {kind!r} do not fit: {error}") from error
        self.scale = math.sqrt(options["width"])
        nn.init.normal_(self.embedding.weight, std=1 / self.scale)
        self.bias = nn.Parameter(torch.zeros(classes))
        self.dropout = nn.Dropout(options["dropout"])

    def forward(self, source: Tensor, source_lengths: Tensor, inputs: Tensor) -> Tensor:
        """``source`` (B, L), ``source_lengths`` (B,), ``inputs`` (B, S), boundary and target tokens -> (B, S, C)."""
        return self.decode(inputs, self.encode(source, source_lengths))[0]

    def encode(self, source: Tensor, lengths: Tensor) -> Memory:
        """``source`` (B, L), ``lengths`` (B,), each at least 1."""
        return self.decoder.remember(self.encoder(self.embed(source), lengths), valid_frames(lengths, source.shape[1]))

    def decode(
        self, inputs: Tensor, memory: Memory, cache: TransformerCache | LstmCache | None = None
    ) -> tuple[Tensor, TransformerCache | LstmCache]:
        """Logits (B, S, C) of what follows each of ``inputs`` (B, S); with ``cache``, S is 1 and continues it."""
        states, cache = self.decoder(self.embed(inputs), memory, cache)
        return nn.functional.linear(states, self.embedding.weight, self.bias), cache

    def embed(self, tokens: Tensor) -> Tensor:
        """(B, S) -> (B, S, D)."""
        return self.dropout(self.scale * self.embedding(tokens))

    def parameter_count(self) -> int:
        """Trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def save_seq2seq(directory: Path, model: Seq2SeqModel, tokenizer: Tokenizer) -> None:
    """Write a model directory."""
    write_model(directory, model, {"architecture": model.architecture, "classes": model.classes}, tokenizer)


def load_seq2seq(directory: Path) -> tuple[Seq2SeqModel, Tokenizer]:
    """Read a model directory. Raises DataError when it is incomplete or does not fit its own description."""
    description, tokenizer = read_description(directory)
    if set(description) != {"architecture", "classes"}:
        raise not_a_description(directory, KeyError(f"it holds {', '.join(description)}"))
    model = Seq2SeqModel(description["architecture"], description["classes"])
    read_weights(directory, model)
    return model.eval(), tokenizer
