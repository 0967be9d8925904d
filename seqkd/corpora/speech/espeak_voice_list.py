"""Voices of made-up speech: espeak-ng's English accents and variants, and which split speaks with which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seqkd.errors import ConfigError

ACCENTS = {
    "us": "en-US",
    "gb": "en",
    "sc": "en-GB-scotland",
    "rp": "en-GB-x-rp",
    "lc": "en-GB-x-gbclan",
    "wm": "en-GB-x-gbcwmd",
    "cb": "en-029",
    "ny": "en-US-nyc",
}
"""Short names and files of espeak-ng's English voices ("en-gb" with a variant fails: its file is "en")."""

# "wm" (West Midlands) is left out: it drops every h, and "hat" and "at" become one.
DEFAULT_ACCENTS = ("us", "gb", "sc", "rp", "lc", "cb", "ny")

# A voice is a variant. Variants whose formants are largely the same (Gene and Gene2, Mike and m3, ...) are in
# one split. Left out are whispers (whisper, whisperf, caleb: no voicing); constant echo (robosoft*,
# RicishayMax*, anikaRobot, UniRobot, Demonic); variants whose single words were mistaken for others when
# matched with those of other voices, or that are hardly voiced or drawl (Alicia, Marco, Lee, iven2,
# kaukovalta, zac, announcer); one that is no voice of its own (fast) and one with
# a space in its name (Mr serious).
# fmt: off
DEFAULT_VOICES: dict[str, tuple[str, ...]] = {
    "train": (
        "adam", "Alex", "Andy", "anika", "AnxiousAndy", "aunty", "benjamin", "boris", "croak", "Diogo", "f4",
        "grandma", "grandpa", "gustave", "Henrique", "Hugo", "iven", "iven3", "iven4", "Jacky", "john", "klatt",
        "klatt2", "klatt3", "klatt4", "klatt5", "klatt6", "m3", "m6", "m8", "marcelo", "Mario", "Michael", "michel",
        "miguel", "Mike", "mike2", "Nguyen", "norbert", "pablo", "sandro", "steph", "steph2", "steph3", "Storm",
        "travis", "Tweaky",
    ),
    "dev": (
        "Annie", "antonio", "david", "f3", "ian", "linda", "m2", "m4", "quincy", "rob", "robert", "shelby",
    ),
    "test": (
        "Andrea", "belinda", "Denis", "ed", "edward", "edward2", "f1", "f2", "f5", "Gene", "Gene2", "m1", "m5",
        "m7", "max", "paul", "pedro", "Reed", "victor",
    ),
}

# For classes of single words: 40 voices to train with and 30 to test with. No voice of a split has formants that are
# largely those of a voice of another split (apart from the width of the peaks, at least 2 % lie between them).
KEYWORD_VOICES: dict[str, tuple[str, ...]] = {
    "train": (
        "adam", "Alex", "Andy", "AnxiousAndy", "aunty", "benjamin", "croak", "f3", "f4", "grandpa", "gustave", "iven",
        "iven3", "iven4", "Jacky", "john", "klatt", "klatt2", "klatt3", "klatt4", "klatt5", "klatt6", "m1", "m3", "m6",
        "m7", "m8", "marcelo", "Mario", "max", "Michael", "Mike", "pedro", "sandro", "steph", "steph2", "steph3",
        "Storm", "travis", "Tweaky",
    ),
    "dev": (
        "anika", "Annie", "boris", "ian", "m4", "Nguyen", "norbert", "shelby",
    ),
    "test": (
        "Andrea", "antonio", "belinda", "david", "Denis", "Diogo", "ed", "edward", "edward2", "f1", "f2", "f5", "Gene",
        "Gene2", "grandma", "Henrique", "Hugo", "linda", "m2", "m5", "michel", "miguel", "mike2", "pablo", "paul",
        "quincy", "Reed", "rob", "robert", "victor",
    ),
}
# fmt: on


def _installed_voices() -> tuple[set[str], set[str], str]:
    """Return the variants and the accent files that espeak-ng has, and its package's version."""
    try:
        import importlib.metadata

        import espeakng_loader
    except ImportError as error:
        raise ConfigError(
            "Made-up speech needs the espeak-ng library; install it with: pip install 'seqkd[synth]'"
        ) from error
    data = Path(espeakng_loader.get_data_path())
    variants = {file.name for file in (data / "voices" / "!v").iterdir()}
    accents = {file.name for file in (data / "lang" / "gmw").iterdir()}
    return variants, accents, importlib.metadata.version("espeakng-loader")


def check_voices(voices: Mapping[str, list[str]], accents: list[str]) -> str:
    """Check that all voices are installed and no two splits share one; returns espeak-ng's package version.

    espeak-ng itself falls back to its default voice without a word when a variant is not there.
    """
    variants, files, version = _installed_voices()
    for accent in accents:
        if accent not in ACCENTS or ACCENTS[accent] not in files:
            raise ConfigError(f"Accent {accent!r} is not known; known are {', '.join(ACCENTS)}.")
    if not accents:
        raise ConfigError("No accents are given; name at least one.")
    owner: dict[str, str] = {}
    for split, names in voices.items():
        if not names:
            raise ConfigError(f"Split {split!r} has no voices; name at least one.")
        for name in names:
            if name not in variants or " " in name:
                usable = ", ".join(sorted(variant for variant in variants if " " not in variant))
                raise ConfigError(
                    f"Voice {name!r} of split {split!r} is not an espeak-ng variant; these are: {usable}."
                )
            key = name.lower()  # speaker ids are lower case
            if key in owner:
                raise ConfigError(f"Voice {name!r} is in split {split!r} and in {owner[key]!r}; a voice may be in one.")
            owner[key] = split
    return version
