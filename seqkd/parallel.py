"""Work shared among the processes of this machine, with a progress bar that says how much is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def in_parallel(
    function: Callable[[Any], Any], jobs: Sequence[Any], nj: int, label: str, unit: str = "job"
) -> Iterator[Any]:
    """Yield ``function(job)`` of every job, in order, from up to ``nj`` processes; ``unit`` is what the bar counts."""
    from seqkd.progress import ProgressBar

    if nj <= 1 or len(jobs) <= 1:
        yield from ProgressBar(map(function, jobs), total=len(jobs), desc=label, unit=unit, disable=len(jobs) < 2)
        return
    with ProcessPoolExecutor(min(nj, len(jobs))) as pool:
        yield from ProgressBar(pool.map(function, jobs), total=len(jobs), desc=label, unit=unit)
