"""Holm's correction for several comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from seqkd.statistics.bootstrap import LEVEL


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Return which of several hypotheses are rejected at ``level`` by Holm's step-down correction (1979)."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected
