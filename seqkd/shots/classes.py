"""The eight classes of camera shots of deep interactive learning (ACM MM 2020, 10.1145/3394171.3413985)."""

from __future__ import annotations

from seqkd.errors import DataError

# The order is the order of classes everywhere: in arrays, models and tables.
SHOTS = ("CU", "MCU", "MS", "MLS", "LS", "XLS", "ADS", "MIS")

LONG_NAMES = {
    "CU": "close-up",
    "MCU": "medium close-up",
    "MS": "medium shot",
    "MLS": "medium long shot",
    "LS": "long shot",
    "XLS": "extreme long shot",
    "ADS": "audience shot",
    "MIS": "musical instrument shot",
}

_NUMBERS = {kind: number for number, kind in enumerate(SHOTS)}
_SPELLINGS = {name.upper().replace("-", " "): kind for kind, name in LONG_NAMES.items()} | {
    kind: kind for kind in SHOTS
}


def class_number(kind: str) -> int:
    """Return the class, 0 to 7, of a shot type of ``SHOTS``; DataError for any other."""
    try:
        return _NUMBERS[kind]
    except KeyError:
        raise DataError(f"shot type {kind!r} is not known; expected one of {', '.join(SHOTS)}.") from None


def parse_kind(text: str) -> str | None:
    """Return the member of ``SHOTS`` that a person's spelling means (``cu``, ``Close-up``), or None."""
    return _SPELLINGS.get(" ".join(text.upper().replace("-", " ").replace("_", " ").split()))
