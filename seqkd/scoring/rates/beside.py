"""Computes, for one system, the rates beside the word error rate that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seqkd.scoring.align import one_line_each
from seqkd.scoring.normalize import Normalizer
from seqkd.scoring.rates.keywords import KeywordRates, absent_phrases, keyword_rates
from seqkd.scoring.rates.matches import MatchRates, match_rates
from seqkd.scoring.wer import Counts, Utterances, count

# What each variant of the transcripts keeps.
FORMATTED = {
    "plain": "lower,no-punctuation",
    "cased": "no-punctuation",
    "punctuated": "lower,punctuation",
    "formatted": "punctuation",
}
_SHOWN = 5  # of the phrases that occur in no reference


@dataclass(frozen=True)
class Beside:
    """Rates beside the word error rate; None where not asked for.

    Attributes:
        matches: MER, WIL and WIP.
        mixed: counts of units of the mixed error rate: Chinese and Japanese characters, and words of other scripts.
        formatted: counts of words by what is kept: nothing (``plain``), case (``cased``), marks of punctuation as
            words of their own (``punctuated``), both (``formatted``).
        keywords: errors of listed words, by the name of the list or tag.
        absent: phrases that occur in no reference, by the name of the list or tag, as they are written there.
    """

    matches: MatchRates
    mixed: Counts | None = None
    formatted: dict[str, Counts] = field(default_factory=dict)
    keywords: dict[str, KeywordRates] = field(default_factory=dict)
    absent: dict[str, list[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the rates as they stand in the JSON file of ``seqkd score``."""
        made: dict[str, Any] = {"match": self.matches.to_json()}
        if self.mixed is not None:
            made["mixed"] = counts_json(self.mixed, "units")
        if self.formatted:
            made["formatted"] = {name: counts_json(counts, "words") for name, counts in self.formatted.items()}
        if self.keywords:
            made["keywords"] = {
                name: {**rates.to_json(), "absent": self.absent.get(name, [])} for name, rates in self.keywords.items()
            }
        return made

    def lines(self) -> list[str]:
        """Return the rates as lines for the terminal."""
        match = self.matches
        done = [f"MER {match.mer:.2%}, WIL {match.wil:.2%}, WIP {match.wip:.2%}"]
        if self.mixed is not None:
            done.append(f"mixed error rate {_percent(self.mixed)} of {int(self.mixed.length.sum())} units")
        if self.formatted:
            done.append("WER " + ", ".join(f"{name} {_percent(one)}" for name, one in self.formatted.items()))
        for name, rates in self.keywords.items():
            numbers = rates.to_json()
            done.append(
                f"keywords {name}: WER {_share(numbers['rate'])} of {rates.words} words, others "
                f"{_share(numbers['other_rate'])}; recall {_share(numbers['recall'])} of {rates.occurrences}, "
                f"precision {_share(numbers['precision'])} of {rates.proposed}"
            )
            if absent := self.absent.get(name):
                more = f" and {len(absent) - _SHOWN} others" if len(absent) > _SHOWN else ""
                done.append(f"keywords {name}: in no reference occur {', '.join(absent[:_SHOWN])}{more}")
        return done


def beside(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    utterances: Utterances,
    *,
    normalizer: Normalizer,
    derive: Callable[[str], Normalizer],
    mixed: bool = False,
    formatted: bool = False,
    keywords: Mapping[str, Sequence[str]] | None = None,
    **options: Any,
) -> Beside:
    """Compute the rates that the options ask for.

    Args:
        references: as they were scored, not normalised.
        hypotheses: as they were scored, not normalised.
        utterances: their counts.
        normalizer: that of the word error rate.
        derive: gives one with further steps after the same ones, or, for ``formatted``, in their place.
        mixed: whether the mixed error rate is wanted.
        formatted: whether case- and punctuation-aware rates are wanted.
        keywords: phrases by the name of their list.
        **options: of `seqkd.scoring.count`.
    """
    done: dict[str, Any] = {"matches": match_rates(utterances.words)}
    options = {**options, "characters": False}
    if mixed:
        done["mixed"] = count(references, hypotheses, normalizer=derive("+characters"), **options).words
    if formatted:
        done["formatted"] = {
            name: count(references, hypotheses, normalizer=derive(steps), **options).words
            for name, steps in FORMATTED.items()
        }
    if keywords:
        done |= {"keywords": {}, "absent": {}}
        for name, phrases in keywords.items():
            # In NFC before they are normalised, as transcripts are: steps know letters with their accents.
            normal = normalizer(one_line_each(phrases).split("\n") if phrases else [])
            done["keywords"][name] = keyword_rates(utterances, normal)
            done["absent"][name] = [phrases[at] for at in absent_phrases(utterances, normal)]
    return Beside(**done)


def counts_json(counts: Counts, unit: str) -> dict[str, Any]:
    """Return a rate and its counts for the JSON file."""
    length, errors = int(counts.length.sum()), int(counts.errors.sum())
    return {
        "rate": errors / length if length else None,
        "errors": errors,
        "substitutions": int(counts.substitutions.sum()),
        "deletions": int(counts.deletions.sum()),
        "insertions": int(counts.insertions.sum()),
        unit: length,
    }


def _percent(counts: Counts) -> str:
    return _share(counts_json(counts, "")["rate"])


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"
