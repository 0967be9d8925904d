"""Errors of keywords and entities: words of a list, or tagged in the references.

Error rates of listed and of other words are those of Le et al., "Contextualized streaming end-to-end speech recognition
with trie-based deep biasing and shallow fusion", Interspeech 2021 (doi:10.21437/Interspeech.2021-1566): B-WER counts
substitutions and deletions of listed reference words and insertions of listed words, in parts of the listed reference
words; U-WER counts all other errors in parts of all other words. Phrases of several words are an extension: a
reference word is listed where it stands within an occurrence of a phrase, an inserted word where it stands within an
occurrence in the hypothesis. An occurrence is found if all its words are right and none is inserted
between them; precision counts occurrences in the hypothesis all of whose words are right.

Legend: T reference words, U hypothesis words, K operations.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.errors import DataError
from seqkd.scoring.formats.reading import Reading
from seqkd.scoring.wer import Utterances
from seqkd.scoring.words import DELETION, INSERTION, LEFT_OUT, MATCH

_TAGGED = re.compile(r"<(?P<name>[A-Za-z][\w.-]*)>(?P<words>[^<>]*)</(?P=name)>")


@dataclass(frozen=True)
class KeywordRates:
    """Errors of listed words and of all others, and of whole occurrences.

    Attributes:
        errors: of listed words.
        words: listed words of the references.
        other_errors: of all other words.
        other_words: all other words of the references.
        occurrences: of keywords in the references.
        found: those of which every word is right.
        proposed: occurrences in the hypotheses.
        correct: those of which every word is right.
    """

    errors: int
    words: int
    other_errors: int
    other_words: int
    occurrences: int
    found: int
    proposed: int
    correct: int

    def to_json(self) -> dict[str, Any]:
        """As in score.json: the counts, and their rates, null where there is nothing to divide by."""
        return {
            "rate": _ratio(self.errors, self.words),
            "other_rate": _ratio(self.other_errors, self.other_words),
            "recall": _ratio(self.found, self.occurrences),
            "precision": _ratio(self.correct, self.proposed),
            **asdict(self),
        }


def read_keywords(path: Path | str, reading: Reading | None = None) -> list[str]:
    """Read a list of words and phrases, one a line; ``;;`` begins a comment.

    Raises:
        DataError: no such file, or nothing in it.
    """
    phrases = [line.partition(";;")[0].strip() for _, line in (reading or Reading()).lines(path)]
    if not any(phrases):
        raise DataError(f"{path} holds no keywords; expected a word or phrase a line.")
    return [phrase for phrase in phrases if phrase]


def split_tags(texts: Mapping[str, str]) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Take tags such as ``<person>ada lovelace</person>`` out of transcripts.

    Returns:
        The transcripts without tags, and the tagged phrases by the tag's name.
    """
    phrases: dict[str, set[str]] = {}
    for text in texts.values():
        for found in _TAGGED.finditer(text) if "</" in text else ():
            if words := " ".join(found["words"].split()):
                phrases.setdefault(found["name"], set()).add(words)
    names = "|".join(map(re.escape, sorted(phrases)))
    tag = re.compile(f"</?(?:{names})>") if names else None
    return {key: " ".join(tag.sub(" ", text).split()) if tag else text for key, text in texts.items()}, phrases


