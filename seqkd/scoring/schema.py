"""``score.json``, schema 1: what ``seqkd score --json`` writes and what other programs may rely on.

Rates, differences and probabilities are fractions; counts are whole numbers. Keys may be added within a schema
number; none is removed or changes its meaning. ``?`` marks what is there only if it was asked for or is known::

    {
      "schema": 1,
      "options": {
        "missing", "costs", "fragments"?, "unicode", "spaces", "markup", "normalizer", "replicates", "seed",
        "signature",                     the same in one line, to be quoted with a number
        "baseline",                      the system that all others are compared with, or null
        "reference", "references",       file name (without its directory) and number of utterances
        "reference_format", "reading", "extra"    see seqkd.scoring.formats
        "notes": [...]                   what was done to the files on the way, in sentences
      },
      "systems": {NAME: {
        "file", "format",                name of the file (without its directory), and its format
        "wer": {"rate", "errors", "substitutions", "deletions", "insertions", "words", "ci95": [low, high]},
                                         null instead of an interval over fewer than 10 utterances, here and below
        "cer": the same with "characters" for "words",
        "ter"?: the same with "tokens" for "words",
        "ser": {"rate", "errors", "sentences", "ci95"},
        "beside": {                      rates beside the word error rate
          "match": {"mer", "wil", "wip", "hits"},
          "mixed"?: RATE with "units"    Chinese and Japanese characters, words of other scripts
          "formatted"?: {"plain", "cased", "punctuated", "formatted": RATE with "words"},
          "keywords"?: {LIST: {
            "rate", "errors", "words", "other_rate", "other_errors", "other_words",
            "recall", "occurrences", "found", "precision", "proposed", "correct",
            "absent": [...]              phrases that occur in no reference
          }}
        },
        "intervals": {"wer", "cer", "ter"?, "ser", "speakers"?},
                                         by "bootstrap" or "Wilson", see seqkd.statistics.few; null if there is none
        "missing",                       references without a hypothesis: scored as empty, or left out
        "wer_ci95_speakers"?: [low, high]  drawing whole speakers instead of utterances
        "per_speaker"?: {SPEAKER: ROW},
        "per_group"?: {KIND: {GROUP: ROW}},
        "by_length": [ROW with "range", in reference words],
        "by_duration"?: [ROW with "range", in seconds],
        "confusions": {
          "substitutions": [{"reference", "hypothesis", "count"}],
          "insertions": [{"word", "count"}], "deletions": [{"word", "count"}]
        },                               the most frequent first, at most "options.confusions" of each
        "oracle"?: ROW with "mean_hypotheses"    if the best of each n-best list were chosen
        "calibration"?: {                of the confidences of words
          "count", "accuracy", "confidence", "ece", "mce", "adaptive_ece", "nll", "brier", "nce",
          "left_out",                    utterances in which not every scored word has a confidence of its own
          "diagram": [{"from", "to", "count", "confidence", "accuracy"}]
        }
      }},
      "pairs": [{
        "a", "b",
        "delta", "ci95": [low, high],    WER of a minus WER of b: negative if a is better
        "p_bootstrap", "p_improvement",  two-sided; share of replicates in which a is better
        "units",                         utterances that were drawn from
        "p_mapsswe", "z_mapsswe", "segments_mapsswe",   z is null where all segments differ equally
        "p_bootstrap_speakers"?,
        "survives_holm": {"bootstrap", "mapsswe"}    whether p is below .05 after Holm's correction for all pairs
      }]
    }

A ROW is ``{"rate", "errors", "substitutions", "deletions", "insertions", "words", "sentences", "wrong_sentences",
"ci95"?}``; its ``rate`` is null where there are no words. A RATE is ``{"rate", "errors", "substitutions", "deletions",
"insertions"}`` and what it counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from seqkd import __version__
from seqkd.scoring.pairs import Pair

SCHEMA = 1


def signature(options: Mapping[str, Any]) -> str:
    """Return in one line what a rate depends on, in the manner of sacreBLEU."""
    costs = options["costs"] if "," not in str(options["costs"]) or options["costs"][0].isdigit() else "fewest"
    parts = {
        "costs": costs,
        "norm": options["normalizer"],
        "unicode": options["unicode"],
        "markup": options["markup"],
        "spaces": options["spaces"],
        **({"fragments": "right"} if options.get("fragments") else {}),
        "missing": options["missing"],
        "bootstrap": options["replicates"],
        "seed": options["seed"],
        "seqkd": __version__,
    }
    return "|".join(f"{name}:{value}" for name, value in parts.items())


def pair_to_json(pair: Pair) -> dict[str, Any]:
    """Return the entry of one pair of systems in the JSON file."""
    entry = {
        "a": pair.a,
        "b": pair.b,
        "delta": pair.bootstrap.delta,
        "ci95": list(pair.bootstrap.ci95) if pair.bootstrap.ci95 else None,
        "p_bootstrap": pair.bootstrap.p_value,
        "p_improvement": pair.bootstrap.p_improvement,
        "units": pair.bootstrap.units,
        "p_mapsswe": pair.mapsswe.p_value,
        "z_mapsswe": pair.mapsswe.z if math.isfinite(pair.mapsswe.z) else None,  # JSON has no infinity
        "segments_mapsswe": pair.mapsswe.segments,
        "survives_holm": {"bootstrap": pair.survives_bootstrap, "mapsswe": pair.survives_mapsswe},
    }
    if pair.speakers is not None:
        entry["p_bootstrap_speakers"] = pair.speakers.p_value
    return entry


def to_json(options: Mapping[str, Any], systems: Mapping[str, Any], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return the content of the JSON file of ``seqkd score --json``."""
    return {
        "schema": SCHEMA,
        "options": dict(options),
        "systems": dict(systems),
        "pairs": [pair_to_json(pair) for pair in pairs],
    }
