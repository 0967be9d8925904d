"""Systems against each other, every pair or all against one: paired bootstrap and matched pairs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import combinations

from seqkd.errors import ConfigError, DataError
from seqkd.scoring.wer import Score
from seqkd.statistics.bootstrap import PairedResult, paired_bootstrap
from seqkd.statistics.holm import holm
from seqkd.statistics.mapsswe import MatchedPairs, matched_pairs


@dataclass(frozen=True)
class Pair:
    """The comparison of system ``a`` with system ``b``.

    Attributes:
        a: name of one system.
        b: name of the other.
        bootstrap: paired bootstrap over utterances.
        mapsswe: matched-pairs test.
        speakers: paired bootstrap over blocks, such as speakers, if they were given.
        survives_bootstrap: whether the bootstrap's p is below .05 after Holm's correction for all pairs.
        survives_mapsswe: the same of the matched-pairs test.
    """

    a: str
    b: str
    bootstrap: PairedResult
    mapsswe: MatchedPairs
    speakers: PairedResult | None
    survives_bootstrap: bool
    survives_mapsswe: bool


def compare_pairs(
    scores: Mapping[str, Score],
    *,
    blocks: Mapping[str, Hashable] | None = None,
    baseline: str | None = None,
    replicates: int = 10_000,
    seed: int = 0,
) -> list[Pair]:
    """Compare the word errors of every pair of systems, or of every other system with ``baseline``.

    Raises:
        ConfigError: the baseline is none of the systems.
        DataError: two systems were not scored on the same utterances.
    """
    results = []
    if baseline is not None and baseline not in scores:
        raise ConfigError(f"the baseline {baseline} is none of the systems; known: {', '.join(scores)}")
    others = [(name, baseline) for name in scores if name != baseline]
    for a, b in combinations(scores, 2) if baseline is None else others:
        one, other = scores[a].utterances, scores[b].utterances
        if one.ids != other.ids:
            raise DataError(
                f"{a} and {b} were scored on different utterances and cannot be compared; use missing: all."
            )
        errors = (one.words.errors, other.words.errors, one.words.length)
        settings = {"words_b": other.words.length, "replicates": replicates, "seed": seed, "far": True}
        by_speaker = None
        if blocks is not None:
            by_speaker = paired_bootstrap(*errors, blocks=[blocks[utterance] for utterance in one.ids], **settings)
        mapsswe = matched_pairs(one.alignments.errors(), other.alignments.errors())
        results.append((a, b, paired_bootstrap(*errors, **settings), mapsswe, by_speaker))
    survives = zip(holm([r[2].p_value for r in results]), holm([r[3].p_value for r in results]), strict=True)
    return [Pair(*result, *both) for result, both in zip(results, survives, strict=True)]