def keyword_rates(utterances: Utterances, phrases: Iterable[str]) -> KeywordRates:
    """Count the errors of words that stand within occurrences of phrases, and of all others.

    Args:
        utterances: see `seqkd.scoring.count`.
        phrases: normalised as the transcripts were, in any Unicode normal form; where two overlap, the longest that
            begins first is taken.
    """
    aligned = utterances.alignments
    ops = aligned.alignments.ops
    numbers = {word: number for number, word in enumerate(aligned.vocabulary)}
    wanted = _index(phrases, numbers)
    ours = _occurrences(aligned.reference.ids, aligned.reference.offsets, wanted)
    theirs = _occurrences(aligned.hypothesis.ids, aligned.hypothesis.offsets, wanted)
    of_reference, of_hypothesis = ops != INSERTION, (ops != DELETION) & (ops != LEFT_OUT)
    wrong = (ops != MATCH) & (ops != LEFT_OUT)
    listed = _cover(ours, len(aligned.reference.ids))  # (T,)
    proposed = _cover(theirs, len(aligned.hypothesis.ids))  # (U,)
    counted = np.zeros(len(ops), bool)  # (K,) errors of listed words
    counted[of_reference] = listed
    inserted = np.zeros(len(ops), bool)
    inserted[of_hypothesis] = proposed
    counted = wrong & (counted | (inserted & (ops == INSERTION)))
    errors, every = int(counted.sum()), int(wrong.sum())
    return KeywordRates(
        errors,
        int(listed.sum()),
        every - errors,
        int((~listed).sum()),
        len(ours),
        _right(ours, np.flatnonzero(of_reference), ops),
        len(theirs),
        _right(theirs, np.flatnonzero(of_hypothesis), ops),
    )


def absent_phrases(utterances: Utterances, phrases: Sequence[str]) -> list[int]:
    """Return the places in ``phrases``, which are normalised, of those that occur in no reference.

    What occurs only within a longer phrase of the list does occur.
    """
    aligned = utterances.alignments
    numbers = {word: number for number, word in enumerate(aligned.vocabulary)}
    wanted = _index(phrases, numbers)
    ids, offsets = aligned.reference.ids, aligned.reference.offsets
    seen: set[tuple[int, ...]] = set()
    for at in np.flatnonzero(np.isin(ids, list(wanted))).tolist() if wanted else ():
        end = int(offsets[np.searchsorted(offsets, at, side="right")])
        for words in wanted[int(ids[at])]:
            if at + len(words) <= end and ids[at : at + len(words)].tolist() == words:
                seen.add(tuple(words))
    return [at for at, phrase in enumerate(phrases) if tuple(_numbered(phrase, numbers)) not in seen]


def _numbered(phrase: str, numbers: Mapping[str, int]) -> list[int | None]:
    """Words by their numbers, in the normal form in which transcripts are scored; None for one that does not occur."""
    return [numbers.get(word) for word in unicodedata.normalize("NFC", phrase).split()]


def _index(phrases: Iterable[str], numbers: Mapping[str, int]) -> dict[int, list[list[int]]]:
    """Phrases all of whose words occur, by their first word, the longest first."""
    wanted: dict[int, list[list[int]]] = {}
    for words in dict.fromkeys(tuple(_numbered(phrase, numbers)) for phrase in phrases):
        if words and None not in words:
            wanted.setdefault(words[0], []).append(list(words))
    return {first: sorted(inside, key=len, reverse=True) for first, inside in wanted.items()}


def _occurrences(ids: np.ndarray, offsets: np.ndarray, wanted: Mapping[int, list[list[int]]]) -> list[tuple[int, int]]:
    """Return begin and end, in ``ids``, of every occurrence of the keywords."""
    found, free = [], 0
    for at in np.flatnonzero(np.isin(ids, list(wanted))).tolist() if wanted else ():
        if at < free:
            continue
        end = int(offsets[np.searchsorted(offsets, at, side="right")])
        for words in wanted[int(ids[at])]:
            if at + len(words) <= end and ids[at : at + len(words)].tolist() == words:
                free = at + len(words)
                found.append((at, free))
                break
    return found


def _cover(spans: Sequence[tuple[int, int]], length: int) -> np.ndarray:
    inside = np.zeros(length, bool)
    for begin, end in spans:
        inside[begin:end] = True
    return inside


def _right(spans: Sequence[tuple[int, int]], at: np.ndarray, ops: np.ndarray) -> int:
    """How many spans are matches from their first word to their last;

    ``at`` gives the place of each word in ``ops``.
    """
    return sum(bool((ops[at[begin] : at[end - 1] + 1] == MATCH).all()) for begin, end in spans)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
