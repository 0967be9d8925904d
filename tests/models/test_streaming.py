"""Frames that come piece by piece give the outputs of whole utterances under the same masks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from seqkd.data.subsampling import subsampled_length
from seqkd.errors import ConfigError
from seqkd.models.ctc import CtcModel
from seqkd.models.streaming_layers import ChunkConv, LookaheadConv, small_angles
from tests.models.tiny_models import ARCHITECTURES, BINS, CLASSES, tiny_model

CHUNKED = ["chunk_conformer", "within_chunks"]
LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 31, 64, 101, 330)  # feature frames


def model_of(kind: str, **options: object) -> CtcModel:
    """A model with random weights, other settings than the tiny one's."""
    tiny = tiny_model(kind)
    torch.manual_seed(1)
    model = CtcModel({**ARCHITECTURES[kind], "dropout": 0.0, **options}, tiny.features, CLASSES)
    model.feature_mean.copy_(tiny.feature_mean)
    model.feature_scale.copy_(tiny.feature_scale)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=0.3, std=0.2)
    return model.eval()


@torch.no_grad()
def streamed(model: CtcModel, features: Tensor, sizes: Iterator[int]) -> Tensor:
    """Logits (T', C) of features (T, F), in steps of so many encoder frames; beyond the end there is garbage."""
    state, outputs, place = model.state(), [], 0
    frames = subsampled_length(len(features))
    while sum(map(len, outputs)) < frames + model.encoder.delay:
        wanted = 4 * next(sizes)
        piece = features[place : place + wanted]
        padded = torch.cat([piece, torch.full((wanted - len(piece), BINS), 1e3)])
        logits, state = model.step(padded[None], torch.tensor([len(piece)]), state)
        outputs.append(logits[0])
        place += wanted
    return torch.cat(outputs)[model.encoder.delay :][:frames]


def every(size: int) -> Iterator[int]:
    while True:
        yield size


