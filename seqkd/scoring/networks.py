"""Alignment of two references with alternatives, or of words cut short: what sclite's networks do.

Only utterances whose hypothesis holds alternatives, or that hold fragments to be scored as right, come here; others
are aligned by `seqkd.scoring.align` and `seqkd.scoring.lattice`. Ties are broken as sclite breaks them: a substitution
or match before all, then an insertion, and the first predecessor on either side.

Legend: A arcs of the reference, B arcs of the hypothesis, each after a first one that stands for the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from seqkd.errors import DataError
from seqkd.scoring import lattice
from seqkd.scoring.lattice import Lattice
from seqkd.scoring.words import Costs

_MATCH, _SUBSTITUTION, _DELETION, _INSERTION, _LEFT_OUT = range(5)
_FORBIDDEN = 1 << 60
_cost = itemgetter(0)


def is_fragment(word: str) -> bool:
    """Whether a word is cut short: ``fi-`` or ``-ish``."""
    return len(word) > 1 and (word[0] == "-" or word[-1] == "-")


def has_fragments(*texts: str) -> bool:
    """Whether some word, marks aside, is cut short."""
    return any("-" in text and any(is_fragment(word.strip("(){}/")) for word in text.split()) for text in texts)


def same(one: str, other: str) -> bool:
    """Whether words are equal where one that is cut short equals what it may be cut from, as with sclite's -F."""
    for cut, whole in ((one, other), (other, one)):
        if len(cut) > 1 and cut[0] == "-":
            return len(whole) >= len(cut) - 1 and whole.endswith(cut[1:])
        if len(cut) > 1 and cut[-1] == "-":
            return whole.startswith(cut[:-1])
    return one == other


def normalized(
    texts: list[str], normalizer: Callable[[list[str]], list[str]] | None, markup: str
) -> tuple[list[str], set[int]]:
    """Return transcripts normalised, and which of them have marks, which are left alone: (list, set of indices)."""
    marked = set()
    if markup != "none":
        marked = {index for index, text in enumerate(texts) if lattice.has_marks(text, markup)}
    if normalizer:
        unmarked = iter(normalizer([text for index, text in enumerate(texts) if index not in marked]))
        texts = [
            lattice.normalize(text, normalizer, markup) if index in marked else next(unmarked)
            for index, text in enumerate(texts)
        ]
    return texts, marked


def choose(
    utterance: str, ours: str, theirs: str, markup: str, hypothesis_markup: str, costs: Costs, *,
    fragments: bool, both: bool,
) -> tuple[list[str], list[int], list[str] | None, list[int], int]:  # fmt: skip
    """Align one utterance with marks.

    Returns:
        The reference's words of the best path, their blocks, the hypothesis' words (None if ``both`` is not set, which
        states that the hypothesis has marks or fragments), the operations, and the number of blocks.

    Raises:
        DataError: braces do not match, or an alternative is empty.
    """
    parsed = _parse("Reference", utterance, ours, markup)
    if not both:
        words, blocks, ops = lattice.align(parsed, theirs.split(), *costs)
        return words, blocks, None, ops, parsed.count
    their = _parse("Hypothesis", utterance, theirs, hypothesis_markup)
    words, blocks, found, ops = align(parsed, their, *costs, fragments=fragments)
    return words, blocks, found, ops, parsed.count


def spelled(words: Sequence[str], found: Sequence[str], ops: Sequence[int]) -> tuple[str, str]:
    """Return both sides of an aligned utterance such that what is right as a word is right in its characters, too.

    Optional words that were left out are dropped, and a word cut short is replaced by the one that it fits.

    Args:
        words: of the reference.
        found: of the hypothesis.
        ops: the operations.
    """
    ours, theirs = [], []
    reference, hypothesis = iter(words), iter(found)
    for op in ops:
        word = None if op == _INSERTION else next(reference)
        other = None if op in (_DELETION, _LEFT_OUT) else next(hypothesis)
        if op == _MATCH and word != other:
            word = other = other if is_fragment(word) and not is_fragment(other) else word
        if word is not None and op != _LEFT_OUT:
            ours.append(word)
        if other is not None:
            theirs.append(other)
    return " ".join(ours), " ".join(theirs)


