"""Word, character, token and sentence error rates.

By default errors are the fewest substitutions, deletions and insertions that turn the reference into the
hypothesis, and among equally short edits the one with the fewest substitutions is counted; ``costs`` of 4, 3 and 3
give sclite's alignment. Text is normalised to Unicode NFC and split at white space; nothing else is changed unless
asked for. Characters are Unicode code points of the words joined by single spaces, and the spaces count unless
asked not to.

Legend: N utterances, T reference tokens of all of them, P positions (see `seqkd.statistics.mapsswe`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from seqkd.errors import ConfigError, DataError
from seqkd.scoring import lattice, networks
from seqkd.scoring.align import (
    Alignments,
    WordIds,
    align,
    number_characters,
    number_tokens,
    number_words,
    one_line_each,
)
from seqkd.scoring.intervals import method
from seqkd.scoring.matching import match
from seqkd.scoring.normalize import Normalizer
from seqkd.scoring.words import DELETION, FEWEST, INSERTION, SUBSTITUTION, Costs, Tokens
from seqkd.statistics.bootstrap import bootstrap_interval
from seqkd.statistics.mapsswe import Errors

MISSING = ("error", "all", "present")
SPACES = ("count", "ignore")
Transcripts = Mapping[str, str] | Sequence[str]


@dataclass(frozen=True)
class Counts:
    """Edits of N utterances, each field (N,) of int64; ``length`` counts reference units."""

    substitutions: np.ndarray
    deletions: np.ndarray
    insertions: np.ndarray
    length: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """Errors of each utterance, (N,): substitutions + deletions + insertions."""
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class WordAlignments:
    """How the words of N utterances correspond.

    Attributes:
        reference: words of the references; of those with alternatives, the words of the best path.
        hypothesis: words of the hypotheses.
        alignments: the operations; see `seqkd.scoring.align`.
        vocabulary: the words by number.
        blocks: (T,) the position of each reference word within its reference, or None where that is its index:
            an alternation is one position.
        positions: (N,) positions of each reference, or None.
    """

    reference: Tokens
    hypothesis: Tokens
    alignments: Alignments
    vocabulary: WordIds
    blocks: np.ndarray | None = None
    positions: np.ndarray | None = None

    def errors(self) -> Errors:
        """Where the errors are, for the matched-pairs test."""
        ops, utterances = self.alignments.ops, len(self.reference)
        inserted = ops == INSERTION
        utterance = np.repeat(np.arange(utterances), np.diff(self.alignments.offsets))[inserted]
        ahead = (np.cumsum(~inserted) - ~inserted)[inserted]  # reference words before each inserted one
        wrong = (ops[~inserted] == SUBSTITUTION) | (ops[~inserted] == DELETION)  # (T,)
        if self.blocks is None:
            lengths = self.reference.lengths
            before = np.bincount(ahead + utterance, minlength=len(wrong) + utterances)
            return Errors(wrong.astype(np.int64), before, np.ones(len(wrong), bool), lengths)
        begins = np.concatenate([[0], np.cumsum(self.positions)])
        block = begins[np.repeat(np.arange(utterances), self.reference.lengths)] + self.blocks  # (T,)
        at = np.bincount(block, weights=wrong, minlength=begins[-1]).astype(np.int64)
        last = ahead == self.reference.offsets[utterance + 1]
        following = np.where(last, begins[utterance + 1], np.append(block, 0)[ahead])
        first = ahead == self.reference.offsets[utterance]
        within = ~first & ~last & (np.append(block, -1)[ahead - 1] == following)
        np.add.at(at, following[within], 1)
        before = np.bincount((following + utterance)[~within], minlength=begins[-1] + utterances)
        return Errors(at, before, np.bincount(block, minlength=begins[-1]) > 0, self.positions)


@dataclass(frozen=True)
class Utterances:
    """What was counted for each utterance, in the order of the references.

    Attributes:
        ids: N utterance ids; 1 to N for lists.
        words: counts of words.
        characters: counts of characters, or None if not asked for.
        missing: ids of the references that had no hypothesis (scored as empty, or left out: see `count`).
        alignments: how the words correspond.
        tokens: counts of tokens, given a tokenizer.
    """

    ids: tuple[str, ...]
    words: Counts
    characters: Counts | None
    missing: tuple[str, ...]
    alignments: WordAlignments
    tokens: Counts | None = None


@dataclass(frozen=True)
class Rate:
    """An error rate of words (or of characters or tokens: then ``words`` counts those of the references).

    ``rate`` and ``ci95``, its 95 % interval over utterances, are fractions and may exceed 1. Fewer than 10
    utterances are too few for an interval: then ``ci95`` is None.
    """

    rate: float
    errors: int
    substitutions: int
    deletions: int
    insertions: int
    words: int
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class SentenceRate:
    """Share of utterances with at least one wrong word, as a fraction, with its 95 % interval."""

    rate: float
    errors: int
    sentences: int
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Score:
    """The error rates of one system, and what every utterance contributes.

    Attributes:
        wer: of words.
        cer: of characters, or None if not asked for.
        ser: of sentences.
        utterances: counts and alignments of each.
        ter: of tokens, given a tokenizer.
        ci95_blocks: interval of the WER over blocks, such as speakers, if at least 10 were given.
        options: what the numbers depend on.
        intervals: by which method each interval is made, None where there is none: of ``wer``, ``cer``, ``ter`` and
            ``ser``, and, with blocks, of ``speakers``; see `seqkd.scoring.intervals`.
    """

    wer: Rate
    cer: Rate | None
    ser: SentenceRate
    utterances: Utterances
    ter: Rate | None = None
    ci95_blocks: tuple[float, float] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, str | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return this system's entry in score.json: rates as fractions, without the utterances."""
        entry: dict[str, Any] = {"wer": asdict(self.wer)}
        for name, rate, unit in (("cer", self.cer, "characters"), ("ter", self.ter, "tokens")):
            if rate is not None:
                entry[name] = asdict(rate)
                entry[name][unit] = entry[name].pop("words")
        entry |= {"ser": asdict(self.ser), "intervals": self.intervals, "missing": len(self.utterances.missing)}
        if self.ci95_blocks is not None:
            entry["wer_ci95_speakers"] = list(self.ci95_blocks)
        return entry


