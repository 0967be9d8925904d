"""The settings of translation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from omegaconf import DictConfig

from seqkd.data.tokens import TokenSettings
from seqkd.decoding.settings import BeamSettings
from seqkd.errors import ConfigError
from seqkd.layout import plain
from seqkd.models.seq2seq import KINDS
from seqkd.settings import at_least, build, more_than, one_of
from seqkd.task import Monitor
from seqkd.tasks.settings import built_on_nothing, check_common, check_system
from seqkd.teachers.settings import BookSettings
from seqkd.training.settings import LAST, TrainingSettings
from seqkd.translation.pairs import TextSettings

MONITOR = Monitor("dev_nll", "dev NLL", "nats a token", decimals=3)


@dataclass(frozen=True, kw_only=True)
class TextTraining(TrainingSettings):
    """Of an encoder–decoder model.

    Attributes:
        max_tokens: of a batch, over all processes; a pair counts its longer side.
        max_length: tokens of either side; training pairs with more are left out.
    """

    max_tokens: float
    max_length: int

    KEPT: ClassVar[tuple[str, ...]] = (LAST, "dev_bleu")

    def __post_init__(self) -> None:
        super().__post_init__()
        more_than(0, max_tokens=self.max_tokens)
        at_least(1, max_length=self.max_length)


def check(cfg: DictConfig) -> None:
    """Raise ConfigError about the first setting that cannot be used."""
    check_common(cfg)
    taught = "teacher" in check_system(cfg).sources()
    check_parts(cfg.system, taught=taught)
    build(TextSettings, plain(cfg.text), "text")
    build(TokenSettings, plain(cfg.tokens), "tokens")
    for role in ("teacher", "student"):
        build(TextTraining, plain(cfg[role].training), f"{role}.training")
        model = plain(cfg[role].model)
        one_of(KINDS, **{f"setting {role}.model.kind": model.pop("kind", None)})
        built_on_nothing(builder(cfg[role].model), model, f"{role}.model")
    build(BookSettings, plain(cfg.book), "book")
    build(BeamSettings, plain(cfg.decode), "decode")


def check_parts(system: DictConfig, *, taught: bool) -> None:
    """Raise ConfigError when a system's parts do not go together; ``taught`` says if a term looks at a teacher."""
    one_of(("reference", "beam"), **{"setting system.targets": system.targets})
    one_of(("live", "book"), **{"setting system.knowledge": system.knowledge})
    if (taught or system.targets == "beam") and not system.teacher:
        raise ConfigError(f"system {system.name} learns from a teacher, but system.teacher names no system to be it")
    several = not isinstance(system.teacher, str) and len(system.teacher or []) > 1
    if several and (system.targets == "beam" or not taught or system.knowledge != "book"):
        raise ConfigError(
            f"system {system.name} has several teachers ({', '.join(system.teacher)}), which are ensembled in a book: "
            "it needs a term that looks at the teacher, knowledge: book and targets: reference, or one teacher"
        )
    if taught and system.knowledge == "book" and system.targets == "beam":
        raise ConfigError(f"system {system.name}: the book is of the references, but system.targets is beam; use live")


def builder(model: Mapping[str, Any]) -> Callable[..., Any] | None:
    """What builds encoder and decoder."""
    return KINDS.get(model.get("kind"))