def _parse(side: str, utterance: str, text: str, markup: str) -> Lattice:
    try:
        return lattice.parse(text, markup)
    except DataError as fault:
        raise DataError(f"{side} {utterance}: {fault}.") from None


def align(
    ours: Lattice, theirs: Lattice, substitution: int, deletion: int, insertion: int, *, fragments: bool = False
) -> tuple[list[str], list[int], list[str], list[int]]:
    """Align a reference with a hypothesis, either of which may hold alternatives and optionally deletable words.

    Costs and operations are those of `seqkd.scoring.lattice.align`. An optionally deletable word of the hypothesis that
    is left out counts as nothing (sclite counts a correct word, and one of the reference).

    Args:
        ours: the reference.
        theirs: the hypothesis.
        substitution: its cost; 0 for fewest errors, then fewest substitutions.
        deletion: its cost.
        insertion: its cost.
        fragments: whether words cut short are right where they fit.

    Returns:
        The reference's words of the best path, their blocks, the hypothesis' words, and the operations.
    """
    if substitution:
        substitution, deletion, insertion = 1000 * substitution, 1000 * deletion, 1000 * insertion
        nothing, left_out, both = 1, 2 * deletion // 3, 1000
    else:
        substitution, deletion, insertion = (1 << 40) + (1 << 20), 1 << 40, 1 << 40
        nothing, left_out, both = 1, 2, 3
    equal: Callable[[str, str], bool] = same if fragments else str.__eq__
    down = [_skip(ours, arc, deletion, nothing, left_out) for arc in range(len(ours.words))]
    right = [_skip(theirs, arc, insertion, nothing, left_out) for arc in range(len(theirs.words))]
    # Arc -1 of either is its beginning, and so are the last row and the last column.
    rows: list[list[int]] = [[0] * (len(right) + 1) for _ in range(len(down) + 1)]
    steps: list[list[tuple[int, int]]] = [[(-1, -1)] * (len(right) + 1) for _ in range(len(down) + 1)]
    for b, before in enumerate(theirs.before):
        rows[-1][b], origin = _least((rows[-1][p], p) for p in before)
        rows[-1][b] += right[b]
        steps[-1][b] = (-1, origin)
    for a, above in enumerate(ours.before):
        rows[a][-1], origin = _least((rows[p][-1], p) for p in above)
        rows[a][-1] += down[a]
        steps[a][-1] = (origin, -1)
        word = ours.words[a]
        for b, left in enumerate(theirs.before):
            other = theirs.words[b]
            if word is None or other is None:
                change = both if word is other else _FORBIDDEN
            else:
                change = 0 if equal(word, other) else substitution
            across, corner = _least((rows[p][q], (p, q)) for p in above for q in left)
            drop, up = _least((rows[p][b], p) for p in above)
            add, back = _least((rows[a][q], q) for q in left)
            across, drop, add = across + change, drop + down[a], add + right[b]
            if across <= drop and across <= add:
                rows[a][b], steps[a][b] = across, corner
            elif drop < add:
                rows[a][b], steps[a][b] = drop, (up, b)
            else:
                rows[a][b], steps[a][b] = add, (a, back)
    _, (a, b) = _least((rows[p][q], (p, q)) for p in ours.ends for q in theirs.ends)
    words, blocks, found, ops = [], [], [], []
    while a != -1 or b != -1:
        up, back = steps[a][b]
        word = ours.words[a] if up != a else None
        other = theirs.words[b] if back != b else None
        if word is not None:
            words.append(word)
            blocks.append(ours.blocks[a])
        if other is not None and (word is not None or not theirs.optional[b]):
            found.append(other)
            ops.append(_INSERTION if word is None else _MATCH if equal(word, other) else _SUBSTITUTION)
        elif word is not None:
            ops.append(_LEFT_OUT if ours.optional[a] else _DELETION)
        a, b = up, back
    return words[::-1], blocks[::-1], found[::-1], ops[::-1]


def _skip(network: Lattice, arc: int, cost: int, nothing: int, left_out: int) -> int:
    if network.words[arc] is None:
        return nothing
    return left_out if network.optional[arc] else cost


def _least(options: Iterable[tuple[int, Any]]) -> tuple[int, Any]:
    """The cheapest of (cost, where); the first of equally cheap ones."""
    return min(options, key=_cost)