def score(
    references: Transcripts,
    hypotheses: Transcripts,
    *,
    missing: str = "error",
    costs: Costs = FEWEST,
    normalizer: Normalizer | None = None,
    markup: str = "none",
    hypothesis_markup: str = "none",
    fragments: bool = False,
    spaces: str = "count",
    tokenizer: Callable[[str], Sequence[int]] | None = None,
    characters: bool = True,
    blocks: Mapping[str, Hashable] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Score:
    """Score hypotheses against references.

    Args:
        references: transcripts by utterance id, or a list. One may be empty (then all words of its hypothesis are
            insertions), but not all.
        hypotheses: transcripts by utterance id, or a list in the same order.
        missing: what to do about references without a hypothesis: ``error``; ``all`` scores them as if the
            hypothesis were empty; ``present`` leaves them out.
        costs: of the alignment: ``FEWEST``, or for example ``SCLITE``.
        normalizer: changes both sides before they are compared; see `seqkd.scoring.normalize`.
        markup: ``none``; ``alternatives`` reads ``{a / b}`` in references; ``all`` reads ``(uh)``, an optionally
            deletable word, too. One that is left out counts among the words of the reference, but its characters and
            tokens do not.
        hypothesis_markup: the same of hypotheses, of which the path that fits best is scored.
        fragments: whether a word cut short, ``fi-`` or ``-ish``, on either side is right where it fits the other. Its
            characters and tokens are then those of the other.
        spaces: whether spaces between words ``count`` as characters, or ``ignore`` them.
        tokenizer: makes tokens of a transcript, for the token error rate.
        characters: whether to count those, too.
        blocks: of each utterance, such as its speaker: adds an interval that draws whole speakers.
        replicates: bootstrap replicates of the intervals.
        seed: of the bootstrap.

    Raises:
        DataError: ids do not match, or there are no reference words.
        ConfigError: an option has another value.
    """
    utterances = count(
        references, hypotheses, missing=missing, costs=costs, normalizer=normalizer, markup=markup, spaces=spaces,
        hypothesis_markup=hypothesis_markup, fragments=fragments, tokenizer=tokenizer, characters=characters,
    )  # fmt: skip

    intervals: dict[str, str | None] = {}

    def interval(of: str, errors: np.ndarray, length: np.ndarray, **blocks: Any) -> tuple[float, float] | None:
        intervals[of] = method(errors, length, **blocks)
        return bootstrap_interval(errors, length, replicates=replicates, seed=seed, **blocks)

    def rate(of: str, counts: Counts) -> Rate:
        if not counts.length.sum():
            raise DataError("The references hold no words but optional ones that were left out; expected others, too.")
        return Rate(
            rate=float(counts.errors.sum() / counts.length.sum()),
            errors=int(counts.errors.sum()),
            substitutions=int(counts.substitutions.sum()),
            deletions=int(counts.deletions.sum()),
            insertions=int(counts.insertions.sum()),
            words=int(counts.length.sum()),
            ci95=interval(of, counts.errors, counts.length),
        )

    words = utterances.words
    if not words.length.sum():
        raise DataError("The references hold no words, so there is no error rate.")
    wrong = (words.errors > 0).astype(np.int64)  # (N,)
    ends = interval("ser", wrong, np.ones_like(wrong))
    sentences = SentenceRate(float(wrong.mean()), int(wrong.sum()), len(wrong), ends)
    by_block = None
    if blocks is not None:
        speakers = [blocks[utterance] for utterance in utterances.ids]
        by_block = interval("speakers", words.errors, words.length, blocks=speakers)
    options = {
        "missing": missing, "costs": str(costs), "unicode": "NFC", "spaces": spaces, "markup": markup,
        "normalizer": normalizer.signature if normalizer else "none", "replicates": replicates, "seed": seed,
        **({"fragments": True} if fragments else {}),
    }  # fmt: skip
    return Score(
        rate("wer", words),
        rate("cer", utterances.characters) if characters else None,
        sentences,
        utterances,
        rate("ter", utterances.tokens) if tokenizer else None,
        by_block,
        options,
        intervals,
    )


def count(
    references: Transcripts,
    hypotheses: Transcripts,
    *,
    missing: str = "error",
    costs: Costs = FEWEST,
    normalizer: Normalizer | None = None,
    markup: str = "none",
    hypothesis_markup: str = "none",
    fragments: bool = False,
    spaces: str = "count",
    tokenizer: Callable[[str], Sequence[int]] | None = None,
    characters: bool = True,
) -> Utterances:
    """Align and count the errors of every utterance; arguments and faults as in `score`."""
    for name, value, known in (("missing", missing, MISSING), ("spaces", spaces, SPACES)):
        if value not in known:
            raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(known)}.")
    for kind in (markup, hypothesis_markup):
        if kind not in lattice.MARKUP:
            raise ConfigError(f"markup is {kind!r}; expected one of {', '.join(lattice.MARKUP)}.")
    ids, ours, theirs, absent = match(references, hypotheses, missing)
    if (
        normalizer or markup != "none" or hypothesis_markup != "none" or fragments or characters or tokenizer
    ):  # else nothing needs them one by one
        ours, theirs = one_line_each(ours).split("\n"), one_line_each(theirs).split("\n")
    ours, marked = networks.normalized(ours, normalizer, markup)
    theirs, either = networks.normalized(theirs, normalizer, hypothesis_markup)
    if normalizer and normalizer.alternatives:
        markup = "alternatives" if markup == "none" else markup
        ours = [normalizer.add_alternatives(text) for text in ours]
        marked |= {index for index, text in enumerate(ours) if "{" in text}
    if normalizer and normalizer.both:
        hypothesis_markup = "alternatives" if hypothesis_markup == "none" else hypothesis_markup
        theirs = [normalizer.add_alternatives(text) for text in theirs]
        either |= {index for index, text in enumerate(theirs) if "{" in text}
    if fragments:
        either |= {index for index, both in enumerate(zip(ours, theirs, strict=True)) if networks.has_fragments(*both)}
    aligned, ours, theirs = _align(ids, ours, theirs, marked, either, costs, markup, hypothesis_markup, fragments)
    words = _counts(aligned.alignments, aligned.reference)
    by_character = by_token = None
    if characters:
        ours, theirs = ([" ".join(text.split()) for text in texts] for texts in (ours, theirs))
        both = [number_characters(texts, spaces=spaces == "count") for texts in (ours, theirs)]
        by_character = _counts(align(*both, costs, keep=False), both[0])
    if tokenizer:
        both = [number_tokens([tokenizer(text) for text in texts]) for texts in (ours, theirs)]
        by_token = _counts(align(*both, costs, keep=False), both[0])
    return Utterances(tuple(ids), words, by_character, tuple(absent), aligned, by_token)


