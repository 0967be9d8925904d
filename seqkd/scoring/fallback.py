"""What align.cpp computes, without it: dictionaries for words, NumPy for alignments, the same results.

Utterances of similar length are aligned together, one cell of all their tables at a time, so that Python's own
time is spent per cell and not per cell and utterance; long ones, unless other costs are asked for, one column at a time
(`seqkd.scoring.bits`). rapidfuzz counts short ones where no alignment is wanted; it cannot align, because its choice
among equally good alignments is another.

Legend: B utterances of a batch, N and M tokens of its longest reference and hypothesis, K operations.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
from rapidfuzz.distance import Levenshtein

from seqkd.scoring.bits import align_long
from seqkd.scoring.words import DELETION, INSERTION, MATCH, SUBSTITUTION, Costs, Tokens

_ERRORS = SUBSTITUTION, DELETION, INSERTION
_OTHER_SPACES = "\t\v\f\r\x1c\x1d\x1e\x1f"  # of ASCII; the others are replaced before
_CHUNK = 1 << 20  # characters split at a time: as single words they take ten times as much memory
_ALONE = 1 << 27  # of the table of an utterance by itself: 128 MiB of operations
_LONG = 1 << 15  # of the table of an utterance that is aligned column by column: some 180 tokens on both sides
_CELLS = 1 << 21  # of the tables of a batch: 2 MiB of operations, twenty of costs


def number_words(joined: str, lines: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Number the words of lines separated by newlines; returns ids, offsets and the distinct words."""
    # Newlines become words of their own, and runs of spaces empty ones: one split and one look-up a word serve
    # all lines.
    numbers: dict[str, int] = defaultdict(itertools.count(-2).__next__, {})
    breaks, empties = numbers["\n"], numbers[""]  # -2 and -1
    parts, lengths, rest, begin = [], [], 0, 0
    while begin < len(joined):
        end = joined.find("\n", begin + _CHUNK)
        end = len(joined) if end < 0 else end + 1
        chunk = joined[begin:end]
        for space in _OTHER_SPACES:
            chunk = chunk.replace(space, " ")
        split = chunk.replace("\n", " \n ").split(" ")
        ids = np.fromiter(map(numbers.__getitem__, split), np.int32, len(split))
        ids = ids[ids != empties]
        ends = np.flatnonzero(ids == breaks)
        words = ids[ids != breaks]
        lengths.append(np.diff(ends - np.arange(len(ends)), prepend=0))
        rest = len(words) - int(lengths[-1].sum())  # of the last line, which no newline ends
        parts.append(words)
        begin = end
    offsets = np.zeros(lines + 1, np.int64)
    if lines:
        np.cumsum(np.append(np.concatenate(lengths) if lengths else [], rest), out=offsets[1:])
    return (np.concatenate(parts) if parts else np.empty(0, np.int32)), offsets, list(numbers)[2:]


