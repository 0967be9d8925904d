"""Words to numbers, and minimum-cost alignments of whole test sets at once: compiled, or else by NumPy.

Which alignment is chosen among equally good ones is part of a scorer's definition. Both ways give the same: the
table of least costs is filled from the beginning, a cell prefers the diagonal (a match or a substitution), then
the insertion, and the path is read from the end. That is sclite's rule.

Legend: N utterances, T tokens of all utterances, K operations of all alignments.
"""

from __future__ import annotations

import ctypes
import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqkd import native
from seqkd.errors import DataError
from seqkd.scoring import fallback
from seqkd.scoring.words import (
    FEWEST,
    Costs,
    Tokens,
)

_SPACES = re.compile(r"[^\S\n]")


@dataclass(frozen=True)
class Alignments:
    """Alignments of N utterances.

    Attributes:
        counts: (N, 3) substitutions, deletions, insertions.
        ops: (K,) of uint8, the operations of all utterances (``MATCH`` and so on), or None if not kept.
        offsets: (N + 1,), where in ``ops`` each utterance begins, or None.
    """

    counts: np.ndarray
    ops: np.ndarray | None = None
    offsets: np.ndarray | None = None

    def __getitem__(self, utterance: int) -> np.ndarray:
        return self.ops[self.offsets[utterance] : self.offsets[utterance + 1]]


class WordIds:
    """Gives each distinct token a number, so that alignments compare integers."""

    def __init__(
        self, words: Sequence[str] | None = None, spans: tuple[str | bytes, np.ndarray, np.ndarray] | None = None
    ) -> None:
        self._words = words
        self._spans = spans  # text, and where in it each word is: no string is made of what nobody asks for

    def __len__(self) -> int:
        return len(self._spans[1]) if self._words is None else len(self._words)

    def __getitem__(self, number: int) -> str:
        if self._words is not None:
            return self._words[number]
        text, starts, lengths = self._spans
        start = int(starts[number])
        word = text[start : start + int(lengths[number])]
        return word if isinstance(word, str) else word.decode("utf-8")

    def __iter__(self):
        return (self[number] for number in range(len(self)))


def compiled() -> ctypes.CDLL | None:
    """The compiled aligner, with its argument types declared, or None."""
    library = native.library()
    if library is None or not hasattr(library, "seqkd_scoring_align"):
        return None
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    library.seqkd_scoring_words.argtypes = [ctypes.c_char_p, number, number, pointer, pointer, pointer, pointer]
    library.seqkd_scoring_words.restype = number
    library.seqkd_scoring_align.argtypes = [
        number, pointer, pointer, pointer, pointer, *[ctypes.c_int32] * 4, pointer, pointer, pointer,
    ]  # fmt: skip
    library.seqkd_scoring_align.restype = number
    return library


def one_line_each(texts: Sequence[str], form: str | None = "NFC") -> str:
    """Join transcripts by newlines, in a Unicode normal form; every other space becomes one of ASCII's."""
    joined = "\n".join(texts)
    if joined.count("\n") != max(len(texts) - 1, 0):
        joined = "\n".join(" ".join(text.split()) for text in texts)
    if joined.isascii():
        return joined
    # A newline combines with nothing, so the whole can be normalised at once.
    if form and not unicodedata.is_normalized(form, joined):
        joined = unicodedata.normalize(form, joined)
    return _SPACES.sub(" ", joined)


def number_words(groups: Sequence[Sequence[str]], form: str | None = "NFC") -> tuple[list[Tokens], WordIds]:
    """Split transcripts at white space and number the words, over all groups in common.

    Args:
        groups: transcripts, such as those of the references and of each system.
        form: Unicode normal form, or None for none.

    Returns:
        One Tokens a group, and the vocabulary.

    Raises:
        DataError: a transcript holds half a surrogate pair, which is no text.
    """
    sizes = [len(group) for group in groups]
    joined = one_line_each([*itertools.chain.from_iterable(groups)], form)
    library = compiled()
    if library is None:
        _encode(joined)
        ids, offsets, words = fallback.number_words(joined, sum(sizes))
        vocabulary = WordIds(words)
    else:
        text = joined if joined.isascii() else _encode(joined)
        del joined  # half of all the memory that this takes
        ids, offsets, vocabulary = _number_words(library, text, sum(sizes))
    tokens, begin = [], 0
    for size in sizes:
        inside = offsets[begin : begin + size + 1]
        tokens.append(Tokens(ids[inside[0] : inside[-1]], inside - inside[0]))
        begin += size
    return tokens, vocabulary


