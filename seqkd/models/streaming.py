"""Encoders for speech that is still being spoken: a chunk-wise Conformer, and convolutions that look little ahead.

Each has two forms that give the same outputs: `forward`, over whole utterances, under masks, as in training; and
`step`, over the next few frames, with the state that the steps before left. What must look along time does it over
limited context, so that the state has a fixed size and hours of speech take no more of it than seconds.

Letters: B batch, T feature frames, n encoder frames of a step, N blocks, D model width, F feature bins, H heads,
L frames of left context, k kernel, r frames of look-ahead of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkd.errors import ConfigError
from seqkd.models.encoders import Encoder, check_sizes
from seqkd.models.layers import check_heads, halved, valid_frames
from seqkd.models.streaming_layers import (
    ChunkConformerBlock,
    ChunkContext,
    LookaheadConv,
    LookaheadConvBlock,
    State,
    StreamingSubsampling,
    WithinChunkBlock,
)
from seqkd.settings import at_least, one_of

CONVOLUTIONS = {"causal": ChunkConformerBlock, "chunk": WithinChunkBlock}


class StreamingEncoder(Encoder):
    """An `Encoder` with `step`, which gives the outputs of `forward` piece by piece.

    Attributes:
        delay: encoder frames by which `step` is late: output i of a step that begins at frame p is of frame
            p + i − delay. What is of no frame of the utterance is to be dropped.
        chunk: encoder frames of a step.
        chunked: whether outputs depend on ``chunk``.
    """

    subsampling_kind = StreamingSubsampling
    delay = 0
    chunk: int
    chunked = False

    def state(self, batch: int, features: int) -> State:
        """Tensors, by name, with which the first step of ``batch`` utterances begins; ``features`` is F.

        Besides what the layers keep, ``position`` (B,) counts encoder frames up to the next one, and ``length`` (B,)
        those of them that belong to the utterance.
        """
        none = torch.zeros(batch, dtype=torch.int64, device=self.norm.weight.device)
        first = self.subsampling.state(batch, features)
        return {**first, **self.block_state(batch), "position": none, "length": none.clone()}

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """The outputs of the next feature frames.

        Args:
            x: (B, 4n, F).
            lengths: (B,), how many of the frames belong to the utterances: all of them in every step but the last
                one of an utterance, and none in those that follow to bring the ``delay`` frames that are still to
                come.
            state: of `state`, or of the step before.

        Returns:
            (B, n, D), ``delay`` frames late, and the new state.
        """
        position = state["position"]
        x, kept = self.subsampling.step(x, lengths, state)
        length = state["length"] + halved(halved(lengths))
        kept |= {"position": position + x.shape[1], "length": length}
        times = position[:, None] + torch.arange(x.shape[1], device=x.device)  # (B, n)
        x, blocks = self.through(x, times, length, state)
        return self.norm(x), kept | blocks

    def block_state(self, batch: int) -> State:
        """What the blocks keep, one after the other along the first axis."""
        raise NotImplementedError

    def through(self, x: Tensor, times: Tensor, length: Tensor, state: State) -> tuple[Tensor, State]:
        """Blocks' outputs (B, n, D) of ``x`` (B, n, D), which are frames ``times`` (B, n), and their new state."""
        raise NotImplementedError


