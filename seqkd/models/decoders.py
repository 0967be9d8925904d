"""Decoders that look back at an encoder's states while they write: Transformer, and LSTM with attention.

Both take all target positions at once in training, or one after the other with a cache in decoding; the two agree.
The Transformer's positions are rotary in self-attention, and sinusoids are added at its bottom, without which
attention between the two sides learns many times more slowly. There is no longest sentence.

Letters: B sentences, L memory positions, S target positions, D model width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkd.models.layers import feed_forward, rotary_angles, rotate, sinusoids


@dataclass
class Memory:
    """What an encoder says of B sentences: ``states`` (B, L, D), and ``valid`` (B, L), true where there is a token."""

    states: Tensor
    valid: Tensor

    def select(self, rows: Tensor) -> Memory:
        """Take sentences, maybe one several times: ``rows`` (B',)."""
        return Memory(self.states[rows], self.valid[rows])


@dataclass
class LayerCache:
    """Keys and values of one layer, each (B, H, S, D/H): of the positions written so far, and of the memory."""

    keys: Tensor
    values: Tensor
    memory_keys: Tensor
    memory_values: Tensor


@dataclass
class TransformerCache:
    """What a Transformer decoder has computed of the positions before."""

    layers: list[LayerCache]

    def select(self, rows: Tensor) -> TransformerCache:
        """Take hypotheses, maybe one several times: ``rows`` (B',)."""
        fields = ("keys", "values", "memory_keys", "memory_values")
        return TransformerCache([LayerCache(*(getattr(one, field)[rows] for field in fields)) for one in self.layers])


class DecoderBlock(nn.Module):
    """Causal self-attention, attention to the memory, feed-forward; each pre-norm and residual."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"attention width {width} must be a multiple of twice the {heads} heads")
        self.heads, self.attention_dropout = heads, dropout
        self.self_norm, self.cross_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.self_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.memory_kv, self.cross_out = (nn.Linear(width, n * width) for n in (1, 2, 1))
        self.ff = feed_forward(width, hidden, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Memory, before: LayerCache | None) -> tuple[Tensor, LayerCache]:
        """``x`` (B, S, D): positions that follow those in ``before``. Returns (B, S, D) and the longer cache."""
        start = 0 if before is None else before.keys.shape[2]
        q, k, v = self.split(self.qkv(self.self_norm(x)), 3)
        angles = rotary_angles(start + x.shape[1], q.shape[-1], x.device)[start:]
        q, k = rotate(q, angles), rotate(k, angles)
        if before is None:
            memory_keys, memory_values = self.split(self.memory_kv(memory.states), 2)
        else:
            k, v = torch.cat([before.keys, k], 2), torch.cat([before.values, v], 2)
            memory_keys, memory_values = before.memory_keys, before.memory_values
        # Several positions come only without a cache: then each sees itself and those before it.
        x = x + self.dropout(self.self_out(self.attend(q, k, v, causal=x.shape[1] > 1)))
        (q,) = self.split(self.query(self.cross_norm(x)), 1)
        seen = memory.valid[:, None, None, :]
        x = x + self.dropout(self.cross_out(self.attend(q, memory_keys, memory_values, mask=seen)))
        return x + self.ff(x), LayerCache(k, v, memory_keys, memory_values)

    def split(self, x: Tensor, parts: int) -> Tensor:
        """(B, S, parts · D) -> parts × (B, H, S, D/H)."""
        return x.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Attention of all heads: (B, H, S, D/H) queries -> (B, S, D)."""
        dropout = self.attention_dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)
        return attended.transpose(1, 2).flatten(2)


class TransformerDecoder(nn.Module):
    """Blocks, then a layer norm."""

    def __init__(self, width: int, layers: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([DecoderBlock(width, heads, hidden, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, memory: Memory, cache: TransformerCache | None = None
    ) -> tuple[Tensor, TransformerCache]:
        """``x`` (B, S, D) embedded target positions; with ``cache``, the one (S = 1) that follows it."""
        start = 0 if cache is None else cache.layers[0].keys.shape[2]
        x = x + sinusoids(start, x.shape[1], x.shape[2], x.device)
        caches = []
        for number, block in enumerate(self.blocks):
            x, made = block(x, memory, None if cache is None else cache.layers[number])
            caches.append(made)
        return self.norm(x), TransformerCache(caches)


@dataclass
class LstmCache:
    """State of the LSTM: ``hidden`` and ``cell`` (layers, B, D)."""

    hidden: Tensor
    cell: Tensor

    def select(self, rows: Tensor) -> LstmCache:
        """Take hypotheses, maybe one several times: ``rows`` (B',)."""
        return LstmCache(self.hidden[:, rows], self.cell[:, rows])


class LstmDecoder(nn.Module):
    """LSTM over the target, then attention to the memory (Luong et al. 2015, arXiv:1508.04025, "general" score).

    The attended state is not fed back to the LSTM, so that training takes all positions at once.
    """

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.query, self.combine = nn.Linear(width, width, bias=False), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Memory, cache: LstmCache | None = None) -> tuple[Tensor, LstmCache]:
        """``x`` (B, S, D) embedded target positions that follow ``cache``; returns (B, S, D)."""
        state = None if cache is None else (cache.hidden, cache.cell)
        states, (hidden, cell) = self.lstm(x, state)
        seen = memory.valid[:, None, :]
        attended = functional.scaled_dot_product_attention(
            self.query(states), memory.states, memory.states, attn_mask=seen
        )
        return self.dropout(torch.tanh(self.combine(torch.cat([states, attended], -1)))), LstmCache(hidden, cell)
