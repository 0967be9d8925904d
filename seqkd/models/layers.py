"""Parts shared by the encoders.

Every layer that looks along time takes a mask of valid frames, so that an utterance's output does not depend on
how much padding its batch gave it. torchaudio's Conformer does not mask its convolution or its group norm, which
is why the encoders here are built from torch's own parts.

Letters: B batch, T frames, D model width, F feature bins, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkd.errors import ConfigError
from seqkd.models.dropout import attend
from seqkd.settings import at_least


def valid_frames(lengths: Tensor, frames: int) -> Tensor:
    """(B,) lengths -> (B, T) bool, true where a frame belongs to the utterance."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


class DepthwiseConv(nn.Module):
    """Depthwise convolution over time: (B, T, D) -> (B, T, D), zero outside the utterance.

    Written as a 2-D convolution because on a CPU that is about three times as fast as ``conv1d`` with groups.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"convolution kernel {kernel} must be odd")
        self.conv = nn.Conv2d(width, width, (kernel, 1), padding=(kernel // 2, 0), groups=width)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """``x`` (B, T, D), ``valid`` (B, T) bool."""
        x = x.masked_fill(~valid[..., None], 0.0)
        return self.conv(x.transpose(1, 2).unsqueeze(-1)).squeeze(-1).transpose(1, 2)


class Subsampling(nn.Module):
    """Two strided convolutions: (B, T, F) at 10 ms -> (B, ⌈T/4⌉, D) at 40 ms."""

    factor = 4

    def __init__(self, features: int, width: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.project = nn.Linear(channels * -(-features // 4), width)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, T', D) and its (B,) lengths."""
        x = x.masked_fill(~valid_frames(lengths, x.shape[1])[..., None], 0.0)
        x = functional.silu(self.conv1(x.unsqueeze(1)))  # (B, c, T/2, F/2)
        lengths = halved(lengths)
        x = x.masked_fill(~valid_frames(lengths, x.shape[2])[:, None, :, None], 0.0)
        x = functional.silu(self.pointwise(self.conv2(x)))  # (B, c, T/4, F/4)
        return self.project(x.transpose(1, 2).flatten(2)), halved(lengths)


def halved(lengths: Tensor) -> Tensor:
    """Frames left by one stride-2 convolution with kernel 3 and padding 1."""
    return (lengths + 1) // 2


def check_heads(width: int, heads: int) -> None:
    """Raise ConfigError unless each head of attention with rotary positions gets an even share of the width."""
    at_least(1, heads=heads)
    if width % (2 * heads):
        raise ConfigError(f"heads is {heads}; expected a number whose double divides the width, which is {width}")


class RotaryAttention(nn.Module):
    """Multi-head self-attention with rotary positions (Su et al., arXiv:2104.09864).

    ``kind`` of dropout of the weights: torch's own, or `BitDropout`.
    """

    def __init__(self, width: int, heads: int, dropout: float, kind: type[nn.Dropout] = nn.Dropout) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads, self.dropout = heads, kind(dropout)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """``x`` (B, T, D), ``valid`` (B, T) bool -> (B, T, D)."""
        q, k, v = self.heads_of(self.qkv(x))
        angles = rotary_angles(x.shape[1], q.shape[-1], x.device)
        attended = attend(rotate(q, angles), rotate(k, angles), v, valid[:, None, None, :], self.dropout)
        return self.out(attended.transpose(1, 2).flatten(2))

    def heads_of(self, x: Tensor) -> Tensor:
        """Queries, keys and values, or some of them, side by side (B, T, K·D) -> (K, B, H, T, D/H)."""
        kinds = x.shape[-1] // self.out.in_features
        return x.unflatten(-1, (kinds, self.heads, -1)).permute(2, 0, 3, 1, 4)


def rotary_angles(frames: int, width: int, device: torch.device) -> Tensor:
    """(T, D/2) angles of the rotary embedding, base 10,000."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    return torch.arange(frames, device=device, dtype=torch.float32)[:, None] * rates


def sinusoids(start: int, positions: int, width: int, device: torch.device) -> Tensor:
    """(T, D) absolute positions from ``start`` on (Vaswani et al. 2017, arXiv:1706.03762)."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    angles = torch.arange(start, start + positions, device=device, dtype=torch.float32)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn each pair of channels of (B, H, T, D) by (T, D/2) angles."""
    even, odd = x.float().chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([even * cos - odd * sin, even * sin + odd * cos], dim=-1).type_as(x)


def feed_forward(width: int, hidden: int, dropout: float, kind: type[nn.Dropout] = nn.Dropout) -> nn.Sequential:
    """Pre-norm feed-forward block, (B, T, D) -> (B, T, D); ``kind`` is its layer of dropout."""
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, hidden),
        nn.SiLU(),
        kind(dropout),
        nn.Linear(hidden, width),
        kind(dropout),
    )
