"""The fused teacher, the film language and the rounds of interaction, as settings."""

from __future__ import annotations

from dataclasses import dataclass

from seqkd.settings import at_least, more_than


@dataclass(frozen=True)
class FusionSettings:
    """Of the teacher that three assistants are fused to.

    Attributes:
        codes: k-means codes of each rate's input.
        strength: frames; how firmly co-occurrence counts are drawn towards independence.
        scale: of the assistants' log-likelihoods against the film language's.
        prior_power: a likelihood is the posterior over the prior to this power.
    """

    codes: int = 16
    strength: float = 20.0
    scale: float = 1.0
    prior_power: float = 1.0

    def __post_init__(self) -> None:
        at_least(1, codes=self.codes)
        more_than(0, strength=self.strength)
        at_least(0, scale=self.scale, prior_power=self.prior_power)


@dataclass(frozen=True)
class LanguageSettings:
    """Of the film language: ``smoothing`` is added to every count of the shot bigram."""

    smoothing: float = 1.0

    def __post_init__(self) -> None:
        at_least(0, smoothing=self.smoothing)


@dataclass(frozen=True)
class InteractionSettings:
    """Of deep interactive learning.

    Attributes:
        rounds: at most.
        patience: rounds without progress on dev that end it.
        restart: whether assistants and student start afresh in every round.
    """

    rounds: int = 3
    patience: int = 1
    restart: bool = False

    def __post_init__(self) -> None:
        at_least(0, rounds=self.rounds)
        at_least(1, patience=self.patience)
