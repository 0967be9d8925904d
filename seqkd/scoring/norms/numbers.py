"""English numbers in words as figures: twenty-one, 21; three point five, 3.5; twenty first, 21st; five percent, 5%.

Both sides of a score are changed alike, so that what counts is that one number has one form. ``nineteen ninety`` is
read as a year is, 1990, and ``a`` is no number. Words that are numbers at times only, such as ``second``, ``oh`` and
the plural ``nineties``, stay as they are, as does what is no number that English knows: ``twenty thirty`` is 2030, but
``three five`` is 3 5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONES = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS = {
    "first": 1, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10,
    "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16,
    "seventeenth": 17, "eighteenth": 18, "nineteenth": 19, "twentieth": 20, "thirtieth": 30, "fortieth": 40,
    "fiftieth": 50, "sixtieth": 60, "seventieth": 70, "eightieth": 80, "ninetieth": 90, "hundredth": 100,
    "thousandth": 1000, "millionth": 10**6,
}  # fmt: skip
_WORDS = frozenset([*_ONES, *_TENS, *_SCALES, "hundred"])
_HYPHEN = re.compile(r"(?<=[a-z])-(?=[a-z])", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_PERCENT = re.compile(r"(?<=\d) (?:percent|per cent)\b", re.IGNORECASE)
_TRAIL = re.compile(r"(?P<word>.*?)(?P<trail>[.,;:!?]*)")


def numbers(text: str) -> str:
    """Write the numbers of an English transcript as digits: ``twenty one`` becomes ``21``."""
    tokens = [_token(word) for word in _hyphenated(_THOUSANDS.sub("", text)).split()]
    done, at = [], 0
    while at < len(tokens):
        value, size, kind = _cardinal(tokens, at)
        if not size:
            done.append(tokens[at].whole)
            at += 1
            continue
        end = at + size
        form = str(value)
        if kind == "ordinal":
            form += _suffix(value)
        elif end + 1 < len(tokens) and tokens[end].word == "point" and not tokens[end - 1].trail:
            digits, used = _digits(tokens, end + 1)
            if digits:
                form, end = f"{form}.{digits}", end + 1 + used
        done.append(form + tokens[end - 1].trail)
        at = end
    return _PERCENT.sub("%", " ".join(done))


@dataclass(frozen=True)
class _Token:
    whole: str
    word: str
    trail: str


def _token(word: str) -> _Token:
    found = _TRAIL.fullmatch(word)
    return _Token(word, found["word"].lower(), found["trail"])


def _hyphenated(text: str) -> str:
    """Replace hyphens between two words of a number by spaces."""

    def change(word: str) -> str:
        parts = _HYPHEN.split(word)
        known = [_token(part).word in _WORDS or _token(part).word in (*_ORDINALS, "second") for part in parts]
        return " ".join(parts) if len(parts) > 1 and all(known) else word

    return " ".join(change(word) for word in text.split())


def _cardinal(tokens: list[_Token], at: int) -> tuple[int, int, str]:
    """Value, number of tokens, and kind of the number that begins here; no tokens where none does."""
    total, group, begin, least, kind = 0, None, at, 10**15, "cardinal"
    while at < len(tokens):
        word = tokens[at].word
        if word in _ORDINALS or (word == "second" and group is not None and group % 10 == 0 and group % 100 >= 20):
            value = _ORDINALS.get(word, 2)
            if value >= 100:
                if group is None and not total:
                    break
                total, group = (total + (group or 1) * value, None) if value > 100 else (total, (group or 1) * 100)
            elif group is None or _fits(group, value):
                group = (group or 0) + value
            else:
                break
            at, kind = at + 1, "ordinal"
            break
        if word in _ONES or word in _TENS:
            value = _ONES.get(word, _TENS.get(word))
            if group is None:
                group = value
            elif _fits(group, value):
                group += value
            elif (
                not total
                and 10 <= group < 100
                and 10 <= value < 100
                and (at - begin) == 1 + (group > 20 and group % 10 > 0)
            ):
                group = group * 100 + value  # nineteen ninety
            else:
                break
        elif word == "hundred" and group is not None and 0 < group < 100:
            group *= 100
        elif word in _SCALES and group is not None and 0 < group < 1000 and _SCALES[word] < least:
            least = _SCALES[word]
            total, group = total + group * least, None
        elif word == "and" and (group or total) and (group is None or group % 100 == 0) and _goes_on(tokens, at):
            at += 1
            continue
        else:
            break
        at += 1
        if tokens[at - 1].trail and not (group is None and tokens[at - 1].trail == "," and _begins(tokens, at)):
            break
    if at == begin or (group is None and not total):
        return 0, 0, kind
    return total + (group or 0), at - begin, kind


def _begins(tokens: list[_Token], at: int) -> bool:
    """Whether a number goes on here, as after the comma of one million, two hundred thousand."""
    return at < len(tokens) and (tokens[at].word in _ONES or tokens[at].word in _TENS or tokens[at].word in _ORDINALS)


def _goes_on(tokens: list[_Token], at: int) -> bool:
    """Whether ``and`` joins, as in one hundred and five: it follows hundred or a scale, and a number follows it."""
    before = tokens[at - 1]
    following = tokens[at + 1].word if at + 1 < len(tokens) else ""
    return (
        (before.word == "hundred" or before.word in _SCALES)
        and not before.trail
        and (following in _ONES or following in _TENS or following in _ORDINALS)
    )


def _fits(group: int, value: int) -> bool:
    """Whether a value can follow within a group of three figures: five after twenty, or after one hundred."""
    if value == 0:
        return False
    return group % (10 if value < 10 else 100) == 0 and group % 100 != 10 and group > 0


def _digits(tokens: list[_Token], at: int) -> tuple[str, int]:
    digits, begin = "", at
    while at < len(tokens) and (value := _ONES.get(tokens[at].word)) is not None and value < 10:
        digits += str(value)
        at += 1
        if tokens[at - 1].trail:
            break
    return digits, at - begin


def _suffix(value: int) -> str:
    if value % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
