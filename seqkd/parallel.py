"""Work shared among the processes of this machine, with a progress bar that says how much is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from seqkd.errors import SeqkdError


def in_parallel(
    function: Callable[[Any], Any], jobs: Sequence[Any], nj: int, label: str, unit: str = "job"
) -> Iterator[Any]:
    """Yield ``function(job)`` of every job, in order, from up to ``nj`` processes; ``unit`` is what the bar counts.

    Raises SeqkdError when the system ended one of them.
    """
    from seqkd.progress import ProgressBar

    if nj <= 1 or len(jobs) <= 1:
        yield from ProgressBar(map(function, jobs), total=len(jobs), desc=label, unit=unit, disable=len(jobs) < 2)
        return
    workers = min(nj, len(jobs))
    with ProcessPoolExecutor(workers) as pool:
        done = or_one_sentence(pool.map(function, jobs), f"{label}: one of {workers} worker processes")
        yield from ProgressBar(done, total=len(jobs), desc=label, unit=unit)


def or_one_sentence(results: Iterator[Any], who: str) -> Iterator[Any]:
    """Yield what a pool of processes gives; SeqkdError, beginning with ``who``, if the system ended one of them."""
    try:
        yield from results
    except BrokenProcessPool as error:
        raise SeqkdError(f"{who} was killed, most likely for memory; run it again with a lower --nj") from error
