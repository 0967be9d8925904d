"""Pairs of sentences and paragraphs from two languages of one manual page.

Translators keep the macros of a page and translate the text between them, so the n-th block of a section is
the translation of the n-th block of the other language's section, as long as both have the same blocks.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from seqkd.corpora.text.manpages_roff import Block

_ALIKE = 0.8  # the part of a page's blocks that must be in sections with the same blocks in both languages
_PROTOTYPES = "SYNOPSIS"
_LENGTHS = 1.8  # the most times the characters of the other side, after _FREE more characters for both
_FREE = 12
_SAME = 0.6  # from this part of common words on, a pair is not translated
_LETTERS = 0.6  # the least part of letters among the characters that are not spaces
_STOP_WORDS = {
    "en": """the a of to and is are be this that these with for by if it not on or as which from has can when into may
        must should does only at all any no you its there used see than then been but""",
    "de": """der die das den dem des ein eine einen einem einer eines und ist sind wird werden nicht mit für von zu zum
        zur auf im als wenn falls oder diese dieser dieses sie es kann können durch aus auch nur bei wie nach dass sich
        keine kein alle hat haben siehe wurde soll muss über""",
}
_STOP_WORDS = {language: frozenset(words.split()) for language, words in _STOP_WORDS.items()}
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|vgl|bzw|ca|evtl|ggf|usw|engl|nr|z\.? ?b|d\.? ?h|u\.? ?a)|\b[a-z]|\d)\.$",
    re.IGNORECASE,
)
_BREAK = re.compile(r"(?<=[.!?])[\"“”»«)]* +(?=[\"“„»(]*[A-ZÄÖÜ])|(?<=[.!?][)»”\"]) +(?=[\"“„»(]*[A-ZÄÖÜ])")
_REFERENCE = re.compile(r"([\w.:-]+)\(\d\w*\)")  # to another page
_NUMBER = re.compile(r"\d\d+")


@dataclass(frozen=True)
class Limits:
    """How long pairs may be, in words of either side."""

    min_words: int = 2
    max_words: int = 60


def sections(blocks: list[Block]) -> list[list[Block]]:
    """Return the blocks of every section, the headings with them."""
    count = blocks[-1].section + 1 if blocks else 0
    found: list[list[Block]] = [[] for _ in range(count)]
    for block in blocks:
        found[block.section].append(block)
    return found


def align(source: list[Block], target: list[Block]) -> list[tuple[Block, Block]] | None:
    """Return the blocks that translate each other, headings of sections left out; None if the pages differ.

    A last section that only the translation has (about its translators) is not looked at. Sections with
    other blocks than their counterparts give no pairs; if these are too many, the page has other contents.
    """
    left, right = sections(source), sections(target)
    if not left or len(right) - len(left) not in (0, 1):
        return None
    pairs: list[tuple[Block, Block]] = []
    same = 0
    for one, other in zip(left, right, strict=False):
        if [block.kind for block in one] != [block.kind for block in other]:
            continue
        same += len(one)
        if not (one and one[0].kind == "SH" and one[0].text == _PROTOTYPES):
            pairs += [(a, b) for a, b in zip(one, other, strict=True) if a.kind != "SH"]
    return pairs if same >= _ALIKE * len(source) else None


def sentences(text: str) -> list[str]:
    """Split a paragraph at ends of sentences, not after abbreviations and ordinals."""
    found: list[str] = []
    begin = 0
    for match in _BREAK.finditer(text):
        if not _ABBREVIATION.search(text[begin : match.start()]):
            found.append(text[begin : match.end()].strip())
            begin = match.end()
    return [*found, text[begin:].strip()]


def _words(text: str) -> list[str]:
    """Return the words in lower case, without the punctuation around them."""
    return [word.strip('.,;:()"“”»«') for word in text.lower().split()]


def _language(text: str, language: str) -> int:
    """How many more stop words of one language than of the other a text has."""
    words = [word.strip('.,;:()"»«') for word in text.lower().split()]
    other = "de" if language == "en" else "en"
    return sum((word in _STOP_WORDS[language]) - (word in _STOP_WORDS[other]) for word in words)


def fault(source: str, target: str, limits: Limits) -> str | None:
    """Say why a pair of English and German text is of no use; None if it is of use."""
    counts = len(source.split()), len(target.split())
    if min(counts) < limits.min_words:
        return f"shorter than {limits.min_words} words"
    if max(counts) > limits.max_words:
        return f"longer than {limits.max_words} words"
    for text in (source, target):
        if sum(character.isalpha() for character in text) < _LETTERS * len(text.replace(" ", "")):
            return "mostly not letters"
    words, others = Counter(_words(source)), Counter(_words(target))
    if sum((words & others).values()) >= _SAME * max(counts):
        return "not translated"
    if _language(source, "en") < 0 or _language(target, "de") < 0:
        return "in the wrong language"
    short, long = sorted((len(source), len(target)))
    if long + _FREE > _LENGTHS * (short + _FREE):
        return "of too different lengths"
    for what, pattern in (("references", _REFERENCE), ("numbers", _NUMBER)):
        left, right = pattern.findall(source), pattern.findall(target)
        if left and right and not any(found in target for found in left):
            return f"with different {what}"
    return None


def pieces(source: str, target: str, limits: Limits) -> list[tuple[str, str]]:
    """Return a pair as it is, or one that is too long sentence by sentence if both sides have as many."""
    if max(len(source.split()), len(target.split())) > limits.max_words:
        left, right = sentences(source), sentences(target)
        if len(left) == len(right) > 1 and all(
            fault(one, other, limits) in (None, f"longer than {limits.max_words} words")
            for one, other in zip(left, right, strict=True)
        ):
            return list(zip(left, right, strict=True))
    return [(source, target)]


def page_pairs(
    source: list[Block], target: list[Block], limits: Limits
) -> tuple[list[tuple[str, str]], Counter[str]] | None:
    """Return the useful pairs of a page in their order, and how many were left out for what reason.

    Returns None if the two languages of the page do not have the same blocks.
    """
    aligned = align(source, target)
    if aligned is None:
        return None
    kept: list[tuple[str, str]] = []
    dropped: Counter[str] = Counter()
    for one, other in aligned:
        if one.kind == "nf":
            dropped["code or tables"] += 1
            continue
        if one.text is None or other.text is None:
            dropped["with roff that is not understood"] += 1
            continue
        left, right = one.text, other.text
        if " - " in left and " - " in right and one.section == 1:  # fork - create a child process
            left, right = left.split(" - ", 1)[1], right.split(" - ", 1)[1]
        for piece in pieces(left, right, limits):
            reason = fault(*piece, limits)
            if reason is None:
                kept.append(piece)
            else:
                dropped[reason] += 1
    return kept, dropped
