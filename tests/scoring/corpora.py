"""Made-up transcripts with made-up errors."""

from __future__ import annotations

import random


def corpus(
    utterances: int, *, seed: int = 0, vocabulary: int = 30, longest: int = 12, rate: float = 0.3, empty: bool = True
) -> tuple[dict[str, str], dict[str, str]]:
    """References and hypotheses by ids of seven speakers; about ``rate`` of the words are wrong."""
    source = random.Random(seed)
    words = [f"w{i}" for i in range(vocabulary)]
    references, hypotheses = {}, {}
    for i in range(utterances):
        reference = source.choices(words, k=source.randint(0 if empty else 1, longest))
        utterance = f"s{i % 7}-u{i:06d}"
        references[utterance], hypotheses[utterance] = (
            " ".join(reference),
            " ".join(spoil(source, reference, words, rate)),
        )
    return references, hypotheses


def spoil(source: random.Random, reference: list[str], words: list[str], rate: float) -> list[str]:
    hypothesis = [source.choice(words)] if source.random() < rate / 4 else []
    for word in reference:
        fate = source.random() / rate
        if fate < 0.3:
            continue
        hypothesis += [source.choice(words)] if fate < 0.7 else [word, source.choice(words)] if fate < 1 else [word]
    return hypothesis


def adversarial(count: int, seed: int = 0) -> tuple[dict[str, str], dict[str, str]]:
    """Pairs with many equally good alignments: two words, repeats, shifts, reversals, one side empty."""
    source = random.Random(seed)
    references, hypotheses = {}, {}
    for i in range(count):
        words = ["a", "b", "c"][: source.randint(1, 3)]
        reference = source.choices(words, k=source.randint(0, 14))
        kind = i % 5
        if kind == 0:
            hypothesis = source.choices(words, k=source.randint(0, 14))
        elif kind == 1:
            shift = source.randint(0, 3)
            hypothesis = reference[shift:] + reference[:shift]
        elif kind == 2:
            hypothesis = reference[::-1]
        elif kind == 3:
            hypothesis = [word for word in reference for _ in range(source.randint(0, 2))]
        else:
            hypothesis = spoil(source, reference, words, 0.9)
        utterance = f"s{i % 7}-a{i:06d}"
        references[utterance], hypotheses[utterance] = " ".join(reference), " ".join(hypothesis)
    return references, hypotheses
