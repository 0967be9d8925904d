"""MAPSSWE, the matched-pairs test of sentence-segment word errors (Gillick & Cox, ICASSP 1989; Pallett et al. 1990).

Errors cluster, so words are not independent; but what is separated by two words that both systems got right nearly
is. The utterances are cut at such places into segments, the differences of the two systems' errors in each segment
are taken as a sample, and a Z-test asks whether their mean is zero. Segments without errors are not counted, as in
NIST's ``sc_stats``, whose Z this is.

Legend: N utterances, P positions: reference words (or, with alternatives, words and alternations) of all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from seqkd.errors import DataError
from seqkd.statistics.few import least_p

FEW = 50  # segments; with fewer the normal distribution is a poor guide


@dataclass(frozen=True)
class Errors:
    """Where one system's errors are.

    Attributes:
        at: (P,) errors at each position: substitutions, deletions, insertions within an alternation.
        before: (P + N,) words inserted before each position, and at the end of each utterance.
        words: (P,) whether the reference has a word there (an alternation may have none).
        positions: (N,) positions of each utterance.
    """

    at: np.ndarray
    before: np.ndarray
    words: np.ndarray
    positions: np.ndarray


@dataclass(frozen=True)
class MatchedPairs:
    """The test's result.

    Attributes:
        z: positive if the first system makes more errors; infinite where all segments differ equally.
        p_value: two-sided, from the normal distribution, but at least 2^(1 - k) where k segments differ.
        segments: how many segments with errors there are.
        mean: mean difference of errors a segment.
        deviation: its standard deviation.
    """

    z: float
    p_value: float
    segments: int
    mean: float
    deviation: float


def matched_pairs(first: Errors, second: Errors, *, separation: int = 2) -> MatchedPairs:
    """Compare two systems on the same utterances.

    Args:
        first: errors of one system.
        second: errors of the other.
        separation: correct words in both systems that end a segment.
    """
    differences = segment_errors(first, second, separation=separation)
    differences = differences[:, 0] - differences[:, 1]
    count = len(differences)
    mean = float(differences.mean()) if count else 0.0
    deviation = float(differences.std(ddof=1)) if count > 1 else 0.0
    error = deviation / math.sqrt(count) if count else 0.0
    z = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    p_value = max(math.erfc(abs(z) / math.sqrt(2)), least_p(int((differences != 0).sum())))
    return MatchedPairs(z, p_value, count, mean, deviation)


def segment_errors(first: Errors, second: Errors, *, separation: int = 2) -> np.ndarray:
    """Return (segments, 2) errors of both systems in each segment."""
    if not np.array_equal(first.positions, second.positions):
        raise DataError("The two systems were not scored against the same references.")
    # Positions and the gaps around them on one line: gap, word, gap, ..., word, gap, utterance after utterance.
    utterances = len(first.positions)
    slots = 2 * first.positions + 1
    begins = np.concatenate([[0], np.cumsum(slots)])
    inside = np.arange(begins[-1]) - np.repeat(begins[:-1], slots)
    is_word = inside % 2 == 1
    errors = np.zeros((begins[-1], 2), np.int64)
    for column, system in enumerate((first, second)):
        errors[is_word, column] = system.at
        errors[~is_word, column] = system.before
    words = np.zeros(begins[-1], np.int64)
    words[is_word] = first.words | second.words
    wrong = np.flatnonzero(errors.any(axis=1))
    if not len(wrong):
        return np.zeros((0, 2), np.int64)
    seen = np.cumsum(words)
    between = seen[wrong[1:] - 1] - seen[wrong[:-1]]  # words between one error and the next; all are correct
    utterance = np.repeat(np.arange(utterances), slots)[wrong]
    starts = np.concatenate([[True], (between >= separation) | (utterance[1:] != utterance[:-1])])
    return np.add.reduceat(errors[wrong], np.flatnonzero(starts), axis=0)
