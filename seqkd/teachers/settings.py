"""Who teaches, and what is stored of what teachers give, as settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seqkd.errors import ConfigError
from seqkd.settings import at_least, more_than, one_of, share
from seqkd.teachers.external.rates import RULES

FORMS = ("dense", "top_k", "sampled")
SPEECH_FORMS = (*FORMS, "sequence", "live")
TAILS = ("spread", "renormalise")


@dataclass(frozen=True)
class TeacherSettings:
    """Of the teachers of CTC students; ``model``, ``training`` and ``augment`` are checked by what takes them."""

    train_set: str
    exp: str
    import_from: str | Sequence[str] | None = None
    seeds: int = 1
    guided: bool = True
    rate_rule: str = "spike"
    language: str | None = None
    weights: str | Sequence[float] | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    augment: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least(1, seeds=self.seeds)
        one_of(RULES, rate_rule=self.rate_rule)
        if self.weights in (None, "dev"):
            return
        if isinstance(self.weights, (str, int, float)) or not hasattr(self.weights, "__len__"):
            raise ConfigError(f"weights is {self.weights!r}; expected null, dev, or a list of numbers, one a teacher")
        for weight in self.weights:
            at_least(0, weights=weight)
        more_than(0, **{"weights, added up,": sum(self.weights)})


@dataclass(frozen=True)
class BookSettings:
    """Of a book of distributions, position by position.

    Attributes:
        form: dense (all classes), top_k or sampled.
        k: classes kept, or draws.
        temperature: of what is stored.
    """

    form: str = "top_k"
    k: int = 16
    temperature: float = 1.0

    forms = FORMS

    def __post_init__(self) -> None:
        one_of(self.forms, form=self.form)
        at_least(1, k=self.k)
        more_than(0, temperature=self.temperature)


@dataclass(frozen=True)
class SpeechBookSettings(BookSettings):
    """Of a book of CTC teachers.

    Attributes:
        tail: how the probability of classes that top_k left out is used.
        seeds: masked versions of each utterance; None: one an epoch.
        regularisation: share of the forced alignment that is mixed in.
        hypotheses: transcripts of an utterance (sequence).
        beam: of the search for them.
        agreement: the least of an utterance's hypotheses to be learned from.
        directory: where the book is.
    """

    tail: str = "spread"
    seeds: int | None = None
    regularisation: float = 0.0
    hypotheses: int = 4
    beam: int = 8
    agreement: float = 0.0
    directory: str = "book"

    forms = SPEECH_FORMS

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(TAILS, tail=self.tail)
        at_least(1, hypotheses=self.hypotheses, beam=self.beam)
        if self.seeds is not None:
            at_least(1, seeds=self.seeds)
        share(regularisation=self.regularisation, agreement=self.agreement)
