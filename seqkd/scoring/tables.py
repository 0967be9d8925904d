"""What a score is made of: by speaker, by length, by duration, by word; and the best of an n-best list.

Everything here returns plain dictionaries, as they stand in score.json (see `seqkd.scoring.schema`).

Legend: N utterances, K operations of their alignments.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from seqkd.errors import DataError
from seqkd.scoring.align import align, number_tokens, one_line_each
from seqkd.scoring.normalize import Normalizer
from seqkd.scoring.wer import Counts, Utterances, WordAlignments, count
from seqkd.scoring.words import DELETION, INSERTION, LEFT_OUT, MATCH, SUBSTITUTION
from seqkd.statistics.bootstrap import bootstrap_interval
from seqkd.statistics.calibration import Calibration

LENGTHS = (0, 1, 2, 4, 8, 16, 32, 64)  # words
DURATIONS = (0, 2, 5, 10, 20, 30)  # seconds


def by_group(
    utterances: Utterances, groups: Mapping[str, Hashable], *, replicates: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Return the word errors of each group, such as a speaker, in the order of their names.

    Raises:
        DataError: an utterance has no group.
    """
    if lacking := [utterance for utterance in utterances.ids if utterance not in groups]:
        raise DataError(f"Utterance {lacking[0]} has no group (nor have {len(lacking) - 1} others); expected one each.")
    names = [str(groups[utterance]) for utterance in utterances.ids]
    order = sorted(set(names))
    numbers = {name: number for number, name in enumerate(order)}
    group = np.array([numbers[name] for name in names])
    rows = {}
    for name, number in numbers.items():
        inside = np.flatnonzero(group == number)
        row = _row(utterances.words, inside)
        if row["words"]:
            errors, words = utterances.words.errors[inside], utterances.words.length[inside]
            ends = bootstrap_interval(errors, words, replicates=replicates, seed=seed)
            if ends is not None:
                row["ci95"] = list(ends)
        rows[name] = row
    return rows


def by_length(utterances: Utterances) -> list[dict[str, Any]]:
    """Return the word errors by the number of reference words."""
    return _binned(utterances.words, utterances.words.length, LENGTHS, whole=True)


