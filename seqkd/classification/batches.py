"""Batches of clips, in an order that depends on the seed and the update alone.

Letters: P passes, B clips, T frames, F features, S labels of a clip (1, or T of a class a frame).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seqkd.losses.outputs import IGNORE

_SALT = 101  # so that the order of clips is not that of other draws of the same seed


@dataclass(frozen=True)
class Clips:
    """Clips in memory: ``features`` (N, T, F), ``lengths`` (N,), ``targets`` (N, S), ``rows`` (N,) of their set."""

    features: Tensor
    lengths: Tensor
    targets: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: np.ndarray | Tensor) -> Clips:
        """Return the clips at the given places."""
        chosen = torch.as_tensor(chosen)
        return Clips(self.features[chosen], self.lengths[chosen], self.targets[chosen], self.rows[chosen])

    def labelled(self, targets: np.ndarray | Tensor) -> Clips:
        """With other targets, (N,) or (N, S)."""
        targets = torch.as_tensor(targets)
        return replace(self, targets=targets[:, None] if targets.ndim == 1 else targets)


@dataclass
class ClipBatch:
    """B clips of `Clips`, and what MixUp and augmentation have made of them.

    Attributes:
        features: (B, T, F).
        lengths: (B,).
        targets: (B, S).
        rows: (B,) of their set: where their teachers' outputs are.
        views: (P, B, T, F) what each pass is given, or None where all are given ``features``.
        clean: (B, T, F) what a teacher with ``teacher_view: clean`` is given.
        mixed: (B, S) targets of the clips that were mixed in.
        share: (B,) of the first clip in a mixture.
        unchanged: of each of the ``views``, whether it is the clips as they are.
    """

    features: Tensor
    lengths: Tensor
    targets: Tensor
    rows: Tensor
    views: Tensor | None = None
    clean: Tensor | None = None
    mixed: Tensor | None = None
    share: Tensor | None = None
    unchanged: tuple[bool, ...] = ()

    def to(self, device: torch.device, **options: object) -> ClipBatch:
        """Return the batch on another device."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **{name: value.to(device, **options) for name, value in tensors.items()})

    @property
    def positions(self) -> Tensor:
        """Return how many labels each clip has, (B,)."""
        return (self.targets != IGNORE).sum(1)


def training_clips(
    clips: Clips, *, batch: int, updates: int, seed: int, start: int, rank: int, world: int, workers: int = 0
) -> DataLoader:
    """Batches from update ``start`` on: the share of process ``rank`` of ``world``."""
    drawn = _Drawn(clips, batch, seed, rank, world)
    return DataLoader(drawn, sampler=_Rest(start, updates), batch_size=None, num_workers=workers)


def evaluation_clips(clips: Clips, *, batch: int = 256, rank: int = 0, world: int = 1) -> DataLoader:
    """Every clip once, in order; processes take turns."""
    rows = torch.arange(len(clips))[rank::world]
    parts = [rows[at : at + batch] for at in range(0, len(rows), batch)]
    return DataLoader([batch_of(clips.take(part)) for part in parts], batch_size=None)


def rows_of_update(count: int, batch: int, seed: int, update: int) -> Tensor:
    """(B,) which of ``count`` clips an update sees: epochs of all clips in an order of their own, none left out."""
    places = torch.arange(update * batch, (update + 1) * batch)
    epochs, within = places // count, places % count
    found = torch.empty_like(places)
    for epoch in epochs.unique().tolist():
        generator = torch.Generator().manual_seed(hash((_SALT, seed, epoch)) % 2**63)
        order = torch.randperm(count, generator=generator)
        found[epochs == epoch] = order[within[epochs == epoch]]
    return found


def batch_of(clips: Clips) -> ClipBatch:
    """All of them, cut to the longest."""
    frames = int(clips.lengths.max())
    return ClipBatch(clips.features[:, :frames], clips.lengths, clips.targets[:, :frames], clips.rows)


@dataclass(frozen=True)
class _Rest:
    """Updates ``start`` … ``updates`` − 1. Its length is of all: Lightning counts those before ``start`` as seen."""

    start: int
    updates: int

    def __len__(self) -> int:
        return self.updates

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.updates))


class _Drawn(Dataset):
    def __init__(self, clips: Clips, batch: int, seed: int, rank: int, world: int) -> None:
        self.clips, self.batch, self.seed, self.rank, self.world = clips, batch, seed, rank, world

    def __getitem__(self, update: int) -> ClipBatch:
        rows = rows_of_update(len(self.clips), self.batch, self.seed, update)
        return batch_of(self.clips.take(rows[self.rank :: self.world]))
