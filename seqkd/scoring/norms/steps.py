"""Steps that change one transcript: case, punctuation, tags, contractions, fillers, characters."""

from __future__ import annotations

import functools
import re
import unicodedata

FILLERS = frozenset(["uh", "um", "hm", "mm", "mhm", "mmm", "hmm", "eh", "ah"])
_APOSTROPHES = re.compile("[’‘ʼʹ′＇`´]")
_ASCII = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_TAGS = re.compile(r"[<\[][^\s>\]]+[>\]]")
# In this order: the irregular ones first.
_CONTRACTIONS = [
    (re.compile(pattern, re.IGNORECASE), full)
    for pattern, full in (
        (r"\bwon't\b", "will not"),
        (r"\bcan't\b", "can not"),
        (r"\blet's\b", "let us"),
        (r"n't\b", " not"),
        (r"'re\b", " are"),
        (r"'s\b", " is"),
        (r"'d\b", " would"),
        (r"'ll\b", " will"),
        (r"'t\b", " not"),
        (r"'ve\b", " have"),
        (r"'m\b", " am"),
    )
]
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
# Characters that are words of their own where Chinese or Japanese is mixed with other languages: Han, Hiragana,
# Katakana and Bopomofo. Hangul is not among them: Korean is written with spaces.
_HAN = re.compile(
    "([\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303b\u3041-\u309f\u30a0-\u30fa\u30fc-\u312f"
    "\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00016fe0-\U00018dff\U0001aff0-\U0001b2ff"
    "\U00020000-\U000323af])"
)


def lower(text: str) -> str:
    """Return a transcript in lower case."""
    return text.lower()


def lower_ascii(text: str) -> str:
    """Letters A to Z in lower case, and no others: what sclite does where it is given no language."""
    return text.translate(_ASCII)


def letters(text: str) -> str:
    """Make every character a word of its own."""
    return " ".join(text.replace(" ", ""))


def plain_apostrophes(text: str) -> str:
    """Typographic apostrophes as the one of typewriters: it’s, it's."""
    return _APOSTROPHES.sub("'", text)


def no_tags(text: str) -> str:
    """Remove [bracketed] and <angled> words."""
    return _TAGS.sub("", text)


def contractions(text: str) -> str:
    """Write English contractions in full."""
    text = plain_apostrophes(text)
    if "'" not in text:
        return text
    for pattern, full in _CONTRACTIONS:
        text = pattern.sub(full, text)
    return text


def no_punctuation(text: str) -> str:
    """Without characters of the Unicode categories P*, where they are no part of a number.

    Apostrophes and points vanish; what else stands between letters or digits becomes a space (``twenty-one``).
    Kept are a point, comma, colon or slash between digits (``3.5``, ``10:30``; not the comma before three digits),
    ``%`` after a digit and ``-`` before one at the beginning of a word.
    """
    if text.isascii() and text.replace(" ", "").isalnum():
        return text
    text = _THOUSANDS.sub("", plain_apostrophes(text))
    done = []
    for at, character in enumerate(text):
        if not _is_punctuation(character):
            done.append(character)
            continue
        before, after = text[at - 1 : at], text[at + 1 : at + 2]
        between = before.isdigit() and after.isdigit()
        if between and character in ".,:/":
            done.append(character)
        elif (character == "%" and before.isdigit()) or (
            character in "-−" and after.isdigit() and (not before or before.isspace())
        ):
            done.append("-" if character in "-−" else character)
        elif character not in "'." and before.isalnum() and after.isalnum():
            done.append(" ")
    return "".join(done)


def no_fillers(text: str) -> str:
    """Remove the words uh, um and the like."""
    return " ".join(word for word in text.split() if word not in FILLERS)


def separate_characters(text: str) -> str:
    """Chinese and Japanese characters one by one, all else as it is: units of the mixed error rate."""
    return _HAN.sub(r" \1 ", text) if not text.isascii() else text


def separate_punctuation(text: str) -> str:
    """Marks of punctuation as words of their own, where `no_punctuation` would drop them."""
    if text.isascii() and text.replace(" ", "").isalnum():
        return text
    text, done = plain_apostrophes(text), []
    for at, character in enumerate(text):
        before, after = text[at - 1 : at], text[at + 1 : at + 2]
        inside = before.isalnum() and after.isalnum()
        if _is_punctuation(character) and not inside and not (character in "-−%" and (before + after).isdigit()):
            done.append(f" {character} ")
        else:
            done.append(character)
    return "".join(done)


@functools.lru_cache(maxsize=4096)
def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P") or character == "−"
