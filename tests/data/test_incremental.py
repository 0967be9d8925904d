"""Features of sound that comes in pieces are those of the whole."""

from __future__ import annotations

import pytest
import torch

from seqkd.data.features import FeatureSettings, fbank
from seqkd.data.incremental import IncrementalFbank

SETTINGS = [
    FeatureSettings(num_mel_bins=40),
    FeatureSettings(sample_rate=8000, num_mel_bins=20, frame_length_ms=32.0, frame_shift_ms=12.5),
    FeatureSettings(sample_rate=8000, num_mel_bins=20, frame_length_ms=20.0, frame_shift_ms=25.0),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=["usual", "odd", "gaps"])
@pytest.mark.parametrize("sizes", [[1600], [160], [1, 7, 401, 3000], [100_000]], ids=str)
def test_pieces_give_the_frames_of_the_whole(settings: FeatureSettings, sizes: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    for length in (400, 401, 519, 520, 559, 560, 640, 719, 720, 1000, 4567, 16_000):
        samples = 0.1 * torch.randn(length, generator=generator)
        stream, made, place, number = IncrementalFbank(settings), [], 0, 0
        while place < length:
            size = sizes[number % len(sizes)]
            made.append(stream.push(samples[place : place + size]))
            place, number = place + size, number + 1
        whole = fbank(samples, settings)
        found = torch.cat([*made, stream.finish()])
        assert found.shape == whole.shape, length
        torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)


def test_frames_come_as_soon_as_their_samples() -> None:
    stream = IncrementalFbank(SETTINGS[0])
    assert [len(stream.push(torch.randn(40))) for _ in range(11)] == [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]


def test_memory_is_bounded() -> None:
    stream = IncrementalFbank(SETTINGS[0])
    kept = []
    for _ in range(200):
        stream.push(torch.randn(160))
        kept.append(len(stream._held))
    assert max(kept) < 3 * stream.window and stream.frames == 199


@pytest.mark.parametrize("length", [0, 1, 100, 279])
def test_less_than_a_window_has_no_frames(length: int) -> None:
    stream = IncrementalFbank(SETTINGS[0])
    assert stream.push(torch.randn(length)).shape == stream.finish().shape == (0, 40)
