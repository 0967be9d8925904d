"""How hypotheses are searched for, as settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seqkd.errors import ConfigError
from seqkd.settings import at_least, between, finite, more_than, one_of


@dataclass(frozen=True)
class DecodeSettings:
    """Of CTC models.

    Attributes:
        beam: hypotheses that are kept; 1 is greedy.
        max_duration: seconds of audio a batch.
        lm: an n-gram model of words: a file, or ``train``: of the transcripts of ``tokens.set``.
        lm_order: of ``lm=train``.
        lm_weight: of the natural logarithm of its probability.
        word_score: for each word; a negative one makes words rarer.
        lexicon: a file with one word a line.
        blank_penalty: subtracted from the blank's logit: a number, "auto" for that with the least WER on dev (see
            `seqkd.decoding.blank_penalty`), or None for none.
        chunks: encoder frames of the chunks in which streaming models are decoded besides, for the table of latencies.
    """

    beam: int = 1
    max_duration: float = 400.0
    lm: str | None = None
    lm_order: int = 3
    lm_weight: float = 0.5
    word_score: float = 0.0
    lexicon: str | None = None
    blank_penalty: float | str | None = None
    chunks: Sequence[int] = ()

    def __post_init__(self) -> None:
        at_least(1, beam=self.beam)
        more_than(0, max_duration=self.max_duration)
        between(2, 6, lm_order=self.lm_order)
        at_least(0, lm_weight=self.lm_weight)
        finite(word_score=self.word_score)
        if isinstance(self.blank_penalty, str):
            one_of(("auto",), blank_penalty=self.blank_penalty)
        elif self.blank_penalty is not None:
            finite(blank_penalty=self.blank_penalty)
        if not all(type(one) is int and one >= 0 for one in self.chunks):
            raise ConfigError(
                f"chunks is {list(self.chunks)}; expected encoder frames, such as [4, 8, 16], or 0 for all"
            )


@dataclass(frozen=True)
class BeamSettings:
    """Of encoder–decoder models.

    Attributes:
        beam: hypotheses that are kept; 1 is greedy.
        length_penalty: log-probabilities are divided by the length to this power; 0 turns it off.
        max_tokens: of a batch.
    """

    beam: int = 4
    length_penalty: float = 1.0
    max_tokens: int = 8000

    def __post_init__(self) -> None:
        at_least(1, beam=self.beam, max_tokens=self.max_tokens)
        at_least(0, length_penalty=self.length_penalty)
