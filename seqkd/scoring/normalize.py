"""What is changed in references and hypotheses before they are compared, and its signature.

A normaliser is a list of named steps, as in ``lower,no-punctuation``. Its signature is printed and saved with every
result, because rates under different normalisers do not compare; a step whose meaning has changed has a number.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from seqkd.errors import ConfigError
from seqkd.scoring.formats.reading import Reading
from seqkd.scoring.norms import steps as do
from seqkd.scoring.norms.expressions import read_expressions
from seqkd.scoring.norms.glm import MappingFile, map_words, read_mapping
from seqkd.scoring.norms.numbers import numbers

STEPS = {
    "lower": "lower case",
    "lower-ascii": "A to Z in lower case, and no other letters, as in sclite",
    "apostrophes": "typographic apostrophes as those of typewriters: it’s, it's",
    "no-punctuation": "no punctuation (Unicode categories P*), not even apostrophes, but in numbers; - as a space",
    "no-tags": "no [bracketed] or <angled> words",
    "contractions": "common English contractions in full: won't, will not",
    "no-fillers": "without uh, um, hm, mm, mhm, mmm, hmm, eh, ah",
    "numbers": "English numbers in words as figures: twenty-one, 21; three point five, 3.5",
    "english": "lower,no-tags,contractions,no-punctuation,no-fillers",
    "english-numbers": "lower,no-tags,contractions,numbers,no-punctuation,no-fillers",
    "characters": "Chinese and Japanese characters as words of their own",
    "letters": "every character as a word of its own, as with sclite's -c",
    "punctuation": "marks of punctuation as words of their own",
    "whisper-en": "Whisper's English normaliser (needs the package whisper-normalizer)",
}
# Steps that do not do what the release before did: 2 keeps numbers, and splits at hyphens.
_VERSIONS = {"no-punctuation": 2, "english": 2}
_SIMPLE: dict[str, Callable[[str], str]] = {
    "lower": do.lower,
    "lower-ascii": do.lower_ascii,
    "letters": do.letters,
    "apostrophes": do.plain_apostrophes,
    "no-punctuation": do.no_punctuation,
    "no-tags": do.no_tags,
    "contractions": do.contractions,
    "no-fillers": do.no_fillers,
    "numbers": numbers,
    "characters": do.separate_characters,
    "punctuation": do.separate_punctuation,
}

Step = Callable[[str], str]


class Normalizer:
    """Changes lists of transcripts.

    Attributes:
        signature: the steps, as in ``lower+no-punctuation.2+glm:1f0c33a2``; ``none`` without steps.
        alternatives: whether `add_alternatives` does anything.
        both: whether hypotheses get alternatives, too, as by NIST's mapping files; otherwise references alone do.
    """

    def __init__(
        self,
        steps: str = "",
        glm: Path | None = None,
        rules: Path | None = None,
        reading: Reading | None = None,
    ):
        """Make a normaliser.

        Args:
            steps: names of `STEPS`, separated by commas, done in this order.
            glm: a mapping file; see `seqkd.scoring.norms.glm`. Done last.
            rules: regular expressions; see `seqkd.scoring.norms.expressions`. Done first.
            reading: how strictly files are read.

        Raises:
            ConfigError: there is no such step, or its package is not installed.
            DataError: a file is malformed.
        """
        names = [name for name in steps.split(",") if name]
        self._steps: list[Step] = [step for name in names for step in _make(name)]
        self._mapping: MappingFile | None = None
        self._marked: dict[str, str] = {}
        signature = [f"{name}.{_VERSIONS[name]}" if name in _VERSIONS else name for name in names]
        if rules is not None:
            change, digest = read_expressions(rules, reading)
            self._steps.insert(0, change)
            signature.insert(0, f"rules:{digest}")
        if glm is not None:
            self._mapping = read_mapping(glm, reading)
            signature.append(f"glm:{self._mapping.digest}")
            if not self._mapping.nist:
                words = self._mapping.words
                self._marked = {source: target for source, target in words.items() if "{" in target}
                plain = {source: target for source, target in words.items() if "{" not in target}
                if plain:
                    self._steps.append(lambda text: map_words(plain, text))
        self.signature = "+".join(signature) or "none"

    @property
    def both(self) -> bool:
        """Whether hypotheses get alternatives, too, as by NIST's mapping files; otherwise references alone do."""
        return self._mapping is not None and self._mapping.nist

    @property
    def alternatives(self) -> bool:
        """Whether `add_alternatives` does anything."""
        return self.both or bool(self._marked)

    def __call__(self, texts: list[str]) -> list[str]:
        """Return the transcripts changed, one for each."""
        for step in self._steps:
            texts = [step(text) for text in texts]
        return texts

    def add_alternatives(self, text: str) -> str:
        """Apply the rules of the mapping file that may give alternatives."""
        return self._mapping.apply(text) if self.both else map_words(self._marked, text)


def read_glm(path: Path | str, reading: Reading | None = None) -> dict[str, str]:
    """The rules of a mapping file that maps whole words; see `seqkd.scoring.norms.glm`."""
    return read_mapping(path, reading).words


def _make(name: str) -> list[Step]:
    if name in _SIMPLE:
        return [_SIMPLE[name]]
    if name in ("english", "english-numbers"):
        return [step for part in STEPS[name].split(",") for step in _make(part)]
    if name == "whisper-en":
        try:
            from whisper_normalizer.english import EnglishTextNormalizer
        except ImportError:
            raise ConfigError(
                "the normaliser whisper-en needs a package that is not installed: pip install whisper-normalizer"
            ) from None
        return [EnglishTextNormalizer()]
    raise ConfigError(f"there is no normaliser {name!r}; known: {', '.join(STEPS)}")