def align(
    references: Tokens, hypotheses: Tokens, costs: Costs, *, keep: bool
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return counts (N, 3), operations (K,) and their offsets; the last two are None unless kept."""
    if not keep and not costs.substitution:
        return _count(references, hypotheses), None, None
    n, m = references.lengths, hypotheses.lengths
    utterances = len(n)
    rooms = np.concatenate([[0], np.cumsum(n + m)])  # each alignment is written to the end of its room
    ops = np.empty(rooms[-1], np.uint8)
    lengths = np.zeros(utterances, np.int64)
    same = _equal(references, hypotheses)
    lengths[same] = n[same]
    ops[_ranges(rooms[1:][same] - n[same], n[same])] = MATCH
    alone = ~same & (n * m > _LONG) & (not costs.substitution)
    for utterance in np.flatnonzero(alone):
        found = align_long(references[utterance].tolist(), hypotheses[utterance].tolist())
        lengths[utterance] = len(found)
        ops[rooms[utterance + 1] - len(found) : rooms[utterance + 1]] = found
    rest = np.flatnonzero(~same & ~alone)
    rest = rest[np.lexsort((m[rest], n[rest]))]
    while len(rest):
        batch = _batch(rest, n, m)
        rest = rest[len(batch) :]
        lengths[batch] = _align(references, hypotheses, batch, costs, ops, rooms[1:])
    kept = ops[_ranges(rooms[1:] - lengths, lengths)]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    counts = np.empty((utterances, 3), np.int32)
    for column, op in enumerate(_ERRORS):
        before = np.concatenate([[0], np.cumsum(kept == op)])
        counts[:, column] = before[offsets[1:]] - before[offsets[:-1]]
    return counts, (kept if keep else None), (offsets if keep else None)


def _count(references: Tokens, hypotheses: Tokens) -> np.ndarray:
    counts = np.zeros((len(references), 3), np.int32)
    for utterance in np.flatnonzero(~_equal(references, hypotheses)):
        reference, hypothesis = references[utterance].tolist(), hypotheses[utterance].tolist()
        if len(reference) * len(hypothesis) > _LONG:
            counts[utterance] = np.bincount(align_long(reference, hypothesis), minlength=4)[list(_ERRORS)]
            continue
        # With these weights the distance is scale * errors + substitutions, and substitutions < scale: one
        # distance yields both, minimised in this order. The lengths give the rest.
        scale = max(len(reference), len(hypothesis)) + 1
        distance = Levenshtein.distance(reference, hypothesis, weights=(scale, scale, scale + 1))
        errors, substitutions = divmod(distance, scale)
        deletions = (errors - substitutions + len(reference) - len(hypothesis)) // 2
        counts[utterance] = substitutions, deletions, errors - substitutions - deletions
    return counts


def _equal(references: Tokens, hypotheses: Tokens) -> np.ndarray:
    """(N,), whether reference and hypothesis are the same."""
    n = references.lengths
    same = n == hypotheses.lengths
    begins, sizes = references.offsets[:-1][same], n[same]
    differ = references.ids[_ranges(begins, sizes)] != hypotheses.ids[_ranges(hypotheses.offsets[:-1][same], sizes)]
    ends = np.cumsum(sizes)
    before = np.concatenate([[0], np.cumsum(differ)])
    same[same] = before[ends] == before[ends - sizes]
    return same


def _ranges(begins: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """``begins[0] .. begins[0] + sizes[0] - 1``, then the same of the next, and so on."""
    before = np.concatenate([[0], np.cumsum(sizes)])
    return np.repeat(begins - before[:-1], sizes) + np.arange(before[-1])


def _batch(order: np.ndarray, n: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Take from ``order`` the longest beginning whose tables fit, padded to its longest; at least one."""
    ahead = order[: max(1, _CELLS // max(1, int(n[order[0]])))]
    cells = np.maximum.accumulate(n[ahead]) * np.maximum.accumulate(m[ahead]) * np.arange(1, len(ahead) + 1)
    # References of one length, or nearly: padding is wasted work.
    close = n[ahead] <= n[ahead[0]] + n[ahead[0]] // 8
    return ahead[: max(1, int(np.argmin((cells <= _CELLS) & close) or len(ahead)))]


def _align(
    references: Tokens, hypotheses: Tokens, batch: np.ndarray, costs: Costs, ops: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Align a batch, write its operations so that they end at ``ends`` of the utterance; return their numbers."""
    n, m = references.lengths[batch], hypotheses.lengths[batch]
    ref, hyp = _padded(references, batch, n), _padded(hypotheses, batch, m)  # (N, B), (M, B)
    weights = _weights(costs, len(ref) + len(hyp))
    # What does not fit is an utterance by itself: only a row before each strip of its table is kept, and the strips
    # are filled again from the last to the first.
    strip = len(ref) if len(ref) * hyp.size <= _ALONE else max(_CELLS // max(1, len(hyp)), math.isqrt(len(ref)), 1)
    starts = [np.zeros((len(hyp) + 1, len(batch)), weights.dtype)]
    for begin in range(0, len(ref) - strip, max(strip, 1)):
        starts.append(_fill(ref[begin : begin + strip], hyp, weights, starts[-1])[0])
    lengths = np.zeros(len(batch), np.int64)
    i, j, active = n.copy(), m.copy(), np.arange(len(batch))
    for number in reversed(range(len(starts))):
        begin = number * strip
        _, steps = _fill(ref[begin : begin + strip], hyp, weights, starts.pop())  # (strip, M, B)
        while len(active := active[(i[active] > begin) | ((number == 0) & (j[active] > 0))]):
            a, b = i[active], j[active]
            op = steps[np.maximum(a - 1 - begin, 0), np.maximum(b - 1, 0), active]
            op = np.where(a == 0, INSERTION, np.where(b == 0, DELETION, op)).astype(np.uint8)
            lengths[active] += 1
            ops[ends[batch[active]] - lengths[active]] = op
            i[active] -= op != INSERTION
            j[active] -= op != DELETION
        active = np.arange(len(batch))
    return lengths


def _padded(tokens: Tokens, batch: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(longest, B) tokens; what lies beyond an utterance's end is -1 and never read back."""
    padded = np.full((int(lengths.max(initial=0)), len(batch)), -1, np.int32)
    rows = _ranges(np.zeros(len(batch), np.int64), lengths)
    padded[rows, np.repeat(np.arange(len(batch)), lengths)] = tokens.ids[_ranges(tokens.offsets[batch], lengths)]
    return padded


def _weights(costs: Costs, tokens: int) -> np.ndarray:
    """What a substitution, a deletion and an insertion cost, of a type that holds the costs of so many tokens."""
    if costs.substitution:
        return np.array(costs, np.int32 if (tokens + 1) * max(costs) < 1 << 31 else np.int64)
    small = tokens < 1 << 15
    unit = 1 << (16 if small else 32)  # errors first, substitutions second, in one number
    return np.array([unit + 1, unit, unit], np.int32 if small else np.int64)


def _fill(ref: np.ndarray, hyp: np.ndarray, weights: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fill some rows of the tables of B utterances.

    Returns:
        The last row, (M + 1, B), and the (N, M, B) best last operations of these beginnings of the references with
        every beginning of their hypotheses.
    """
    (n, size), m = ref.shape, len(hyp)
    substitution, deletion, insertion = weights
    steps = np.zeros((max(n, 1), max(m, 1), size), np.uint8)  # zero is a match
    # Costs less those of the insertions along the row: with these taken out, going right is free, and the best way
    # to a cell is the running minimum of the ways up to it.
    row, best = row.copy(), np.empty_like(row)  # (M + 1, B)
    for i in range(n):
        differ = hyp != ref[i]  # (M, B)
        across = row[:-1] + differ * substitution - insertion
        down = row[1:] + deletion
        best[0] = row[0] + deletion
        np.minimum(across, down, out=best[1:])
        deleted = across > down
        vertical = best[1:].copy()
        np.minimum.accumulate(best, axis=0, out=best)
        step = differ.view(np.uint8)
        step[deleted] = DELETION
        left = best[:-1]
        step[(left < vertical) | ((left == vertical) & deleted)] = INSERTION
        steps[i, :m] = step
        row, best = best, row
    return row, steps
