"""References with alternatives, ``{a / b}``, and optionally deletable words, ``(uh)``, and their alignment.

A reference with such marks is a small lattice: every token knows which tokens may come before it. It is aligned as
a plain one is, and the tokens of the best path then are the reference for everything that follows. As in sclite, a
hypothesis without an optionally deletable word is correct, and ``@`` is an alternative without words.

Legend: A arcs, that is tokens of the lattice; M tokens of the hypothesis.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from seqkd import native
from seqkd.errors import DataError

_MATCH, _SUBSTITUTION, _DELETION, _INSERTION, _LEFT_OUT = range(5)
_START = -1
_FORBIDDEN = 1 << 60
_MARKS = re.compile(r"[{}]")
_SLASH = re.compile(r"(/)")
_OPTIONAL = re.compile(r"\((\S+)\)")

MARKUP = ("none", "alternatives", "all")


@dataclass
class Lattice:
    """A reference as a lattice.

    Attributes:
        words: (A,) in an order in which predecessors come first; None for one without a word, ``@``.
        before: (A,) the arcs that may come before each one; -1 is the beginning.
        blocks: (A,) which alternation or plain word of the reference an arc belongs to, from 0.
        optional: (A,) whether the word may be left out.
        ends: the arcs that may come last; -1 if the reference may be empty.
        count: how many blocks there are.
    """

    words: list[str | None] = field(default_factory=list)
    before: list[tuple[int, ...]] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    optional: list[bool] = field(default_factory=list)
    ends: tuple[int, ...] = (_START,)
    count: int = 0

    def add(self, word: str | None, before: tuple[int, ...], optional: bool) -> tuple[int, ...]:
        """Append an arc; returns it as what may come before the next one."""
        self.words.append(word)
        self.before.append(before)
        self.blocks.append(self.count)
        self.optional.append(optional)
        return (len(self.words) - 1,)


def has_marks(text: str, markup: str) -> bool:
    """Whether a reference is more than its words under this kind of markup."""
    if markup == "none":
        return False
    return "{" in text or "}" in text or (markup == "all" and "(" in text and bool(_OPTIONAL.search(text)))


def _tokens(text: str, markup: str) -> Iterator[tuple[str, str]]:
    """Yield the tokens of a reference and what each is: ``{``, ``/``, ``}``, ``@``, ``word`` or ``optional``."""
    depth = 0
    for token in _MARKS.sub(lambda found: f" {found[0]} ", text).split():
        if token in "{}":
            depth += 1 if token == "{" else -1
            yield token, token
        elif depth > 0 and "/" in token:  # a/b, without spaces
            yield from ((part, part if part in "/@" else "word") for part in _SLASH.split(token) if part)
        elif depth > 0 and token == "@":
            yield token, token
        elif markup == "all" and (found := _OPTIONAL.fullmatch(token)):
            yield found[1], "optional"
        else:
            yield token, "word"


def normalize(text: str, normalizer: Callable[[list[str]], list[str]], markup: str) -> str:
    """Normalise what is between the marks, piece by piece; an alternative of which nothing is left becomes ``@``."""
    pieces: list[tuple[str, str]] = []
    for token, kind in _tokens(text, markup):
        if kind == "word" and pieces and pieces[-1][1] == "word":
            pieces[-1] = f"{pieces[-1][0]} {token}", kind
        else:
            pieces.append((token, kind))
    changed = iter(normalizer([piece for piece, kind in pieces if kind in ("word", "optional")]))
    done: list[str] = []
    for piece, kind in pieces:
        if kind == "word":
            done += next(changed).split()
        elif kind == "optional":
            done += [f"({word})" for word in next(changed).split()]
        else:
            if kind in "/}" and done and done[-1] in "{/":
                done.append("@")
            done.append(piece)
    return " ".join(done)


def parse(text: str, markup: str) -> Lattice:
    """Read a reference.

    Args:
        text: words, with ``{a / b c / @}`` for alternatives, which may be nested.
        markup: ``alternatives``, or ``all`` for optionally deletable ``(words)`` too.

    Raises:
        DataError: braces do not match, or an alternative is empty; the sentence does not name the utterance.
    """
    tokens, lattice, ends, at = list(_tokens(text, markup)), Lattice(), (_START,), 0
    while at < len(tokens):
        if tokens[at][1] == "}":
            raise DataError("'}' without '{' before it")
        ends, at = _element(lattice, tokens, at, ends)
        lattice.count += 1
    lattice.ends = ends
    return lattice


def _element(
    lattice: Lattice, tokens: Sequence[tuple[str, str]], at: int, ends: tuple[int, ...]
) -> tuple[tuple[int, ...], int]:
    """Read one word or alternation; returns what may come before the next one, and where that begins."""
    token, kind = tokens[at]
    if kind != "{":
        return lattice.add(None if kind == "@" else token, ends, kind == "optional"), at + 1
    begin, open_ends, here, empty = at, [], ends, True
    at += 1
    while at < len(tokens):
        kind = tokens[at][1]
        if kind not in ("/", "}"):
            here, at = _element(lattice, tokens, at, here)
            empty = False
            continue
        if empty:
            raise DataError("an alternative is empty; write @ for one without words")
        open_ends += here
        here, empty, at = ends, True, at + 1
        if kind == "}":
            return tuple(dict.fromkeys(open_ends)), at
    raise DataError(f"'{{' without '}}' after it, at '{' '.join(token for token, _ in tokens[begin : begin + 4])}'")


def align(
    lattice: Lattice, hypothesis: Sequence[str], substitution: int, deletion: int, insertion: int
) -> tuple[list[str], list[int], list[int]]:
    """Align a lattice with a hypothesis; costs of 0 are those of fewest errors, then fewest substitutions.

    Returns:
        The words of the best path, their blocks, and the operations: as in `seqkd.scoring.align`, and 4 for an
        optionally deletable word that was left out.
    """
    if substitution:
        substitution, deletion, insertion = 1000 * substitution, 1000 * deletion, 1000 * insertion
        nothing, left_out = 1, 2 * deletion // 3  # as in sclite: dearer than a match, cheaper than a deletion
    else:
        substitution, deletion, insertion = (1 << 40) + (1 << 20), 1 << 40, 1 << 40
        nothing, left_out = 1, 2
    weights = (substitution, deletion, insertion, nothing, left_out)
    steps = _compiled(lattice, hypothesis, weights) if lattice.words else None
    words, blocks, ops = [], [], []
    for arc, op in _plainly(lattice, hypothesis, *weights) if steps is None else steps:
        if op != _INSERTION and lattice.words[arc] is not None:
            words.append(lattice.words[arc])
            blocks.append(lattice.blocks[arc])
        if op == _INSERTION or lattice.words[arc] is not None:
            ops.append(op)
    return words[::-1], blocks[::-1], ops[::-1]


def _compiled(lattice: Lattice, hypothesis: Sequence[str], weights: Sequence[int]) -> Iterator[tuple[int, int]] | None:
    """Yield arcs and operations from the last to the first; None where there is no compiled part that can."""
    library = native.library()
    if library is None or not hasattr(library, "seqkd_scoring_lattice"):
        return None
    numbers: dict[str | None, int] = {None: -1}
    ids, hyp = (
        np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int32)
        for words in (lattice.words, hypothesis)
    )
    optional, blocks = np.array(lattice.optional, np.uint8), np.array(lattice.blocks, np.int64)
    offsets = np.cumsum([0, *map(len, lattice.before)], dtype=np.int64)
    before = np.fromiter((arc for arcs in lattice.before for arc in arcs), np.int32, int(offsets[-1]))
    ends, costs = np.array(lattice.ends, np.int32), np.array(weights, np.int64)
    ops, path = np.empty(len(ids) + len(hyp), np.uint8), np.empty(len(ids) + len(hyp), np.int32)
    run, number = library.seqkd_scoring_lattice, ctypes.c_int64
    run.restype = number
    length = run(
        number(len(ids)), *(ctypes.c_void_p(a.ctypes.data) for a in (ids, optional, offsets, before, blocks, ends)),
        number(len(ends)), ctypes.c_void_p(hyp.ctypes.data), number(len(hyp)),
        *(ctypes.c_void_p(a.ctypes.data) for a in (costs, ops, path)),
    )  # fmt: skip
    if length == -1:
        raise DataError(f"there is not enough memory to align it with {len(hyp)} words; score it in parts")
    return None if length < 0 else zip(path[:length].tolist(), ops[:length].tolist(), strict=True)


def _plainly(
    lattice: Lattice,
    hypothesis: Sequence[str],
    substitution: int,
    deletion: int,
    insertion: int,
    nothing: int,
    left_out: int,
) -> Iterator[tuple[int, int]]:
    """Align a lattice in Python, where the compiled part is not there."""
    m, arcs = len(hypothesis), len(lattice.words)
    # One row an arc; the last row, which index -1 finds too, is the beginning.
    rows = [[0]] * arcs + [[insertion * j for j in range(m + 1)]]
    steps: list[list[tuple[int, int]]] = []
    for arc, (word, before) in enumerate(zip(lattice.words, lattice.before, strict=True)):
        skip = nothing if word is None else left_out if lattice.optional[arc] else deletion
        skip_op = _LEFT_OUT if lattice.optional[arc] else _DELETION
        value, origin = min((rows[b][0], rank) for rank, b in enumerate(before))
        row, step = [value + skip], [(skip_op, before[origin])]
        for j in range(1, m + 1):
            above, origin_above = min((rows[b][j], rank) for rank, b in enumerate(before))
            corner, origin_corner = min((rows[b][j - 1], rank) for rank, b in enumerate(before))
            same = word == hypothesis[j - 1]
            across = corner + (_FORBIDDEN if word is None else 0 if same else substitution)
            down, right = above + skip, row[-1] + insertion
            if across <= down and across <= right:
                row.append(across)
                step.append((_MATCH if same else _SUBSTITUTION, before[origin_corner]))
            elif down < right:
                row.append(down)
                step.append((skip_op, before[origin_above]))
            else:
                row.append(right)
                step.append((_INSERTION, arc))
        rows[arc] = row
        steps.append(step)
    arc, j = min(lattice.ends, key=lambda end: rows[end][m]), m
    while arc != _START or j:
        op, origin = (_INSERTION, _START) if arc == _START else steps[arc][j]
        yield arc, op
        j -= op in (_MATCH, _SUBSTITUTION, _INSERTION)
        arc = origin


def count_ops(ops: Sequence[int]) -> np.ndarray:
    """Count substitutions, deletions and insertions: (3,)."""
    return np.bincount(ops, minlength=5)[[_SUBSTITUTION, _DELETION, _INSERTION]]
