"""Match error rate, and word information lost and preserved: computed from the words that agree.

MER and WIL are of Morris, Maier and Green, "From WER and RIL to MER and WIL", Interspeech 2004. With H hits, S
substitutions, D deletions, I insertions, N = H + S + D reference words and P = H + S + I hypothesis words::

    MER = (S + D + I) / (H + S + D + I)    share of the alignment that is wrong; never above 1
    WIP = H / N · H / P                    information preserved; WIL = 1 − WIP

They are jiwer's. Where several alignments have the fewest errors, H depends on which is taken; here it is the one with
the most hits, jiwer's is any.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from seqkd.scoring.wer import Counts


@dataclass(frozen=True)
class MatchRates:
    """MER, WIL and WIP as fractions, and the hits."""

    mer: float
    wil: float
    wip: float
    hits: int

    def to_json(self) -> dict[str, Any]:
        """Return the rates as they stand in the JSON file of ``seqkd score``."""
        return asdict(self)


def match_rates(counts: Counts) -> MatchRates:
    """Of all utterances together; an empty side preserves nothing, unless both are empty."""
    words = int(counts.length.sum())
    substitutions, deletions, insertions = (
        int(part.sum()) for part in (counts.substitutions, counts.deletions, counts.insertions)
    )
    hits = words - substitutions - deletions
    hypothesis = hits + substitutions + insertions
    steps = hits + substitutions + deletions + insertions
    if not steps:
        return MatchRates(0.0, 0.0, 1.0, 0)
    wip = hits / words * hits / hypothesis if words and hypothesis else 0.0
    return MatchRates(1 - hits / steps, 1 - wip, wip, hits)