def by_duration(utterances: Utterances, durations: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the word errors by duration, of the utterances whose duration is known."""
    seconds = np.array([durations.get(utterance, -1.0) for utterance in utterances.ids])
    return _binned(utterances.words, seconds, DURATIONS, whole=False)


def confusions(aligned: WordAlignments, limit: int | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return substituted pairs, inserted and deleted words, the most frequent first, ``limit`` of each."""
    reference, hypothesis, ops = pairs(aligned)
    vocabulary = aligned.vocabulary
    wrong = ops == SUBSTITUTION
    both, counts = np.unique(
        reference[wrong].astype(np.int64) << 32 | hypothesis[wrong].astype(np.int64), return_counts=True
    )
    substituted = [
        {"reference": vocabulary[int(pair >> 32)], "hypothesis": vocabulary[int(pair & 0xFFFFFFFF)], "count": int(n)}
        for pair, n in zip(both, counts, strict=True)
    ]
    tables = {"substitutions": sorted(substituted, key=lambda e: (-e["count"], e["reference"], e["hypothesis"]))}
    for name, words in (("insertions", hypothesis[ops == INSERTION]), ("deletions", reference[ops == DELETION])):
        entries = [
            {"word": vocabulary[int(word)], "count": int(n)}
            for word, n in zip(*np.unique(words, return_counts=True), strict=True)
        ]
        tables[name] = sorted(entries, key=lambda entry: (-entry["count"], entry["word"]))
    return {name: entries[:limit] for name, entries in tables.items()}


def pairs(aligned: WordAlignments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (K,) reference words, hypothesis words and operations; where there is no word, -1."""
    ops = aligned.alignments.ops
    reference, hypothesis = np.full(len(ops), -1, np.int32), np.full(len(ops), -1, np.int32)
    reference[ops != INSERTION] = aligned.reference.ids
    hypothesis[(ops != DELETION) & (ops != LEFT_OUT)] = aligned.hypothesis.ids
    return reference, hypothesis, ops


def scored_confidences(
    utterances: Utterances,
    texts: Mapping[str, str],
    confidences: Mapping[str, Sequence[float]],
    normalizer: Normalizer,
) -> dict[str, list[float]]:
    """Return the confidences of the words that were scored, by utterance id.

    A word of which the normaliser leaves nothing takes its confidence with it. An utterance is left out where a scored
    word is not what one word of the transcript, by itself, became: nobody knows how sure the recogniser was of it.

    Args:
        utterances: as they were scored.
        texts: hypotheses, not normalised.
        confidences: of each word of these.
        normalizer: what was done to them.
    """
    sources = list(dict.fromkeys(word for utterance in confidences for word in texts[utterance].split()))
    alone = normalizer(_lines(sources))
    forms = [_lines(alone)]
    if normalizer.both:
        forms.append(_lines(map(normalizer.add_alternatives, alone)))
    gone = {word for word, form in zip(sources, forms[0], strict=True) if not form.split()}
    numbers = {word: number for number, word in enumerate(utterances.alignments.vocabulary)}
    # By number, -1 for what is not one word that occurs; with a mapping a word may be scored as it was before it, too.
    becomes = [
        {word: numbers.get(" ".join(form.split()), -1) for word, form in zip(sources, written, strict=True)}
        for written in forms
    ]
    ids, offsets = utterances.alignments.hypothesis.ids.tolist(), utterances.alignments.hypothesis.offsets.tolist()
    found = {}
    for index, utterance in enumerate(utterances.ids):
        own, words = confidences.get(utterance), texts.get(utterance, "").split()
        if own is None or len(own) != len(words):
            continue
        kept, scored = [word for word in words if word not in gone], ids[offsets[index] : offsets[index + 1]]
        read = [[number[word] for word in kept] for number in becomes]
        if scored in read or (
            len(kept) == len(scored) and all(one in either for one, *either in zip(scored, *read, strict=True))
        ):
            found[utterance] = [sure for word, sure in zip(words, own, strict=True) if word not in gone]
    return found


def _lines(texts: Iterable[str]) -> list[str]:
    """Return texts in the Unicode normal form in which words are scored."""
    texts = list(texts)
    return one_line_each(texts).split("\n") if texts else []


def calibrate(utterances: Utterances, confidences: Mapping[str, Sequence[float]]) -> tuple[Calibration, int]:
    """Return the calibration of the words' confidences, and the number of utterances left out.

    Those are left out that lack a confidence for each word that was scored; see `scored_confidences`.
    """
    values, correct, _ = confident_words(utterances, confidences)
    scored = np.diff(utterances.alignments.hypothesis.offsets).tolist()
    left_out = sum(
        own is None or len(own) != words
        for own, words in zip(map(confidences.get, utterances.ids), scored, strict=True)
    )
    return Calibration().update(values, correct), left_out


def confident_words(
    utterances: Utterances, confidences: Mapping[str, Sequence[float]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the words that have a confidence, one utterance after the other.

    Returns:
        (K,) confidences, (K,) whether each word is right, and (N,) how many words of each utterance there are: all that
        were scored, or none where some lack a confidence.
    """
    ops, offsets = utterances.alignments.alignments.ops, utterances.alignments.hypothesis.offsets
    correct = ops[(ops != DELETION) & (ops != LEFT_OUT)] == MATCH
    values: list[float] = []
    kept = np.zeros(len(correct), bool)
    lengths = np.zeros(len(utterances.ids), np.int64)
    for index, utterance in enumerate(utterances.ids):
        own = confidences.get(utterance)
        if own is not None and len(own) == offsets[index + 1] - offsets[index]:
            values += own
            lengths[index] = len(own)
            kept[offsets[index] : offsets[index + 1]] = True
    return np.array(values, float), correct[kept], lengths


def oracle(
    references: Mapping[str, str], nbest: Mapping[str, Sequence[str]], ids: Sequence[str], **options: Any
) -> dict[str, Any]:
    """Return the word errors if the best of each n-best list were chosen.

    Args:
        references: transcripts by utterance id.
        nbest: hypotheses by utterance id.
        ids: utterances to score.
        **options: of `seqkd.scoring.count`.

    Raises:
        DataError: an utterance has no list; `complete` fills in what may be missing.
    """
    if lacking := [utterance for utterance in ids if not nbest.get(utterance)]:
        raise DataError(f"Utterance {lacking[0]} has no n-best list (nor have {len(lacking) - 1} others).")
    sizes = [len(nbest[utterance]) for utterance in ids]
    repeated = [references[utterance] for utterance, size in zip(ids, sizes, strict=True) for _ in range(size)]
    every = count(repeated, [text for utterance in ids for text in nbest[utterance]], characters=False, **options).words
    ends = np.cumsum(sizes)
    best = [end - size + int(np.argmin(every.errors[end - size : end])) for end, size in zip(ends, sizes, strict=True)]
    row = _row(every, np.array(best, np.int64))
    return {**row, "mean_hypotheses": float(np.mean(sizes))}


def complete(
    nbest: Mapping[str, Sequence[str]], hypotheses: Mapping[str, str], ids: Sequence[str], *, partly: bool
) -> dict[str, Sequence[str]]:
    """Return the lists with the hypothesis alone in place of one that is missing, empty where there is none either.

    Args:
        nbest: hypotheses by utterance id.
        hypotheses: the recogniser's choice, of the utterances that have one.
        ids: utterances to score.
        partly: whether utterances with a hypothesis may lack a list.
    """
    absent = [utterance for utterance in ids if utterance not in nbest and (partly or utterance not in hypotheses)]
    return {**nbest, **{utterance: [hypotheses.get(utterance, "")] for utterance in absent}}


def _row(counts: Counts, inside: np.ndarray) -> dict[str, Any]:
    errors, words = int(counts.errors[inside].sum()), int(counts.length[inside].sum())
    wrong = int((counts.errors[inside] > 0).sum())
    return {
        "rate": errors / words if words else None,
        "errors": errors,
        "substitutions": int(counts.substitutions[inside].sum()),
        "deletions": int(counts.deletions[inside].sum()),
        "insertions": int(counts.insertions[inside].sum()),
        "words": words,
        "sentences": len(inside),
        "wrong_sentences": wrong,
    }


def _binned(counts: Counts, values: np.ndarray, edges: Sequence[float], *, whole: bool) -> list[dict[str, Any]]:
    rows = []
    for begin, end in zip(edges, [*edges[1:], np.inf], strict=True):
        inside = np.flatnonzero((values >= begin) & (values < end))
        if len(inside):
            last = end - 1 if whole else end
            label = f"{begin}+" if end == np.inf else str(begin) if whole and last == begin else f"{begin}–{last}"
            rows.append({"range": label, **_row(counts, inside)})
    return rows


def aligned_tokens(
    hypotheses: Sequence[Sequence[int]],
    confidences: Sequence[Sequence[float]],
    references: Sequence[Sequence[int]],
    bins: int = 15,
) -> Calibration:
    """Calibration of decoded tokens: one is correct if the alignment with the reference matches it.

    Args:
        hypotheses: B decoded token sequences.
        confidences: B sequences, the probability of each decoded token.
        references: B token sequences.
        bins: of ECE and MCE.
    """
    for index, (tokens, values) in enumerate(zip(hypotheses, confidences, strict=True)):
        if len(tokens) != len(values):
            raise DataError(f"Hypothesis {index} has {len(tokens)} tokens and {len(values)} confidences.")
    ops = align(number_tokens(references), number_tokens(hypotheses)).ops
    flat = np.fromiter((value for values in confidences for value in values), float)
    return Calibration(bins).update(flat, ops[ops != DELETION] == MATCH)
