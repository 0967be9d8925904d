"""Word, character and sentence error rates.

Errors are the fewest substitutions, deletions and insertions (unit costs) that turn the reference into the
hypothesis; among equally short edits the one with the fewest substitutions is counted. Text is normalised to
Unicode NFC and split at white space; nothing else is changed. Characters are those of the words joined by
single spaces, and the spaces count.

Legend: N utterances.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from seqkd.errors import ConfigError, DataError
from seqkd.scoring.bootstrap import bootstrap_interval

MISSING = ("error", "all", "present")


@dataclass(frozen=True)
class Counts:
    """Edits of N utterances, each field (N,) of int64; ``length`` counts reference units."""

    substitutions: np.ndarray
    deletions: np.ndarray
    insertions: np.ndarray
    length: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """(N,), substitutions + deletions + insertions."""
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class Utterances:
    """What was counted for each utterance, in the order of the references.

    Attributes:
        ids: N utterance ids.
        words: counts of words.
        characters: counts of characters, spaces between words included.
        missing: ids of the references that had no hypothesis (scored as empty, or left out: see `count`).
    """

    ids: tuple[str, ...]
    words: Counts
    characters: Counts
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Rate:
    """An error rate of words (or of characters: then ``words`` counts those of the references).

    ``rate`` and ``ci95``, its 95 % bootstrap interval over utterances, are fractions and may exceed 1.
    """

    rate: float
    errors: int
    substitutions: int
    deletions: int
    insertions: int
    words: int
    ci95: tuple[float, float]


@dataclass(frozen=True)
class SentenceRate:
    """Share of utterances with at least one wrong word, as a fraction, with its 95 % bootstrap interval."""

    rate: float
    errors: int
    sentences: int
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Score:
    """The result of `score`."""

    wer: Rate
    cer: Rate
    ser: SentenceRate
    utterances: Utterances

    def to_json(self) -> dict[str, Any]:
        """Return this system's entry in score.json: rates as fractions, without the utterances."""
        cer = asdict(self.cer)
        cer["characters"] = cer.pop("words")
        return {
            "wer": asdict(self.wer),
            "cer": cer,
            "ser": asdict(self.ser),
            "missing": len(self.utterances.missing),
        }


def score(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    *,
    missing: str = "error",
    replicates: int = 1000,
    seed: int = 0,
) -> Score:
    """Score hypotheses against references.

    Args:
        references: transcripts by utterance id. One may be empty (then all words of its hypothesis are
            insertions), but not all.
        hypotheses: transcripts by utterance id.
        missing: what to do about references without a hypothesis: ``error``; ``all`` scores them as if the
            hypothesis were empty; ``present`` leaves them out.
        replicates: bootstrap replicates of the intervals.
        seed: of the bootstrap.

    Raises:
        DataError: ids do not match, or there are no reference words.
        ConfigError: ``missing`` has another value.
    """
    utterances = count(references, hypotheses, missing=missing)

    def interval(errors: np.ndarray, length: np.ndarray) -> tuple[float, float]:
        return bootstrap_interval(errors, length, replicates=replicates, seed=seed)

    def rate(counts: Counts) -> Rate:
        return Rate(
            rate=float(counts.errors.sum() / counts.length.sum()),
            errors=int(counts.errors.sum()),
            substitutions=int(counts.substitutions.sum()),
            deletions=int(counts.deletions.sum()),
            insertions=int(counts.insertions.sum()),
            words=int(counts.length.sum()),
            ci95=interval(counts.errors, counts.length),
        )

    if not utterances.words.length.sum():
        raise DataError("The references hold no words, so there is no error rate.")
    wrong = (utterances.words.errors > 0).astype(np.int64)  # (N,)
    sentences = SentenceRate(float(wrong.mean()), int(wrong.sum()), len(wrong), interval(wrong, np.ones_like(wrong)))
    return Score(rate(utterances.words), rate(utterances.characters), sentences, utterances)


def count(references: Mapping[str, str], hypotheses: Mapping[str, str], *, missing: str = "error") -> Utterances:
    """Count the errors of every utterance; arguments and faults as in `score`."""
    if missing not in MISSING:
        raise ConfigError(f"missing is {missing!r}; expected one of {', '.join(MISSING)}.")
    if not references:
        raise DataError("There are no references to score against.")
    if "" in references or "" in hypotheses:
        raise DataError("An utterance id is empty.")
    if extra := [utterance for utterance in hypotheses if utterance not in references]:
        raise DataError(f"{_some(extra)} without a reference.")
    absent = [utterance for utterance in references if utterance not in hypotheses]
    if absent and missing == "error":
        raise DataError(
            f"{_some(absent)} without a hypothesis; decode them, score them as empty (missing: all) "
            "or leave them out (missing: present)."
        )
    ids = [utterance for utterance in references if utterance in hypotheses or missing == "all"]
    words, characters = [], []
    for utterance in ids:
        reference = _words(references[utterance])
        hypothesis = _words(hypotheses.get(utterance, ""))
        words.append(_edits(reference, hypothesis))
        characters.append(_edits(" ".join(reference), " ".join(hypothesis)))
    return Utterances(tuple(ids), _columns(words), _columns(characters), tuple(absent))


def _words(text: str) -> list[str]:
    return unicodedata.normalize("NFC", text).split()


def _edits(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int, int, int]:
    """Return substitutions, deletions, insertions and the reference's length."""
    if reference == hypothesis:
        return 0, 0, 0, len(reference)
    # With these weights the distance is scale * errors + substitutions, and substitutions < scale: one
    # distance yields both, minimised in this order. The lengths give the rest; no alignment is needed.
    scale = max(len(reference), len(hypothesis)) + 1
    distance = Levenshtein.distance(reference, hypothesis, weights=(scale, scale, scale + 1))
    errors, substitutions = divmod(distance, scale)
    deletions = (errors - substitutions + len(reference) - len(hypothesis)) // 2
    return substitutions, deletions, errors - substitutions - deletions, len(reference)


def _columns(rows: list[tuple[int, int, int, int]]) -> Counts:
    return Counts(*np.array(rows, dtype=np.int64).reshape(-1, 4).T)


def _some(ids: Sequence[str], shown: int = 3) -> str:
    """Name the first few ids: ``2 utterances (a, b) are``."""
    listed = ", ".join(ids[:shown]) + (", ..." if len(ids) > shown else "")
    return f"{len(ids)} utterance{'s' * (len(ids) > 1)} ({listed}) {'are' if len(ids) > 1 else 'is'}"
