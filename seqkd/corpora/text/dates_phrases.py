"""Made-up English phrases of dates, times, amounts and numbers, with all their German renderings.

Formats are the Unicode CLDR's, through Babel; numbers in words are num2words'. Most phrases have several
right translations. Which one a corpus shows is drawn with the probabilities given here, so how sure a model
should be of each is known: ``Phrase.german`` is the distribution of the translation given ``Phrase.english``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

Renderings = tuple[tuple[float, str], ...]  # probability and text; the probabilities sum to 1

_FIRST, _LAST = date(1950, 1, 1).toordinal(), date(2049, 12, 31).toordinal()
_ON: list[tuple[str, Renderings]] = [  # what happens on a day
    ("The meeting is on {}.", ((0.7, "Die Besprechung ist am {}."), (0.3, "Am {} ist die Besprechung."))),
    ("The shop is closed on {}.", ((0.6, "Das Geschäft ist am {} geschlossen."), (0.4, "Der Laden ist am {} zu."))),
    ("She was born on {}.", ((0.8, "Sie wurde am {} geboren."), (0.2, "Sie ist am {} geboren."))),
    ("The contract ends on {}.", ((0.5, "Der Vertrag endet am {}."), (0.5, "Der Vertrag läuft am {} aus."))),
    ("Please reply by {}.", ((0.7, "Bitte antworten Sie bis zum {}."), (0.3, "Antworten Sie bitte bis zum {}."))),
]
_AT: list[tuple[str, Renderings]] = [  # and at a time
    ("The train leaves at {}.", ((0.8, "Der Zug fährt um {} ab."), (0.2, "Um {} fährt der Zug ab."))),
    ("Dinner is at {}.", ((0.6, "Das Abendessen ist um {}."), (0.4, "Um {} gibt es Abendessen."))),
    ("I will call you at {}.", ((0.6, "Ich rufe Sie um {} an."), (0.4, "Ich rufe dich um {} an."))),
]
_AMOUNTS: list[tuple[str, Renderings]] = [
    ("The ticket costs {}.", ((0.7, "Die Fahrkarte kostet {}."), (0.3, "Das Ticket kostet {}."))),
    ("The total is {}.", ((0.5, "Die Summe beträgt {}."), (0.3, "Insgesamt sind es {}."), (0.2, "Das macht {}."))),
    ("They paid {} for the house.", ((1.0, "Sie zahlten {} für das Haus."),)),
]
_COUNTS: list[tuple[str, Renderings]] = [
    ("The library has {} books.", ((0.6, "Die Bibliothek hat {} Bücher."), (0.4, "Die Bücherei hat {} Bücher."))),
    ("The town has {} inhabitants.", ((0.7, "Die Stadt hat {} Einwohner."), (0.3, "Der Ort hat {} Einwohner."))),
    ("We counted {} cars.", ((0.6, "Wir zählten {} Autos."), (0.4, "Wir haben {} Autos gezählt."))),
]
_THINGS = [("day", "der", "Tag"), ("chapter", "das", "Kapitel"), ("page", "die", "Seite"), ("floor", "der", "Stock")]
_UNITS = [("length-kilometer", 3000), ("mass-kilogram", 500), ("volume-liter", 900), ("temperature-celsius", 99)]
_CURRENCIES = ["EUR", "USD", "GBP", "CHF", "JPY"]


@dataclass(frozen=True)
class Phrase:
    """An English phrase.

    Attributes:
        content: What it is about, whatever the words: sets that share no content share no fact.
        english: The phrase.
        german: Its translations with their probabilities.
    """

    content: str
    english: str
    german: Renderings

    def draw(self, rng: random.Random) -> str:
        """Return a translation, drawn by probability."""
        return rng.choices([text for _, text in self.german], [weight for weight, _ in self.german])[0]

    @property
    def entropy(self) -> float:
        """Of the translation, in nats: no model can have a lower expected negative log-likelihood."""
        return -sum(weight * math.log(weight) for weight, _ in self.german)


def _merge(renderings: Iterable[tuple[float, str]]) -> Renderings:
    """Collapse white space (CLDR has narrow spaces) and add up what is the same then."""
    merged: dict[str, float] = {}
    for weight, text in renderings:
        key = " ".join(text.split())
        merged[key] = merged.get(key, 0.0) + weight
    return tuple((weight, text) for text, weight in merged.items())


def _phrase(content: object, english: str, german: Iterable[tuple[float, str]]) -> Phrase:
    return Phrase(str(content), " ".join(english.split()), _merge(german))


def _within(rng: random.Random, frames: list[tuple[str, Renderings]], phrase: Phrase) -> Phrase:
    """Put a phrase into a sentence."""
    english, german = rng.choice(frames)
    return _phrase(
        phrase.content,
        english.format(phrase.english),
        [(a * b, frame.format(text)) for a, frame in german for b, text in phrase.german],
    )


def _day(rng: random.Random) -> date:
    return date.fromordinal(rng.randint(_FIRST, _LAST))


def _minute(rng: random.Random) -> time:
    return time(rng.randrange(24), rng.choice([0, 15, 30, 45, rng.randrange(60)]))


def _date(rng: random.Random) -> Phrase:
    from babel.dates import format_date, format_skeleton

    day = _day(rng)
    if rng.random() < 0.5:  # without the day of the week
        english = [format_date(day, "long", "en_US"), format_date(day, "long", "en_GB")]
        english += [format_date(day, "medium", "en_US"), format_date(day, "short", "en_US")]
        german = [(0.6, format_date(day, "long", "de")), (0.25, format_date(day, "medium", "de"))]
        german += [(0.15, format_skeleton("yMd", day, locale="de"))]
        phrase = _phrase(day, rng.choice(english), german)
        return _within(rng, _ON, phrase) if rng.random() < 0.5 else phrase
    english = [format_date(day, "full", "en_US"), format_date(day, "full", "en_GB")]
    english += [format_skeleton("yMMMEd", day, locale="en_US")]
    name, rest = format_date(day, "EEEE", "de"), format_date(day, "long", "de")
    if rng.random() < 0.5:
        after = [(0.6, f"{name}, dem {rest}"), (0.4, f"{name}, den {rest}")]  # both cases are right after "am"
        return _within(rng, _ON, _phrase(day, rng.choice(english), after))
    german = [(0.6, format_date(day, "full", "de")), (0.2, f"{name}, den {rest}")]
    german += [(0.2, format_skeleton("yMMMEd", day, locale="de"))]
    return _phrase(day, rng.choice(english), german)


def _clock(moment: time) -> list[tuple[float, str]]:
    """Return the German ways to say a time of day."""
    from babel.dates import format_time
    from num2words import num2words

    hours = f"{moment.hour} Uhr"
    digits = hours if moment.minute == 0 else f"{hours} {moment.minute}"
    found = [(0.6, f"{format_time(moment, 'short', locale='de')} Uhr"), (0.25, digits)]
    words = {0: "{}", 15: "Viertel nach {}", 30: "halb {}", 45: "Viertel vor {}"}.get(moment.minute)
    if words is None:
        return [*found, (0.15, format_time(moment, "short", locale="de"))]
    hour = (moment.hour + (moment.minute > 15) - 1) % 12 + 1
    return [*found, (0.15, words.format("eins" if hour == 1 else num2words(hour, lang="de")))]


def _time(rng: random.Random) -> Phrase:
    from babel.dates import format_time

    moment = _minute(rng)
    english = rng.choice([format_time(moment, "short", locale="en_US"), format_time(moment, "short", locale="en_GB")])
    phrase = _phrase(moment, english, _clock(moment))
    return _within(rng, _AT, phrase) if rng.random() < 0.6 else phrase


def _appointment(rng: random.Random) -> Phrase:
    from babel.dates import format_date, format_datetime

    moment = datetime.combine(_day(rng), _minute(rng))
    locale, length = rng.choice(["en_US", "en_GB"]), rng.choice(["full", "long", "medium"])
    clock = format_datetime(moment, "HH:mm", locale="de")
    day = format_date(moment, "full" if length == "full" else "long", "de")
    english = f"{format_date(moment, length, locale)} at {format_datetime(moment, 'h:mm a', locale=locale)}"
    return _phrase(
        moment, english, [(0.5, f"{day} um {clock} Uhr"), (0.3, f"{day}, {clock} Uhr"), (0.2, f"{day}, {clock}")]
    )


def _interval(rng: random.Random) -> Phrase:
    from babel.dates import format_date, format_interval

    first = _day(rng)
    last = first + timedelta(days=rng.choice([rng.randint(1, 20), rng.randint(21, 400)]))
    locale = rng.choice(["en_US", "en_GB"])
    one, other = format_date(first, "long", "de"), format_date(last, "long", "de")
    if rng.random() < 0.5:
        english = f"from {format_date(first, 'long', locale)} to {format_date(last, 'long', locale)}"
        return _phrase((first, last), english, [(0.7, f"vom {one} bis zum {other}"), (0.3, f"vom {one} bis {other}")])
    german = [(0.6, format_interval(first, last, "yMMMd", locale="de")), (0.4, f"{one} bis {other}")]
    return _phrase((first, last), format_interval(first, last, "yMMMd", locale=locale), german)


def _in_words(value: int) -> list[tuple[float, str]]:
    """Return the German words of a number; an "ein" before hundred or thousand may be left out."""
    from num2words import num2words

    words = num2words(value, lang="de")
    shorter = words[3:] if words.startswith(("einhundert", "eintausend")) else words
    return [(0.7, words), (0.3, shorter)]


def _number(rng: random.Random) -> Phrase:
    from babel.numbers import format_decimal
    from num2words import num2words

    value = rng.choice([rng.randint(13, 199), rng.randint(200, 9999), rng.randint(10_000, 999_999)])
    if rng.random() < 0.5:
        return _phrase(value, num2words(value, lang="en"), _in_words(value))
    digits = format_decimal(value, locale="de")
    phrase = _phrase(value, format_decimal(value, locale="en"), [(0.8, digits), (0.2, digits.replace(".", " "))])
    return _within(rng, _COUNTS, phrase)


def _decimal(rng: random.Random) -> Phrase:
    from babel.numbers import format_compact_decimal
    from num2words import num2words

    if rng.random() < 0.5:
        value = rng.randint(101, 9999) / 100
        return _phrase(value, num2words(value, lang="en"), [(1.0, num2words(value, lang="de"))])
    value = rng.randint(11, 9999) * 100_000
    english = format_compact_decimal(value, format_type="long", locale="en", fraction_digits=1)
    german = [
        (weight, format_compact_decimal(value, format_type=length, locale="de", fraction_digits=1))
        for length, weight in (("long", 0.7), ("short", 0.3))
    ]
    return _phrase(value, english, german)


def _amount(rng: random.Random) -> Phrase:
    from babel.numbers import format_currency
    from num2words import num2words

    currency, cents = rng.choice(_CURRENCIES), rng.randint(200, 500_000)
    value = cents // 100 if currency == "JPY" else cents / 100
    content = f"{value} {currency}"
    if currency == "EUR" and rng.random() < 0.3:
        words = {lang: num2words(value, to="currency", currency="EUR", lang=lang) for lang in ("en", "de")}
        return _phrase(content, words["en"], [(1.0, words["de"])])
    kind = rng.choice(["standard", "name"])
    english = format_currency(value, currency, locale="en", format_type=kind)
    weights = {"standard": 0.7, "name": 0.3} if kind == "standard" else {"standard": 0.2, "name": 0.8}
    german = [
        (weight, format_currency(value, currency, locale="de", format_type=other)) for other, weight in weights.items()
    ]
    return _within(rng, _AMOUNTS, _phrase(content, english, german))


def _ordinal(rng: random.Random) -> Phrase:
    from babel.dates import format_date
    from num2words import num2words

    if rng.random() < 0.5:
        day = _day(rng)
        month = {lang: format_date(day, "MMMM", lang) for lang in ("en", "de")}
        english = f"the {num2words(day.day, to='ordinal', lang='en')} of {month['en']} {day.year}"
        words = num2words(day.day, to="ordinal", lang="de")
        german = [(0.6, f"der {words} {month['de']} {day.year}"), (0.4, f"der {day.day}. {month['de']} {day.year}")]
        return _phrase(day, english, german)
    value, (thing, article, noun) = rng.randint(2, 400), rng.choice(_THINGS)
    words = num2words(value, to="ordinal", lang="de")
    number = num2words(value, to="ordinal" if rng.random() < 0.5 else "ordinal_num", lang="en")
    german = [(0.5, f"{article} {words} {noun}"), (0.5, f"{article} {value}. {noun}")]
    return _phrase(f"{value} {thing}", f"the {number} {thing}", german)


def _quantity(rng: random.Random) -> Phrase:
    from babel.units import format_unit

    unit, most = rng.choice(_UNITS)
    value = rng.randint(11, most * 10) / 10
    english = format_unit(value, unit, locale="en")
    german = [
        (weight, format_unit(value, unit, length, locale="de")) for weight, length in ((0.6, "long"), (0.4, "short"))
    ]
    return _phrase(f"{value} {unit}", english, german)


def _duration(rng: random.Random) -> Phrase:
    from babel.dates import format_timedelta
    from num2words import num2words

    unit, most, seconds = rng.choice(
        [("minute", 59, 60), ("hour", 23, 3600), ("day", 29, 86400), ("year", 99, 31536000)]
    )
    value = rng.randint(2, most)
    span = timedelta(seconds=value * seconds)
    texts = {}
    for lang in ("en", "de"):
        texts[lang] = format_timedelta(span, granularity=unit, threshold=1000, add_direction=True, locale=lang)
    german = [(0.7, texts["de"]), (0.3, texts["de"].replace(str(value), num2words(value, lang="de"), 1))]
    return _phrase(f"{value} {unit}", texts["en"], german)


KINDS: tuple[Callable[[random.Random], Phrase], ...] = (
    _date,
    _time,
    _appointment,
    _interval,
    _number,
    _decimal,
    _amount,
    _ordinal,
    _quantity,
    _duration,
)
"""Each draws one kind of phrase; all kinds are equally frequent in a corpus."""


def draw_phrase(rng: random.Random) -> Phrase:
    """Return a phrase of any kind; its content carries the kind's name."""
    kind = rng.choice(KINDS)
    phrase = kind(rng)
    return Phrase(f"{kind.__name__.strip('_')} {phrase.content}", phrase.english, phrase.german)