class ChunkConformer(StreamingEncoder):
    """A Conformer that attends within chunks of frames, and to ``left`` frames before them.

    Of an utterance's frames, those of a chunk see each other, so a frame waits for the end of its chunk, and never
    longer. In training, each pass draws one of several lengths of chunks (dynamic chunk training, U2: Zhang et al.
    2020, arXiv:2012.05481), so that one model serves several latencies. Convolutions are causal, as there, or read
    their chunk both ways (`ChunkConv`).

    Attributes:
        chunk: encoder frames of a chunk outside of training; 0 is the whole utterance, which `step` cannot do.
    """

    chunked = True

    def __init__(
        self, features: int, width: int, channels: int, dropout: float, blocks: list[nn.Module],
        *, chunk: int, left: int, train_chunks: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__(features, width, channels, dropout, blocks)
        self.chunk, self.left, self.train_chunks = chunk, left, tuple(train_chunks)

    def context(self, lengths: Tensor, frames: int) -> ChunkContext:
        """Masks of a pass over (B, T, D)."""
        chunk = self.chunk
        if self.training:
            chunk = self.train_chunks[int(torch.randint(len(self.train_chunks), ()))]
        valid = valid_frames(lengths, frames)
        allowed = valid[:, None].expand(-1, frames, -1)
        if chunk:
            place = torch.arange(frames, device=lengths.device)
            begin = (place // chunk * chunk)[:, None]
            allowed = allowed & (place >= begin - self.left) & (place < begin + chunk)
        # A frame of the padding attends to itself: else there would be none to attend to, and NaN for its output.
        return ChunkContext(valid, allowed | torch.eye(frames, dtype=torch.bool, device=lengths.device), chunk)

    def block_state(self, batch: int) -> State:
        """``attention`` (N, B, L, 2D): keys and values; ``convolution`` (N, B, k − 1 or k // 2, D)."""
        (width,), count = self.norm.normalized_shape, len(self.blocks)
        zeros = self.norm.weight.new_zeros
        behind = self.blocks[0].depthwise.behind
        return {
            "attention": zeros(count, batch, self.left, 2 * width),
            "convolution": zeros(count, batch, behind, width),
        }

    def through(self, x: Tensor, times: Tensor, length: Tensor, state: State) -> tuple[Tensor, State]:
        """A step is a chunk: its frames see each other."""
        valid = times < length[:, None]
        before = times[:, :1] + torch.arange(-self.left, 0, device=x.device)  # (B, L)
        known = torch.cat([before >= 0, valid], dim=1)[:, None].expand(-1, x.shape[1], -1)
        own = functional.pad(torch.eye(x.shape[1], dtype=torch.bool, device=x.device), (self.left, 0))
        context, lefts, behinds = ChunkContext(valid, known | own, x.shape[1]), [], []
        for number, block in enumerate(self.blocks):
            x, left, behind = block.step(x, context, state["attention"][number], state["convolution"][number])
            lefts.append(left)
            behinds.append(behind)
        return x, {"attention": torch.stack(lefts), "convolution": torch.stack(behinds)}


class LookaheadConvolutions(StreamingEncoder):
    """The small convolutional encoder, each block of which sees ``lookahead`` frames ahead: in all, ``delay``."""

    chunk = 1  # encoder frames of a step; any number gives the same outputs

    @property
    def delay(self) -> int:
        """Of all blocks together."""
        return sum(block.depthwise.lookahead for block in self.blocks)

    def block_state(self, batch: int) -> State:
        """``convolution`` (N, B, k − 1, D) and, with look-ahead, ``late`` (N, B, r, D)."""
        (width,), count, conv = self.norm.normalized_shape, len(self.blocks), self.blocks[0].depthwise
        zeros = self.norm.weight.new_zeros
        late = {"late": zeros(count, batch, conv.lookahead, width)} if conv.lookahead else {}
        return {"convolution": zeros(count, batch, conv.behind, width), **late}

    def through(self, x: Tensor, times: Tensor, length: Tensor, state: State) -> tuple[Tensor, State]:
        """Each block is its look-ahead later than the one before."""
        behinds, lates = [], []
        for number, block in enumerate(self.blocks):
            valid = (times >= 0) & (times < length[:, None])
            late = state["late"][number] if "late" in state else x[:, :0]
            x, behind, late = block.step(x, valid, state["convolution"][number], late)
            behinds.append(behind)
            lates.append(late)
            times = times - block.depthwise.lookahead
        kept = {"late": torch.stack(lates)} if "late" in state else {}
        return x, {"convolution": torch.stack(behinds), **kept}


def chunk_conformer(
    features: int,
    *,
    width: int,
    layers: int,
    heads: int,
    hidden: int,
    kernel: int,
    dropout: float,
    subsampling_channels: int,
    chunk: int,
    left: int,
    train_chunks: Sequence[int],
    convolution: str = "causal",
) -> ChunkConformer:
    """Build a chunk-wise Conformer; as `seqkd.models.encoders.conformer`, and in encoder frames of 40 ms:

    ``chunk``, outside of training; ``left``, the context before a chunk; ``train_chunks``, of which training draws.
    ``convolution``: "causal", or "chunk", which reads a chunk both ways.
    """
    check_sizes(width, layers, hidden, kernel, dropout, subsampling_channels)
    check_heads(width, heads)
    at_least(0, chunk=chunk)
    at_least(1, left=left)
    at_least(3, kernel=kernel)
    if not train_chunks or not all(type(one) is int and one >= 0 for one in train_chunks):
        raise ConfigError(
            f"train_chunks is {list(train_chunks)}; expected encoder frames, such as [4, 8, 16], or 0 for all"
        )
    one_of(CONVOLUTIONS, convolution=convolution)
    blocks = [CONVOLUTIONS[convolution](width, heads, hidden, kernel, dropout) for _ in range(layers)]
    return ChunkConformer(
        features, width, subsampling_channels, dropout, blocks, chunk=chunk, left=left, train_chunks=train_chunks
    )


def lookahead_convolutional(
    features: int,
    *,
    width: int,
    layers: int,
    hidden: int,
    kernel: int,
    dropout: float,
    subsampling_channels: int,
    lookahead: int,
) -> LookaheadConvolutions:
    """Build the convolutional encoder; ``lookahead`` is of each layer, in encoder frames of 40 ms; 0 is causal."""
    check_sizes(width, layers, hidden, kernel, dropout, subsampling_channels)
    at_least(3, kernel=kernel)
    at_least(0, lookahead=lookahead)
    conv = partial(LookaheadConv, lookahead=lookahead)
    blocks = [LookaheadConvBlock(width, hidden, kernel, dropout, conv) for _ in range(layers)]
    return LookaheadConvolutions(features, width, subsampling_channels, dropout, blocks)
