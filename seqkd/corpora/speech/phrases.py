"""Phrases for made-up speech, drawn at random from small grammars.

Three vocabularies: ``digits`` (10 words), ``commands`` (about 100 words: device commands, times, days,
prices, code words, numbers) and ``words1000`` (about 1,000 words of plain English). The grammars have many
slots and few fixed turns, so that most test phrases do not occur in training and the sound has to decide,
not the memory of sentences. Everything is lower-case words without punctuation; no two words of a
vocabulary sound alike.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from seqkd.corpora.speech import word_lists as lists
from seqkd.corpora.speech.word_lists import as_list
from seqkd.errors import ConfigError

_ROOMS = as_list("kitchen bedroom bathroom garage garden office hallway")
_SWITCHED = as_list("light lamp heater fan radio television oven camera alarm music")
_MOVED = as_list("door window")
_COLOURS = as_list("red green blue white")
_NAMES = as_list("anna david maria peter oliver susan")
_CODE_WORDS = as_list("alpha bravo charlie delta echo foxtrot")
_TIMES_OF_DAY = as_list("morning evening today tomorrow")
_COMMAND_WORDS = as_list(
    "turn on off set open close play stop start call add remove lock dim the at in and by my up down after"
    " please minutes hours degrees percent dollars point hundred timer message"
)


def _number(rng: random.Random, low: int = 0, high: int = 99) -> str:
    """Return a number from ``low`` to ``high`` (at most 999) in words, without "and"."""
    value = rng.randint(low, high)
    words = []
    if value >= 100:
        words += [lists.UNITS[value // 100], "hundred"]
        value %= 100
        if value == 0:
            return " ".join(words)
    if value < 10:
        words.append(lists.UNITS[value])
    elif value < 20:
        words.append(lists.TEENS[value - 10])
    else:
        words.append(lists.TENS[value // 10 - 2])
        if value % 10:
            words.append(lists.UNITS[value % 10])
    return " ".join(words)


def _time(rng: random.Random) -> str:
    """Return a time of day such as "seven forty five"."""
    hour = _number(rng, 1, 12)
    return f"{hour} {_number(rng, 10, 59)}" if rng.random() < 0.8 else hour


def _day(rng: random.Random) -> str:
    day = rng.choice(lists.DAYS)
    return rng.choice([day, f"{day} morning", f"{day} evening", *_TIMES_OF_DAY])


def _amount(rng: random.Random) -> str:
    """Return a measure: a price, a temperature, a share or a decimal number."""
    return rng.choice(
        [
            f"{_number(rng, 2, 999)} dollars",
            f"{_number(rng, 2, 99)} dollars {_number(rng, 10, 99)}",
            f"{_number(rng, 5, 95)} percent",
            f"{_number(rng, 5, 40)} degrees",
            f"{_number(rng)} point {' '.join(rng.choices(lists.UNITS, k=rng.randint(1, 3)))}",
        ]
    )


def _duration(rng: random.Random) -> str:
    return f"{_number(rng, 2, 59)} {rng.choice(['minutes', 'hours'])}"


def _place(rng: random.Random) -> str:
    return rng.choice([*_ROOMS, *_COLOURS])


def _command(rng: random.Random) -> str:
    """Return one command, number, time or code."""
    pick = rng.choice
    device = f"{_place(rng)} {pick(_SWITCHED)}"
    kind = rng.randrange(13)
    if kind == 0:
        phrase = f"turn {pick(['on', 'off', 'up', 'down'])} the {device}"
    elif kind == 1:
        phrase = f"{pick(['start', 'stop', 'dim', 'lock', 'add', 'remove'])} the {device}"
    elif kind == 2:
        phrase = f"{pick(['open', 'close', 'lock'])} the {_place(rng)} {pick(_MOVED)}"
    elif kind == 3:
        phrase = f"set the {pick(['alarm', 'timer', 'heater', 'radio'])} at {_time(rng)} {_day(rng)}"
    elif kind == 4:
        phrase = f"set the {pick(_ROOMS)} {pick(['heater', 'oven', 'fan', 'lamp'])} at {_amount(rng)}"
    elif kind == 5:
        phrase = f"call {pick(_NAMES)} {pick(['at', 'after'])} {_time(rng)} {_day(rng)}"
    elif kind == 6:
        phrase = f"call {' '.join(rng.choices(lists.UNITS, k=rng.randint(3, 7)))}"
    elif kind == 7:
        phrase = f"{pick(['add', 'remove'])} {_amount(rng)} {pick(['by', 'on', 'after'])} {_day(rng)}"
    elif kind == 8:
        phrase = " ".join(rng.choices(_CODE_WORDS + lists.UNITS, k=rng.randint(3, 7)))
    elif kind == 9:
        phrase = f"play my {_place(rng)} music {pick(['in', 'after'])} {_duration(rng)}"
    elif kind == 10:
        phrase = f"message {pick(_NAMES)} and {pick(_NAMES)} {_day(rng)} at {_time(rng)}"
    elif kind == 11:
        phrase = f"{_amount(rng)} and {_amount(rng)}"
    else:
        phrase = f"{_day(rng)} {_time(rng)} {pick(_ROOMS)} {_number(rng)}"
    chance = rng.random()
    if chance < 0.12:
        phrase = f"please {phrase}"
    elif chance < 0.24:
        phrase += f" {pick(['in', 'after'])} {_duration(rng)}"
    elif chance < 0.32:
        phrase += f" and {pick(['turn on', 'turn off', 'start', 'stop'])} the {pick(_SWITCHED)}"
    return phrase


def _noun_phrase(rng: random.Random) -> str:
    pick = rng.choice
    kind = rng.random()
    if kind < 0.2:
        return pick(lists.NAMES)
    if kind < 0.35:
        adjective = f"{pick(lists.ADJECTIVES)} " if rng.random() < 0.5 else ""
        return f"{_number(rng, 2, pick([99, 99, 999]))} {adjective}{pick(lists.PLURALS)}"
    degree = pick(["very ", "almost ", *[""] * 8])
    adjective = f"{degree}{pick(lists.ADJECTIVES)} " if rng.random() < 0.65 else ""
    return f"{pick(lists.DETERMINERS)} {adjective}{pick(lists.NOUNS)}"


def _clause(rng: random.Random) -> str:
    pick = rng.choice
    adverb = f" {pick(lists.ADVERBS)}"
    where = f" {pick([*lists.PREPOSITIONS, 'in', 'at', 'on', 'from', 'with', 'of'])} {_noun_phrase(rng)}"
    return pick(
        [
            f"{_noun_phrase(rng)} {pick(lists.VERBS)} {_noun_phrase(rng)}",
            f"{_noun_phrase(rng)} {pick(lists.VERBS)} {_noun_phrase(rng)}{adverb}",
            f"{_noun_phrase(rng)}{adverb} {pick(lists.VERBS)} {_noun_phrase(rng)}",
            f"{_noun_phrase(rng)} {pick(lists.VERBS)} {_noun_phrase(rng)}{where}",
            f"{_noun_phrase(rng)} {pick(lists.INTRANSITIVES)}{where}",
            f"{_noun_phrase(rng)} {pick(lists.INTRANSITIVES)}{adverb}",
            f"{_noun_phrase(rng)} {pick(['is', 'was', 'is not', 'was not'])} {pick(lists.ADJECTIVES)}",
        ]
    )


def _sentence(rng: random.Random) -> str:
    """Return a phrase of plain English: grammatical, seldom sensible."""
    pick = rng.choice
    kind = rng.random()
    if kind < 0.6:
        return _clause(rng)
    if kind < 0.75:
        return f"{_clause(rng)} {pick([*lists.CONJUNCTIONS, 'when'])} {_clause(rng)}"
    if kind < 0.85:
        return f"{pick(lists.DAYS)} {pick(lists.MONTHS)} {_number(rng, 1, 31)} {_clause(rng)}"
    if kind < 0.92:
        amount = f"{_number(rng, 1, 999)} {pick(['thousand', 'million', 'percent of the', 'hundred'])}"
        return f"{amount} {pick(lists.PLURALS)} {pick(lists.INTRANSITIVES)} {pick(lists.ADVERBS)}"
    return f"please {pick(['who', 'when'])} {pick(lists.VERBS)} {_noun_phrase(rng)} {pick(lists.ADVERBS)}"


def _digit_string(rng: random.Random) -> str:
    return " ".join(rng.choices(lists.UNITS, k=rng.randint(3, 6)))


_GRAMMARS: dict[str, tuple[Callable[[random.Random], str], tuple[int, int], tuple[Sequence[str], ...]]] = {
    "digits": (_digit_string, (3, 6), (lists.UNITS,)),
    "commands": (
        _command,
        (3, 9),
        (
            lists.UNITS, lists.TEENS, lists.TENS, lists.DAYS, _ROOMS, _SWITCHED, _MOVED, _COLOURS,
            _NAMES, _CODE_WORDS, _TIMES_OF_DAY, _COMMAND_WORDS,
        ),
    ),
    "words1000": (
        _sentence,
        (4, 12),
        (
            lists.UNITS[1:], lists.TEENS, lists.TENS, lists.DAYS, lists.MONTHS, lists.NAMES, lists.NOUNS,
            lists.PLURALS, lists.ADJECTIVES, lists.VERBS, lists.INTRANSITIVES, lists.ADVERBS,
            lists.PREPOSITIONS, lists.DETERMINERS, lists.CONJUNCTIONS, lists.EXTRAS,
        ),
    ),
}  # fmt: skip

VOCABULARIES = tuple(_GRAMMARS)


def _grammar(
    vocabulary: str,
) -> tuple[Callable[[random.Random], str], tuple[int, int], tuple[Sequence[str], ...]]:
    if vocabulary not in _GRAMMARS:
        raise ConfigError(f"Vocabulary {vocabulary!r} is not known; known are {', '.join(VOCABULARIES)}.")
    return _GRAMMARS[vocabulary]


def vocabulary_words(vocabulary: str) -> list[str]:
    """Return every word that phrases of ``vocabulary`` may hold, sorted."""
    return sorted({word for part in _grammar(vocabulary)[2] for word in part})


def grammar_digest() -> str:
    """Return a digest of the grammars and word lists: while it stays, so do the phrases of a seed."""
    digest = hashlib.sha256()
    for file in (Path(__file__), Path(lists.__file__)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def phrase_lengths(vocabulary: str) -> tuple[int, int]:
    """Return the fewest and the most words that a phrase of ``vocabulary`` has unless asked otherwise."""
    return _grammar(vocabulary)[1]


def make_phrase(vocabulary: str, rng: random.Random, words: tuple[int, int] | None = None) -> str:
    """Draw one phrase.

    Args:
        vocabulary: ``digits``, ``commands`` or ``words1000``.
        rng: Decides everything.
        words: Fewest and most words; None for ``phrase_lengths``.

    Raises:
        ConfigError: The vocabulary is unknown, or its grammar makes no phrases of such lengths.
    """
    grammar, usual, _ = _grammar(vocabulary)
    low, high = words or usual
    for _ in range(1000):
        phrase = grammar(rng)
        if low <= phrase.count(" ") + 1 <= high:
            return phrase
    raise ConfigError(
        f"Vocabulary {vocabulary!r} makes no phrases of {low} to {high} words; its own are {usual[0]} to {usual[1]}."
    )