def _align(
    ids: Sequence[str],
    ours: list[str],
    theirs: list[str],
    marked: set[int],
    either: set[int],
    costs: Costs,
    markup: str,
    hypothesis_markup: str,
    fragments: bool,
) -> tuple[WordAlignments, list[str], list[str]]:
    """Align words; returns both sides for characters and tokens, too, where what is right as words is right.

    ``marked`` are the references with alternatives, ``either`` the utterances that need `networks`.
    """
    if not marked and not either:
        (reference, hypothesis), vocabulary = number_words([ours, theirs])
        return WordAlignments(reference, hypothesis, align(reference, hypothesis, costs), vocabulary), ours, theirs
    ours, theirs, chosen = list(ours), list(theirs), {}
    spelled = list(ours), list(theirs)
    for index in sorted(marked | either):
        words, blocks, found, ops, positions = networks.choose(
            ids[index], ours[index], theirs[index], markup, hypothesis_markup, costs,
            fragments=fragments, both=index in either,
        )  # fmt: skip
        if found is not None:
            theirs[index] = " ".join(found)
        ours[index] = " ".join(words)
        spelled[0][index], spelled[1][index] = networks.spelled(words, theirs[index].split(), ops)
        chosen[index] = np.array(blocks, np.int64), np.array(ops, np.uint8), positions
    (reference, hypothesis), vocabulary = number_words([ours, theirs], None)
    plain = align(reference, hypothesis, costs)
    ops = [chosen[index][1] if index in chosen else plain[index] for index in range(len(ids))]
    blocks = [
        chosen[index][0] if index in chosen else np.arange(length) for index, length in enumerate(reference.lengths)
    ]
    positions = reference.lengths.copy()
    counts = plain.counts.copy()
    for index, (_, op, number) in chosen.items():
        positions[index] = number
        counts[index] = lattice.count_ops(op)
    offsets = np.concatenate([[0], np.cumsum([len(op) for op in ops])]).astype(np.int64)
    alignments = Alignments(counts, np.concatenate(ops), offsets)
    aligned = WordAlignments(reference, hypothesis, alignments, vocabulary, np.concatenate(blocks), positions)
    return aligned, *spelled


def _counts(alignments: Alignments, reference: Tokens) -> Counts:
    return Counts(*alignments.counts.astype(np.int64).T, reference.lengths.astype(np.int64))
