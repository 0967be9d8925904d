"""Encoders: a Conformer, and a small convolutional network that trains fast on a CPU.

Both map features (B, T, F) at a 10 ms shift to (B, T', D) at 40 ms and return the new lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from torch import Tensor, nn

from seqkd.errors import ConfigError
from seqkd.models.dropout import BitDropout
from seqkd.models.layers import DepthwiseConv, RotaryAttention, Subsampling, check_heads, feed_forward, valid_frames
from seqkd.settings import at_least, less_than


class ConformerBlock(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward (Gulati et al., arXiv:2005.08100).

    Layer norm replaces batch norm in the convolution module: batch statistics would make an utterance's output
    depend on its batch, and the gradient on how a batch is shared among processes.
    """

    attention_kind: type[RotaryAttention] = RotaryAttention
    conv_kind: Callable[[int, int], nn.Module] = DepthwiseConv

    def __init__(self, width: int, heads: int, hidden: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.ff1 = feed_forward(width, hidden, dropout, BitDropout)
        self.attention_norm = nn.LayerNorm(width)
        self.attention = self.attention_kind(width, heads, dropout, BitDropout)
        self.conv_norm = nn.LayerNorm(width)
        self.conv_in = nn.Sequential(nn.Linear(width, 2 * width), nn.GLU(dim=-1))
        self.depthwise = self.conv_kind(width, kernel)
        self.conv_out = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width), BitDropout(dropout))
        self.ff2 = feed_forward(width, hidden, dropout, BitDropout)
        self.norm = nn.LayerNorm(width)
        self.dropout = BitDropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """``x`` (B, T, D), ``valid`` (B, T) bool -> (B, T, D)."""
        return self.joined(x, partial(self.attention, valid=valid), partial(self.depthwise, valid=valid))

    def joined(self, x: Tensor, attention: Callable[[Tensor], Tensor], conv: Callable[[Tensor], Tensor]) -> Tensor:
        """The block around what looks along time: ``attention`` and ``conv`` map (B, T, D) to (B, T, D)."""
        x = x + 0.5 * self.ff1(x)
        x = x + self.dropout(attention(self.attention_norm(x)))
        x = x + self.conv_out(conv(self.conv_in(self.conv_norm(x))))
        x = x + 0.5 * self.ff2(x)
        return self.norm(x)


class ConvBlock(nn.Module):
    """Depthwise convolution, then a feed-forward layer, both residual."""

    def __init__(
        self,
        width: int,
        hidden: int,
        kernel: int,
        dropout: float,
        conv: Callable[[int, int], nn.Module] = DepthwiseConv,
    ) -> None:
        """``conv`` builds the convolution of a width and a kernel."""
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.depthwise = conv(width, kernel)
        self.dropout = BitDropout(dropout)
        self.ff = feed_forward(width, hidden, dropout, BitDropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """``x`` (B, T, D), ``valid`` (B, T) bool -> (B, T, D)."""
        x = x + self.dropout(self.depthwise(self.norm(x), valid))
        return x + self.ff(x)


class Encoder(nn.Module):
    """Subsampling, then ``blocks``, then a layer norm."""

    subsampling_kind: type[Subsampling] = Subsampling

    def __init__(self, features: int, width: int, channels: int, dropout: float, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.subsampling = self.subsampling_kind(features, width, channels)
        self.dropout = BitDropout(dropout)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, lengths: Tensor, blocks: Collection[int] = ()
    ) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """Return (B, T', D), (B,) lengths, and the normalised outputs (B, T', D) of ``blocks``, counted from 1."""
        x, lengths = self.subsampling(x, lengths)
        x = self.dropout(x)
        context = self.context(lengths, x.shape[1])
        inner = {}
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, context)
            if number in blocks:
                inner[number] = self.norm(x)
        return self.norm(x), lengths, inner

    def context(self, lengths: Tensor, frames: int) -> Any:
        """What a block is given of a pass: the valid frames, (B, T) bool, of ``lengths`` (B,)."""
        return valid_frames(lengths, frames)


def check_sizes(width: int, layers: int, hidden: int, kernel: int, dropout: float, subsampling_channels: int) -> None:
    """Raise ConfigError for a size of which no encoder can be built."""
    at_least(1, width=width, layers=layers, hidden=hidden, kernel=kernel, subsampling_channels=subsampling_channels)
    less_than(0, 1, dropout=dropout)
    if kernel % 2 == 0:
        raise ConfigError(f"kernel is {kernel}; expected an odd number")


def conformer(
    features: int,
    *,
    width: int,
    layers: int,
    heads: int,
    hidden: int,
    kernel: int,
    dropout: float,
    subsampling_channels: int,
) -> Encoder:
    """Build a Conformer encoder; ``hidden`` is the feed-forward width, ``kernel`` the convolution's (odd)."""
    check_sizes(width, layers, hidden, kernel, dropout, subsampling_channels)
    check_heads(width, heads)
    blocks = [ConformerBlock(width, heads, hidden, kernel, dropout) for _ in range(layers)]
    return Encoder(features, width, subsampling_channels, dropout, blocks)


def convolutional(
    features: int,
    *,
    width: int,
    layers: int,
    hidden: int,
    kernel: int,
    dropout: float,
    subsampling_channels: int,
) -> Encoder:
    """Build the small convolutional encoder."""
    check_sizes(width, layers, hidden, kernel, dropout, subsampling_channels)
    blocks = [ConvBlock(width, hidden, kernel, dropout) for _ in range(layers)]
    return Encoder(features, width, subsampling_channels, dropout, blocks)
