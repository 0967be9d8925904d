"""What is changed in references and hypotheses before they are compared, and its signature.

A normaliser is a list of named steps, most of them jiwer's transforms, as in ``lower,no-punctuation``. Its
signature is printed and saved with every result, because rates under different normalisers do not compare.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from seqkd.errors import ConfigError, DataError
from seqkd.scoring.formats import read_lines

STEPS = {
    "lower": "lower case",
    "no-punctuation": "no punctuation (Unicode categories P*), not even apostrophes",
    "no-tags": "no [bracketed] or <angled> words",
    "contractions": "common English contractions in full: won't, will not",
    "no-fillers": "without uh, um, hm, mm, mhm, mmm, hmm, eh, ah",
    "english": "lower,no-tags,contractions,no-punctuation,no-fillers",
    "whisper-en": "Whisper's English normaliser (needs the package whisper-normalizer)",
}
_FILLERS = ["uh", "um", "hm", "mm", "mhm", "mmm", "hmm", "eh", "ah"]
_RULE = re.compile(r"\[?(?P<source>[^\]=]*?)\]?\s*=>\s*\[?(?P<target>[^\]]*?)\]?\s*(?P<context>/\s*\[.*)?")
_ANYWHERE = re.compile(r"/\s*\[\s*\]\s*__\s*\[\s*\]")

Step = Callable[[list[str]], list[str]]


class Normalizer:
    """Changes lists of transcripts.

    Attributes:
        signature: the steps, as in ``lower+no-punctuation+glm:1f0c33a2``; ``none`` without steps.
        alternatives: mappings from words to ``{alternatives}``, which only references get.
    """

    def __init__(self, steps: str = "", glm: Path | None = None):
        """Make a normaliser.

        Args:
            steps: names of `STEPS`, separated by commas, done in this order.
            glm: a mapping file; see `read_glm`. Done last.

        Raises:
            ConfigError: there is no such step, or its package is not installed.
            DataError: the mapping file is malformed.
        """
        names = [name for name in steps.split(",") if name]
        self._steps: list[Step] = [step for name in names for step in _make(name)]
        self.alternatives: dict[str, str] = {}
        if glm is not None:
            rules = read_glm(glm)
            self.alternatives = {source: target for source, target in rules.items() if "{" in target}
            self._plain = {source: target for source, target in rules.items() if "{" not in target}
            if self._plain:
                self._steps.append(partial(_map_all, self._plain))
            names.append(f"glm:{hashlib.sha256(repr(sorted(rules.items())).encode()).hexdigest()[:8]}")
        self.signature = "+".join(names) or "none"

    def __call__(self, texts: list[str]) -> list[str]:
        """Return the transcripts changed, one for each."""
        for step in self._steps:
            texts = step(texts) if texts else texts
        return texts

    def add_alternatives(self, text: str) -> str:
        """Replace what the mapping file gives alternatives for, in a reference."""
        return _map(self.alternatives, text)


def read_glm(path: Path | str) -> dict[str, str]:
    """Read a mapping file in the manner of NIST's ``.glm``.

    A line is ``source => target``, words in square brackets or bare; the target may be empty, or hold
    ``{alternatives / like these}``. ``;;`` and ``*`` begin comments. Of NIST's contexts only the empty one,
    ``/ [ ] __ [ ]``, is understood.

    Raises:
        DataError: a line is none of this, or a source is given twice.
    """
    rules: dict[str, str] = {}
    for number, line in read_lines(path):
        line = line.partition(";;")[0].strip()
        if not line or line.startswith("*"):
            continue
        found = _RULE.fullmatch(line)
        source = " ".join(found["source"].split()) if found else ""
        if not source:
            raise DataError(f"{path}, line {number}: found {line!r}; expected source => target.")
        if found["context"] and not _ANYWHERE.fullmatch(found["context"].strip()):
            raise DataError(
                f"{path}, line {number}: the rule has a context, {found['context'].strip()!r}; "
                "only / [ ] __ [ ], which is anywhere, is understood."
            )
        if source in rules:
            raise DataError(f"{path}, line {number}: {source!r} is mapped a second time.")
        rules[source] = " ".join(found["target"].split())
    if not rules:
        raise DataError(f"{path} holds no rules; expected on each line source => target.")
    return rules


def _map_all(rules: dict[str, str], texts: list[str]) -> list[str]:
    return [_map(rules, text) for text in texts]


def _map(rules: dict[str, str], text: str) -> str:
    """Replace runs of words, from the left, the longest source first; what was replaced is not looked at again."""
    longest = max((len(source.split()) for source in rules), default=0)
    words, done, at = text.split(), [], 0
    while at < len(words):
        for size in range(min(longest, len(words) - at), 0, -1):
            source = " ".join(words[at : at + size])
            if source in rules:
                done.append(rules[source])
                at += size
                break
        else:
            done.append(words[at])
            at += 1
    return " ".join(" ".join(done).split())


def _make(name: str) -> list[Step]:
    import jiwer

    if name == "lower":
        return [jiwer.ToLowerCase()]
    if name == "no-punctuation":
        return [jiwer.RemovePunctuation()]
    if name == "no-tags":
        return [jiwer.RemoveKaldiNonWords()]
    if name == "contractions":
        return [jiwer.ExpandCommonEnglishContractions()]
    if name == "no-fillers":
        return [lambda texts: [" ".join(word for word in text.split() if word not in _FILLERS) for text in texts]]
    if name == "english":
        return [step for part in STEPS["english"].split(",") for step in _make(part)]
    if name == "whisper-en":
        try:
            from whisper_normalizer.english import EnglishTextNormalizer
        except ImportError:
            raise ConfigError(
                "the normaliser whisper-en needs a package that is not installed: pip install whisper-normalizer"
            ) from None
        normalize = EnglishTextNormalizer()
        return [lambda texts: [normalize(text) for text in texts]]
    raise ConfigError(f"there is no normaliser {name!r}; known: {', '.join(STEPS)}")
