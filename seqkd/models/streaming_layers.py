"""Layers of encoders for speech that is still being spoken, each with a `forward` over whole utterances and a `step`.

Letters: B batch, T feature frames, n encoder frames of a step, D model width, F feature bins, H heads, L frames of left
context, k kernel, r frames of look-ahead of a block, c frames of a chunk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkd.errors import ConfigError
from seqkd.models.dropout import attend
from seqkd.models.encoders import ConformerBlock, ConvBlock
from seqkd.models.layers import DepthwiseConv, RotaryAttention, Subsampling, halved, rotate, valid_frames

State = dict[str, Tensor]


class StreamingSubsampling(Subsampling):
    """`Subsampling` that can go on where it stopped: frame j of its output needs no feature frame after 4j + 3."""

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """``x`` (B, 4n, F) and its (B,) valid frames, fewer than 4n only at the end -> (B, n, D)."""
        x = x.masked_fill(~valid_frames(lengths, x.shape[1])[..., None], 0.0)
        padded = torch.cat([state["features"], x], dim=1)[:, None]  # (B, 1, 4n + 1, F)
        half = functional.silu(_unpadded(self.conv1, padded))  # (B, c, 2n, F/2)
        half = half.masked_fill(~valid_frames(halved(lengths), half.shape[2])[:, None, :, None], 0.0)
        padded = torch.cat([state["subsampled"], half], dim=2)
        quarter = functional.silu(self.pointwise(_unpadded(self.conv2, padded)))  # (B, c, n, F/4)
        kept = {"features": x[:, -1:], "subsampled": half[:, :, -1:]}
        return self.project(quarter.transpose(1, 2).flatten(2)), kept

    def state(self, batch: int, features: int) -> State:
        """What `step` begins with: the zeros with which convolutions pad."""
        channels = self.conv1.out_channels
        like = self.project.weight.new_zeros
        return {"features": like(batch, 1, features), "subsampled": like(batch, channels, 1, -(-features // 2))}


def _unpadded(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution without its padding along time."""
    return functional.conv2d(x, conv.weight, conv.bias, conv.stride, (0, conv.padding[1]), groups=conv.groups)


class LookaheadConv(DepthwiseConv):
    """Depthwise convolution over time whose outputs see ``lookahead`` frames ahead, and kernel − 1 − that back."""

    def __init__(self, width: int, kernel: int, lookahead: int = 0) -> None:
        super().__init__(width, kernel)
        if not 0 <= lookahead < kernel:
            raise ConfigError(f"lookahead is {lookahead}; expected from 0 to less than the kernel, which is {kernel}")
        self.lookahead, self.behind = lookahead, kernel - 1
        self.conv.padding = (0, 0)

    def forward(self, x: Tensor, valid: Tensor, chunk: int = 0) -> Tensor:
        """``x`` (B, T, D), ``valid`` (B, T) bool -> (B, T, D); ``chunk`` changes nothing."""
        x = x.masked_fill(~valid[..., None], 0.0)
        return self.over(functional.pad(x, (0, 0, self.behind - self.lookahead, self.lookahead)))

    def step(self, x: Tensor, valid: Tensor, behind: Tensor) -> tuple[Tensor, Tensor]:
        """The next frames (B, n, D) and the k − 1 before them -> outputs (B, n, D), ``lookahead`` frames late."""
        x = torch.cat([behind, x.masked_fill(~valid[..., None], 0.0)], dim=1)
        return self.over(x), x[:, x.shape[1] - self.behind :]

    def over(self, x: Tensor) -> Tensor:
        """(B, T + k − 1, D) -> (B, T, D)."""
        return self.conv(x.transpose(1, 2).unsqueeze(-1)).squeeze(-1).transpose(1, 2)


class ChunkConv(DepthwiseConv):
    """Depthwise convolution over time whose outputs see their chunk, and kernel // 2 frames back, as far as it reaches.

    Behind the end of a chunk it reads zeros: dynamic chunk convolution (Li et al. 2023, arXiv:2304.09325).
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__(width, kernel)
        self.behind = kernel // 2
        self.conv.padding = (0, 0)

    def forward(self, x: Tensor, valid: Tensor, chunk: int) -> Tensor:
        """``x`` (B, T, D), ``valid`` (B, T) bool, ``chunk`` frames, 0 for all -> (B, T, D)."""
        (batch, frames, _), chunk = x.shape, chunk or x.shape[1]
        x = functional.pad(x.masked_fill(~valid[..., None], 0.0), (0, 0, self.behind, -frames % chunk))
        pieces = x.unfold(1, self.behind + chunk, chunk).flatten(0, 1)  # (B · chunks, D, k // 2 + c)
        return self.over(pieces.transpose(1, 2)).unflatten(0, (batch, -1)).flatten(1, 2)[:, :frames]

    def step(self, x: Tensor, valid: Tensor, behind: Tensor) -> tuple[Tensor, Tensor]:
        """The next chunk (B, n, D) and the k // 2 frames before it -> (B, n, D), and the frames before the next one."""
        x = torch.cat([behind, x.masked_fill(~valid[..., None], 0.0)], dim=1)
        return self.over(x), x[:, x.shape[1] - self.behind :]

    def over(self, x: Tensor) -> Tensor:
        """(B, k // 2 + c, D) -> (B, c, D)."""
        x = functional.pad(x, (0, 0, 0, self.behind))
        return self.conv(x.transpose(1, 2).unsqueeze(-1)).squeeze(-1).transpose(1, 2)