def number_characters(texts: Sequence[str], *, spaces: bool = True) -> Tokens:
    """Code points of transcripts as they are; ``spaces`` False leaves spaces out."""
    if not spaces:
        texts = [text.replace(" ", "") for text in texts]
    ids = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.int32)
    return Tokens(ids, _offsets([len(text) for text in texts]))


def number_tokens(sequences: Sequence[Sequence[int]]) -> Tokens:
    """Pack sequences of tokens that are numbers already."""
    ids = np.fromiter((token for sequence in sequences for token in sequence), np.int32)
    return Tokens(ids, _offsets([len(sequence) for sequence in sequences]))


def align(references: Tokens, hypotheses: Tokens, costs: Costs = FEWEST, *, keep: bool = True) -> Alignments:
    """Align each reference with its hypothesis.

    Args:
        references: N utterances.
        hypotheses: as many, in the same order, numbered by the same vocabulary.
        costs: of the operations, or ``FEWEST``.
        keep: whether to return the alignments, and not only how many errors there are.
    """
    if len(references) != len(hypotheses):
        raise DataError(f"There are {len(references)} references and {len(hypotheses)} hypotheses; expected as many.")
    library = compiled()
    if library is None:
        return Alignments(*fallback.align(references, hypotheses, costs, keep=keep))
    utterances = len(references)
    arrays = [
        np.ascontiguousarray(array, dtype)
        for tokens in (references, hypotheses)
        for array, dtype in ((tokens.ids, np.int32), (tokens.offsets, np.int64))
    ]
    both = references.lengths + hypotheses.lengths
    ops = np.empty(int(both.sum() if keep else both.max(initial=0)), np.uint8)
    offsets = np.zeros(utterances + 1 if keep else 1, np.int64)
    counts = np.empty((utterances, 3), np.int32)
    written = library.seqkd_scoring_align(
        utterances, *(array.ctypes.data for array in arrays), *costs, keep,
        ops.ctypes.data, offsets.ctypes.data, counts.ctypes.data,
    )  # fmt: skip
    if written < 0:
        raise DataError(
            f"There is not enough memory to align an utterance of {references.lengths.max()} reference and "
            f"{hypotheses.lengths.max()} hypothesis tokens; score it in parts."
        )
    return Alignments(counts, ops[:written], offsets) if keep else Alignments(counts)


def _encode(joined: str) -> bytes:
    try:
        return joined.encode("utf-8")
    except UnicodeEncodeError:
        number = next(i for i, line in enumerate(joined.split("\n")) if any("\ud800" <= c <= "\udfff" for c in line))
        raise DataError(f"Transcript {number + 1} holds half a surrogate pair, which is not Unicode text.") from None


def _bytes_of(text: str | bytes) -> ctypes.c_char_p:
    """Where the characters are: those of an ASCII string are its bytes, so that nothing is copied."""
    if isinstance(text, bytes):
        return ctypes.c_char_p(text)
    where = ctypes.pythonapi.PyUnicode_AsUTF8
    where.argtypes, where.restype = [ctypes.py_object], ctypes.c_void_p
    return ctypes.c_char_p(where(text))


def _number_words(library: ctypes.CDLL, text: str | bytes, lines: int) -> tuple[np.ndarray, np.ndarray, WordIds]:
    room = (len(text) + 1) // 2
    # What of these is not written takes no memory, so that nothing is gained by copying what is.
    ids, lengths = np.empty(room, np.int32), np.empty(room, np.int32)
    starts, offsets = np.empty(room, np.int64), np.zeros(lines + 1, np.int64)
    if lines == 0:
        return ids, offsets, WordIds([])
    distinct = library.seqkd_scoring_words(
        _bytes_of(text), len(text), lines, *(array.ctypes.data for array in (ids, offsets, starts, lengths))
    )
    if distinct < 0:
        raise DataError(f"There is not enough memory for the words of {lines} transcripts; score them in parts.")
    return ids[: offsets[-1]], offsets, WordIds(spans=(text, starts[:distinct], lengths[:distinct]))


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))]).astype(np.int64)
