"""How far a teacher's transcripts of one utterance agree.

Letters: N hypotheses.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from rapidfuzz.distance import Levenshtein


def agreement(texts: Sequence[str]) -> float:
    """1 - mean pairwise word edit distance / mean number of words, from 0 to 1.

    A teacher that is sure differs with itself in few words; one that guesses gives N different sentences. One
    hypothesis agrees with itself (1), and so do empty ones; where they differ by more words than they have it is 0.

    Args:
        texts: N transcripts of one utterance, words between spaces.

    Chosen: the measure, and that all pairs count alike.
    """
    words = [text.split() for text in texts]
    pairs = list(combinations(words, 2))
    length = sum(map(len, words)) / max(1, len(words))
    if not pairs or length == 0:
        return 1.0
    distance = sum(Levenshtein.distance(one, other) for one, other in pairs) / len(pairs)
    return max(0.0, 1.0 - distance / length)