class ChunkAttention(RotaryAttention):
    """`RotaryAttention` of which each frame attends to a part of the frames."""

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """``x`` (B, T, D), ``allowed`` (B, T, T) bool: frames to which each may attend -> (B, T, D)."""
        q, k, v = self.heads_of(self.qkv(x))
        angles = small_angles(x.shape[1], q.shape[-1], x.device)
        return self.joined(rotate(q, angles), rotate(k, angles), v, allowed)

    def step(self, x: Tensor, allowed: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """The next frames, with keys and values of those before.

        Positions count from the first frame of the left context, since only their differences matter: numbers stay
        small however long the speech is.

        Args:
            x: (B, n, D).
            allowed: (B, n, L + n) bool.
            left: (B, L, 2D), keys and values before rotation.

        Returns:
            (B, n, D), and the new left context.
        """
        query, new = self.qkv(x).split([x.shape[-1], 2 * x.shape[-1]], dim=-1)
        seen = torch.cat([left, new], dim=1)  # (B, L + n, 2D)
        (q,), (k, v) = self.heads_of(query), self.heads_of(seen)
        angles = small_angles(seen.shape[1], q.shape[-1], x.device)
        attended = self.joined(rotate(q, angles[left.shape[1] :]), rotate(k, angles), v, allowed)
        return attended, seen[:, seen.shape[1] - left.shape[1] :]

    def joined(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        """Attention of (B, H, T, D/H) under a mask (B, T, ...), heads joined: (B, T, D)."""
        return self.out(attend(q, k, v, allowed[:, None], self.dropout).transpose(1, 2).flatten(2))


def small_angles(frames: int, width: int, device: torch.device) -> Tensor:
    """(T, D/2) angles of the rotary embedding from 0 to 2π, so that late frames are as exact as early ones."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=device, dtype=torch.float64) / width)
    turned = torch.arange(frames, device=device, dtype=torch.float64)[:, None] * rates
    return (turned - 2 * math.pi * torch.floor(turned / (2 * math.pi))).float()


@dataclass(frozen=True)
class ChunkContext:
    """Of a pass.

    Attributes:
        valid: (B, T) bool.
        allowed: (B, T, T) bool, to which frames each may attend.
        chunk: frames; 0 is all.
    """

    valid: Tensor
    allowed: Tensor
    chunk: int


class ChunkConformerBlock(ConformerBlock):
    """`ConformerBlock` with attention to a chunk and its left context, and a causal convolution."""

    attention_kind = ChunkAttention
    conv_kind = LookaheadConv

    def forward(self, x: Tensor, context: ChunkContext) -> Tensor:
        """``x`` (B, T, D) -> (B, T, D)."""
        attention = partial(self.attention, allowed=context.allowed)
        return self.joined(x, attention, partial(self.depthwise, valid=context.valid, chunk=context.chunk))

    def step(self, x: Tensor, context: ChunkContext, left: Tensor, behind: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The next frames (B, n, D), with the state of attention and convolution, -> (B, n, D) and the new state."""
        kept = {}

        def attention(x: Tensor) -> Tensor:
            x, kept["left"] = self.attention.step(x, context.allowed, left)
            return x

        def conv(x: Tensor) -> Tensor:
            x, kept["behind"] = self.depthwise.step(x, context.valid, behind)
            return x

        return self.joined(x, attention, conv), kept["left"], kept["behind"]


class WithinChunkBlock(ChunkConformerBlock):
    """`ChunkConformerBlock` whose convolution looks both ways, ahead to the end of the chunk."""

    conv_kind = ChunkConv


class LookaheadConvBlock(ConvBlock):
    """`ConvBlock` whose convolution sees few frames ahead, or none."""

    def step(self, x: Tensor, valid: Tensor, behind: Tensor, late: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The next frames, with the frames before them.

        Args:
            x: (B, n, D).
            valid: (B, n) bool, which of them belong to the utterance.
            behind: (B, k − 1, D), of the convolution.
            late: (B, r, D), inputs whose outputs are still to come.

        Returns:
            (B, n, D), r frames late, and the new ``behind`` and ``late``.
        """
        seen, behind = self.depthwise.step(self.norm(x), valid, behind)
        both = torch.cat([late, x], dim=1)
        x = both[:, : x.shape[1]] + self.dropout(seen)
        return x + self.ff(x), behind, both[:, both.shape[1] - late.shape[1] :]
