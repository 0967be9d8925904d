"""Batches depend on the seed and the update alone: not on resuming, nor on how many processes share them."""

from __future__ import annotations

import pytest
import torch

from seqkd.classification.batches import (
    ClipBatch,
    Clips,
    batch_of,
    evaluation_clips,
    rows_of_update,
    training_clips,
)
from seqkd.losses.outputs import IGNORE

COUNT = 13


def clips(frames: int = 0) -> Clips:
    """13 clips of 1 to 13 frames; with a class a clip, or one a frame."""
    lengths = torch.arange(1, COUNT + 1)
    valid = torch.arange(COUNT) < lengths[:, None]
    features = torch.randn(COUNT, COUNT, 2, generator=torch.Generator().manual_seed(0)) * valid[..., None]
    targets = torch.where(valid, lengths[:, None], IGNORE) if frames else lengths[:, None] % 3
    return Clips(features, lengths, targets, torch.arange(COUNT) + 100)


def drawn(start: int = 0, rank: int = 0, world: int = 1, seed: int = 0, workers: int = 0) -> list[ClipBatch]:
    options = {"batch": 5, "updates": 9, "seed": seed, "workers": workers}
    return list(training_clips(clips(), start=start, rank=rank, world=world, **options))


def rows(batches: list[ClipBatch]) -> list[list[int]]:
    return [batch.rows.tolist() for batch in batches]


@pytest.mark.parametrize(("count", "batch"), [(13, 5), (12, 4), (3, 8)])
def test_each_clip_is_seen_once_an_epoch(count: int, batch: int) -> None:
    seen = torch.cat([rows_of_update(count, batch, 7, update) for update in range(3 * count)])
    epochs = seen[: 3 * count].view(3, count)
    assert all(sorted(epoch.tolist()) == list(range(count)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 3 or count == 3
    assert not rows_of_update(count, batch, 8, 0).equal(rows_of_update(count, batch, 7, 0)) or count == 3


def test_the_shares_of_processes_are_the_batch() -> None:
    whole = drawn()
    for world in (2, 3):
        shares = [drawn(rank=rank, world=world) for rank in range(world)]
        for batch, *parts in zip(whole, *shares, strict=True):
            assert sorted(row for part in parts for row in part.rows.tolist()) == sorted(batch.rows.tolist())
            assert max(len(part.rows) for part in parts) - min(len(part.rows) for part in parts) <= 1


def test_a_resumed_training_sees_what_it_would_have_seen() -> None:
    assert rows(drawn(start=4)) == rows(drawn())[4:] and len(drawn(start=4)) == 5
    assert rows(drawn(workers=2)) == rows(drawn())
    loader = training_clips(clips(), batch=5, updates=9, seed=0, start=4, rank=0, world=1)
    assert len(loader) == 9  # of all: Lightning counts those before as seen
    assert rows(drawn(seed=1)) != rows(drawn())


def test_a_batch_is_cut_to_its_longest_clip() -> None:
    found = batch_of(clips().take([2, 4]))
    assert found.features.shape == (2, 5, 2) and found.lengths.tolist() == [3, 5] and found.rows.tolist() == [102, 104]
    assert found.features[0].equal(clips().features[2, :5]) and (found.features[0, 3:] == 0).all()
    assert found.targets.tolist() == [[0], [2]] and found.positions.tolist() == [1, 1]
    frames = batch_of(clips(frames=1).take([2, 4]))
    assert frames.targets.tolist() == [[3, 3, 3, IGNORE, IGNORE], [5] * 5] and frames.positions.tolist() == [3, 5]


def test_evaluation_sees_every_clip_once_in_order() -> None:
    assert rows(evaluation_clips(clips(), batch=5)) == [list(range(100, 105)), [*range(105, 110)], [110, 111, 112]]
    shares = [row for rank in (0, 1) for part in rows(evaluation_clips(clips(), rank=rank, world=2)) for row in part]
    assert sorted(shares) == list(range(100, 113))


def test_clips_are_taken_and_labelled() -> None:
    some = clips().take(torch.tensor([5, 1]))
    assert len(some) == 2 and some.rows.tolist() == [105, 101] and some.features[0].equal(clips().features[5])
    assert some.labelled(torch.tensor([2, 0])).targets.tolist() == [[2], [0]]
    assert some.labelled(torch.tensor([[2, 1], [0, 0]])).targets.tolist() == [[2, 1], [0, 0]]
    assert some.targets.tolist() == [[0], [2]]


def test_a_batch_is_moved_with_all_it_has() -> None:
    batch = batch_of(clips())
    batch.share = torch.ones(COUNT)
    moved = batch.to(torch.device("meta"))
    assert moved.features.device.type == moved.share.device.type == "meta" and moved.views is None
