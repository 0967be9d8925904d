"""Dropout whose masks are cheap on a CPU: sixteen random bits an element, drawn sixty-four at a time.

torch draws a floating-point number for each element there, which took a quarter of a small recogniser's training step.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkd.ctc.transforms import tracing

LEVELS = 2**16  # of the probability


class BitDropout(nn.Dropout):
    """`torch.nn.Dropout` with other random numbers on the CPU: each element is dropped by itself, the others scaled up.

    The probability is the nearest multiple of 2⁻¹⁶ (0.1 becomes 0.100006), by which those that are kept are scaled, so
    that the expectation is exact. One number of torch's generator seeds the masks of a call (NumPy's SFC64), so that
    `torch.manual_seed` decides them, and a resumed training draws the same. On other devices, under autograd's
    transforms and under compilation it is torch's own.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Of any shape and floating type; in evaluation, what came in."""
        if not self.training or self.p == 0 or self.inplace or input.device.type != "cpu" or tracing():
            return super().forward(input)
        return input * kept(input, self.p)


def kept(like: Tensor, p: float) -> Tensor:
    """A mask as ``like``: 0 with probability ``p``, else what makes the mean 1."""
    dropped = round(p * LEVELS)
    if dropped == LEVELS:
        return torch.zeros_like(like)
    bits = random_bits(like.numel()).view(like.shape)
    return (bits >= dropped - LEVELS // 2).to(like.dtype).mul_(LEVELS / (LEVELS - dropped))


def random_bits(count: int) -> Tensor:
    """``count`` numbers from −2¹⁵ to 2¹⁵ − 1, all as likely: int16, on the CPU."""
    seed = int(torch.randint(torch.iinfo(torch.int64).max, ()))
    drawn = np.random.SFC64(seed).random_raw(-(-count // 4))  # uint64
    return torch.from_numpy(drawn.view(np.int16)[:count])


def attend(q: Tensor, k: Tensor, v: Tensor, valid: Tensor, dropout: nn.Dropout) -> Tensor:
    """Scaled dot-product attention whose weights are dropped by ``dropout``: (B, H, T, D).

    Args:
        q: (B, H, T, D) queries.
        k: (B, H, L, D) keys.
        v: (B, H, L, D) values.
        valid: bool, (B, 1, 1, L), which of them may be attended to: one at least.
        dropout: of the weights; torch's own is torch's business altogether.
    """
    p = dropout.p if dropout.training else 0.0
    if p == 0 or type(dropout) is nn.Dropout or q.device.type != "cpu":
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=valid, dropout_p=p)
    scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~valid, -torch.inf)
    return dropout(scores.softmax(-1)) @ v
