"""Made-up meetings: turns that overlap, streams that mix speakers, times that are a little off."""

from __future__ import annotations

import random

from seqkd.scoring.meetings import Turn
from tests.scoring.corpora import spoil


def meeting(seed: int) -> tuple[list[Turn], list[Turn], float]:
    """References, hypotheses and a collar."""
    source = random.Random(seed)
    words = ["a", "bb", "ccc", "dddd", "e", "ff"]
    speakers, streams = source.randint(1, 3), source.randint(1, 3)
    references, hypotheses, now = [], [], 0.0
    for _ in range(source.randint(1, 7)):
        length = source.randint(1, 6)
        begin = max(0.0, now - source.random())
        end = now = begin + length * source.uniform(0.2, 0.6)
        speaker = source.randrange(speakers)
        said = source.choices(words, k=length)
        references.append(Turn("m", f"speaker{speaker}", tuple(said), round(begin, 2), round(end, 2)))
        stream = speaker % streams if source.random() < 0.8 else source.randrange(streams)
        if heard := spoil(source, said, words, source.choice([0.05, 0.3])):
            shift = source.uniform(0, 1.5)
            hypotheses.append(Turn("m", f"s{stream}", tuple(heard), round(begin + shift, 2), round(end + shift, 2)))
    return references, hypotheses or [Turn("m", "s0", ("a",), 0.0, 1.0)], source.choice([0.0, 0.5, 5.0])
