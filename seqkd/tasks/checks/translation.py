"""The settings of translation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig

from seqkd.config import check_system_name
from seqkd.data.tokens import TokenSettings
from seqkd.decoding.settings import BeamSettings
from seqkd.models.seq2seq import KINDS
from seqkd.settings import build, check_names, one_of
from seqkd.tasks.checks.common import built_on_nothing, check_common, check_system, plain
from seqkd.teachers.settings import BookSettings
from seqkd.training.token_objective import TokenObjective
from seqkd.translation.pairs import TextSettings


def check(cfg: DictConfig) -> None:
    """Raise ConfigError about the first setting that cannot be used."""
    check_common(cfg)
    check_system(cfg)
    if cfg.system.teacher is not None:
        check_system_name(cfg, cfg.system.teacher, "system.teacher: ")
    build(TextSettings, plain(cfg.text), "text")
    build(TokenSettings, plain(cfg.tokens), "tokens")
    for role in ("teacher", "student"):
        model = plain(cfg[role].model)
        one_of(KINDS, **{f"setting {role}.model.kind": model.pop("kind", None)})
        built_on_nothing(builder(cfg[role].model), model, f"{role}.model")
    build(BookSettings, plain(cfg.book), "book")
    build(BeamSettings, plain(cfg.decode), "decode")
    check_names(TokenObjective, plain(cfg.system.objective), "system.objective")


def builder(model: Mapping[str, Any]) -> Callable[..., Any] | None:
    """What builds encoder and decoder."""
    return KINDS.get(model.get("kind"))
