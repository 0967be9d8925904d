"""Which utterances or sentences make up a batch. lhotse's dynamic bucketing decides it, on cuts without audio.

Sizes are seconds of audio or numbers of tokens, by id; a batch is limited by their sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lhotse import CutSet, MonoCut
from lhotse.dataset import DynamicBucketingSampler

from seqkd.errors import DataError


class StepSampler:
    """Ids of the batches of updates ``start`` … ``updates`` − 1, epochs run together.

    Which items update k sees depends on the seed and k alone, so a resumed run just starts at its update.
    ``limit`` names the setting behind ``max_size``, the greatest sum of sizes of one process' batch.
    """

    def __init__(
        self,
        sizes: Mapping[str, float],
        *,
        updates: int,
        max_size: float,
        seed: int,
        limit: str = "training.max_duration",
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.sizes, self.updates, self.start = sizes, updates, start
        self.max_size, self.limit, self.seed, self.rank, self.world = max_size, limit, seed, rank, world

    def __len__(self) -> int:
        return self.updates

    def __iter__(self) -> Iterator[list[str]]:
        step, epoch = 0, 0
        while step < self.updates:
            before = step
            for batch in self._epoch(epoch):
                if self.start <= step < self.updates:
                    yield batch
                step += 1
            if step == before:
                raise DataError(
                    f"no batch of {self.world} × {self.max_size:g} can be made from {len(self.sizes)} "
                    f"items; lower {self.limit}"
                )
            epoch += 1

    def _epoch(self, epoch: int) -> Iterator[list[str]]:
        if len(self.sizes) < 2:
            raise DataError(f"training needs at least 2 items, found {len(self.sizes)}")
        sampler = DynamicBucketingSampler(
            CutSet.from_cuts(cut(item, size) for item, size in self.sizes.items()),
            max_duration=self.max_size,
            num_buckets=max(2, min(8, len(self.sizes) // 50)),
            shuffle=True,
            # With several processes every one must get a batch at every update.
            drop_last=self.world > 1,
            seed=self.seed,
            rank=self.rank,
            world_size=self.world,
        )
        sampler.set_epoch(epoch)
        for cuts in sampler:
            yield [c.id for c in cuts]


def cut(item: str, size: float) -> MonoCut:
    """A lhotse cut that carries our id and a duration, nothing else."""
    return MonoCut(id=item, start=0, duration=size, channel=0)


def longest_first(sizes: Mapping[str, float], max_size: float, rank: int = 0, world: int = 1) -> list[list[str]]:
    """Every item once, longest first, so that the padded size of a batch is at most ``max_size``.

    Processes take turns at the batches.
    """
    most = max(1, len(sizes) // world)  # items: a process without a batch would leave the others waiting
    batches: list[list[str]] = []
    for item in sorted(sizes, key=lambda item: (-sizes[item], item)):
        count = len(batches[-1]) if batches else most
        if count == most or (count + 1) * sizes[batches[-1][0]] > max_size:
            batches.append([])
        batches[-1].append(item)
    return batches[rank::world]
