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

from seqkd.models.layers import check_heads, feed_forward, rotary_angles, rotate, sinusoids


@dataclass
class Memory:
    """The outputs of an encoder for B sentences, as a decoder needs them.

    ``parts``: tensors whose first dimension is B: the states (B, L, D), or keys and values (B, H, L, D/H) of each
    layer in turn. ``valid`` (B, L): true where there is a token.
    """

    parts: list[Tensor]
    valid: Tensor

    def select(self, rows: Tensor) -> Memory:
        """Take sentences, maybe one several times: ``rows`` (B',)."""
        return Memory([part[rows] for part in self.parts], self.valid[rows])


@dataclass
class TransformerCache:
    """Keys and values, each (B, H, S, D/H), of the positions written so far, of each layer."""

    layers: list[tuple[Tensor, Tensor]]

    def select(self, rows: Tensor) -> TransformerCache:
        """Take hypotheses, maybe one several times: ``rows`` (B',)."""
        return TransformerCache([(keys[rows], values[rows]) for keys, values in self.layers])


class DecoderBlock(nn.Module):
    """Causal self-attention, attention to the memory, feed-forward; each pre-norm and residual."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads, self.attention_dropout = heads, dropout
        self.self_norm, self.cross_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.self_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.memory_kv, self.cross_out = (nn.Linear(width, n * width) for n in (1, 2, 1))
        self.ff = feed_forward(width, hidden, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, memory: tuple[Tensor, Tensor], valid: Tensor, before: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``x`` (B, S, D): positions that follow those ``before``. Returns (B, S, D), and all keys and values."""
        start = 0 if before is None else before[0].shape[2]
        q, k, v = self.split(self.qkv(self.self_norm(x)), 3)
        angles = rotary_angles(start + x.shape[1], q.shape[-1], x.device)[start:]
        q, k = rotate(q, angles), rotate(k, angles)
        if before is not None:
            k, v = torch.cat([before[0], k], 2), torch.cat([before[1], v], 2)
        # Several positions come only without a cache: then each sees itself and those before it.
        x = x + self.dropout(self.self_out(self.attend(q, k, v, causal=x.shape[1] > 1)))
        (q,) = self.split(self.query(self.cross_norm(x)), 1)
        # The hypotheses of a sentence ask its memory together, as if they were positions.
        q = q.unflatten(0, (len(valid), -1)).transpose(1, 2).flatten(2, 3)  # (B, H, K · S, D/H)
        asked = self.attend(q, *memory, mask=valid[:, None, None, :]).view_as(x)
        x = x + self.dropout(self.cross_out(asked))
        return x + self.ff(x), (k, v)

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

    def remember(self, states: Tensor, valid: Tensor) -> Memory:
        """Keys and values of each layer, of an encoder's ``states`` (B, L, D), of which some are ``valid`` (B, L)."""
        return Memory([part for block in self.blocks for part in block.split(block.memory_kv(states), 2)], valid)

    def forward(
        self, x: Tensor, memory: Memory, cache: TransformerCache | None = None
    ) -> tuple[Tensor, TransformerCache]:
        """``x`` (B, S, D) embedded target positions; with ``cache``, the one (S = 1) that follows it.

        In decoding ``x`` may have K rows, neighbours, for each row of ``memory``.
        """
        start = 0 if cache is None else cache.layers[0][0].shape[2]
        x = x + sinusoids(start, x.shape[1], x.shape[2], x.device)
        caches = []
        for number, block in enumerate(self.blocks):
            mine = memory.parts[2 * number], memory.parts[2 * number + 1]
            x, made = block(x, mine, memory.valid, None if cache is None else cache.layers[number])
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

    def remember(self, states: Tensor, valid: Tensor) -> Memory:
        """An encoder's ``states`` (B, L, D) as they are, of which some are ``valid`` (B, L)."""
        return Memory([states], valid)

    def forward(self, x: Tensor, memory: Memory, cache: LstmCache | None = None) -> tuple[Tensor, LstmCache]:
        """``x`` (B, S, D) embedded target positions that follow ``cache``; returns (B, S, D).

        ``x`` may have K rows, neighbours, for each row of ``memory``.
        """
        state = None if cache is None else (cache.hidden, cache.cell)
        states, (hidden, cell) = self.lstm(x, state)
        (encoded,) = memory.parts
        # The hypotheses of a sentence ask its memory together, as if they were positions.
        asking = self.query(states).reshape(len(encoded), -1, encoded.shape[-1])  # (B, K · S, D)
        seen = memory.valid[:, None, :]
        attended = functional.scaled_dot_product_attention(asking, encoded, encoded, attn_mask=seen).view_as(states)
        return self.dropout(torch.tanh(self.combine(torch.cat([states, attended], -1)))), LstmCache(hidden, cell)