@pytest.mark.parametrize("kind", CHUNKED)
@pytest.mark.parametrize("left", [1, 5, 40])
@pytest.mark.parametrize("chunk", [1, 2, 3, 8, 100])
def test_chunks_with_state_are_the_whole_under_the_mask(chunk: int, left: int, kind: str) -> None:
    model = model_of(kind, chunk=chunk, left=left, layers=3)
    for length in LENGTHS:
        features = torch.randn(length, BINS, generator=torch.Generator().manual_seed(length))
        whole = model(features[None], torch.tensor([length])).logits[0]
        torch.testing.assert_close(streamed(model, features, every(chunk)), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lookahead", [0, 1, 4])
@pytest.mark.parametrize("size", [1, 3, 16])
def test_convolutions_with_state_are_the_whole(size: int, lookahead: int) -> None:
    model = model_of("lookahead_conv", lookahead=lookahead, layers=3)
    for length in LENGTHS:
        features = torch.randn(length, BINS, generator=torch.Generator().manual_seed(length))
        whole = model(features[None], torch.tensor([length])).logits[0]
        torch.testing.assert_close(streamed(model, features, every(size)), whole, rtol=0, atol=1e-5)


def test_convolutions_may_come_in_steps_of_any_size() -> None:
    model = model_of("lookahead_conv", lookahead=2)
    sizes = torch.randint(1, 9, (1000,), generator=torch.Generator().manual_seed(0))
    features = torch.randn(301, BINS)
    whole = model(features[None], torch.tensor([301])).logits[0]
    torch.testing.assert_close(streamed(model, features, iter(sizes.tolist())), whole, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", [*CHUNKED, "lookahead_conv"])
def test_streams_side_by_side_do_not_touch_each_other(kind: str) -> None:
    """One ends, and its place is taken by another, whose state is new."""
    model = model_of(kind)
    first, second = torch.randn(2, 24, BINS)
    begin = model.state(2)
    both, state = model.step(torch.stack([first, second]), torch.tensor([24, 24]), begin)
    fresh = model.state(1)
    axis = {name: 1 if name in ("attention", "convolution", "late") else 0 for name in state}
    mixed = {name: torch.cat([one.narrow(axis[name], 0, 1), fresh[name]], axis[name]) for name, one in state.items()}
    after, _ = model.step(torch.stack([second, second]), torch.tensor([24, 24]), mixed)
    torch.testing.assert_close(after[1], both[1], rtol=0, atol=1e-5)
    assert (after[0] - after[1]).abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("kind", [*CHUNKED, "lookahead_conv"])
def test_state_keeps_its_size_and_hours_change_nothing(kind: str) -> None:
    """Frames ten hours into a stream come out as those of its beginning, after the same frames."""
    model = model_of(kind)
    features = torch.randn(12 * 20, BINS)
    hours = 36_000 * 25 // 12 * 12
    outputs = []
    for position in (0, hours):
        state = model.state()
        state["position"] += position
        state["length"] += position
        rows = []
        for piece in features.split(12):
            before = {name: one.shape for name, one in state.items()}
            logits, state = model.step(piece[None], torch.tensor([12]), state)
            assert {name: one.shape for name, one in state.items()} == before
            rows.append(logits[0])
        outputs.append(torch.cat(rows)[30:])  # beyond what is seen of the zeros before the beginning
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", CHUNKED)
def test_a_frame_sees_its_chunk_and_what_is_left_of_it(kind: str) -> None:
    """By gradients: nothing after the chunk, and nothing further back than context and convolutions reach."""
    chunk, left, layers, kernel = 4, 3, 2, 5
    model = model_of(kind, chunk=chunk, left=left, layers=layers, kernel=kernel)
    features = torch.randn(1, 4 * 40, BINS, requires_grad=True)
    encoded = model(features, torch.tensor([160])).states
    for frame in (20, 23, 24, 31):
        (seen,) = torch.autograd.grad(encoded[0, frame].sum(), features, retain_graph=True)
        used = seen[0].abs().sum(1).nonzero().flatten()
        begin = frame // chunk * chunk
        assert used.max() == 4 * (begin + chunk) - 1
        assert used.min() >= 4 * (begin - layers * (left + kernel - 1 + chunk)) - 3
        assert used.min() < 4 * (begin - left)


def test_whole_chunks_attend_like_the_offline_conformer() -> None:
    """With a chunk of 0, attention is that of the Conformer: only the convolution differs, and is causal."""
    offline, model = model_of("conformer"), model_of("chunk_conformer", chunk=0)
    weights = {name: value for name, value in offline.state_dict().items() if "depthwise" not in name}
    model.load_state_dict(weights, strict=False)
    for one in (offline, model):
        for block in one.encoder.blocks:
            block.depthwise.conv.weight.data.zero_()
            block.depthwise.conv.bias.data.zero_()
    features, lengths = torch.randn(2, 50, BINS), torch.tensor([50, 33])
    ours, theirs = (one(features, lengths).logits for one in (model, offline))
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(ours[1, :9], theirs[1, :9], rtol=0, atol=1e-5)


def test_both_ways_within_the_whole_is_the_offline_conformer() -> None:
    offline, model = model_of("conformer"), model_of("within_chunks", chunk=0)
    model.load_state_dict(offline.state_dict())
    features, lengths = torch.randn(3, 50, BINS), torch.tensor([50, 33, 1])
    ours, theirs = (one(features, lengths) for one in (model, offline))
    for row, frames in enumerate(ours.lengths.tolist()):
        torch.testing.assert_close(ours.logits[row, :frames], theirs.logits[row, :frames], rtol=0, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 4, 7, 17, 30])
def test_a_convolution_within_chunks_reads_zeros_behind_them(chunk: int) -> None:
    """By torch's own convolution, chunk by chunk."""
    torch.manual_seed(0)
    layer, x = ChunkConv(6, 5), torch.randn(2, 17, 6)
    valid = torch.arange(17) < torch.tensor([17, 11])[:, None]
    known = x.masked_fill(~valid[..., None], 0.0)
    padded = torch.cat([known.new_zeros(2, 2, 6), known], dim=1)
    for begin in range(0, 17, chunk):
        piece = padded[:, begin : begin + 2 + chunk]
        piece = torch.cat([piece, piece.new_zeros(2, 2, 6)], dim=1).transpose(1, 2)
        expected = torch.nn.functional.conv1d(piece, layer.conv.weight.squeeze(-1), layer.conv.bias, groups=6)
        found = layer(x, valid, chunk)[:, begin : begin + chunk]
        torch.testing.assert_close(found, expected.transpose(1, 2), rtol=1e-5, atol=1e-6)


def test_lookahead_is_a_shift_of_the_centred_convolution() -> None:
    torch.manual_seed(0)
    layer = LookaheadConv(6, 5, lookahead=2)
    x, valid = torch.randn(2, 17, 6), torch.ones(2, 17, dtype=torch.bool)
    expected = torch.nn.functional.conv1d(
        x.transpose(1, 2), layer.conv.weight.squeeze(-1), layer.conv.bias, padding=2, groups=6
    ).transpose(1, 2)
    torch.testing.assert_close(layer(x, valid), expected, rtol=1e-5, atol=1e-6)


def test_angles_stay_exact() -> None:
    late = small_angles(100_001, 8, torch.device("cpu"))[100_000].double()
    rates = 10_000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    torch.testing.assert_close(late.sin(), (100_000 * rates).sin(), rtol=0, atol=1e-6)
    torch.testing.assert_close(late.cos(), (100_000 * rates).cos(), rtol=0, atol=1e-6)


def test_training_draws_a_chunk_for_each_pass() -> None:
    model = model_of("chunk_conformer", train_chunks=[1, 4, 0]).train()
    features, lengths = torch.randn(1, 60, BINS), torch.tensor([60])
    torch.manual_seed(0)
    seen = {round(model(features, lengths).logits.sum().item(), 4) for _ in range(20)}
    assert len(seen) == 3
    expected = set()
    for chunk in (1, 4, 0):
        model.encoder.chunk = chunk
        expected.add(round(model.eval()(features, lengths).logits.sum().item(), 4))
    assert seen == expected


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("chunk_conformer", {"chunk": -1}, "chunk is -1; expected at least 0"),
        ("chunk_conformer", {"left": 0}, "left is 0; expected at least 1"),
        ("chunk_conformer", {"train_chunks": []}, r"train_chunks is \[\]; expected encoder frames"),
        ("chunk_conformer", {"train_chunks": [-4]}, r"train_chunks is \[-4\]; expected encoder frames"),
        ("chunk_conformer", {"kernel": 1}, "kernel is 1; expected at least 3"),
        ("chunk_conformer", {"convolution": "both"}, "convolution is 'both'; expected one of causal, chunk"),
        ("lookahead_conv", {"lookahead": -1}, "lookahead is -1; expected at least 0"),
        ("lookahead_conv", {"lookahead": 5}, "lookahead is 5; expected from 0 to less than the kernel, which is 5"),
    ],
)
def test_settings_that_cannot_be(kind: str, options: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        model_of(kind, **options)
