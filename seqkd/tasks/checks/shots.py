"""The settings of songs to shots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig

from seqkd.settings import build, one_of
from seqkd.shots.listening.features import FeatureSettings
from seqkd.shots.model import Architecture
from seqkd.shots.rates import RATES
from seqkd.shots.settings import FusionSettings, InteractionSettings, LanguageSettings
from seqkd.tasks.checks.common import check_common, plain


def check(cfg: DictConfig) -> None:
    """Raise ConfigError about the first setting that cannot be used."""
    check_common(cfg)
    build(FeatureSettings, plain(cfg.features), "features")
    build(LanguageSettings, plain(cfg.language), "language")
    build(Architecture, plain(cfg.model), "model")
    build(FusionSettings, plain(cfg.teacher), "teacher")
    build(InteractionSettings, plain(cfg.interaction), "interaction")
    one_of(RATES, **{"setting system.seconds": cfg.system.seconds})


def builder(model: Mapping[str, Any]) -> Callable[..., Any] | None:
    """The network has the same settings whatever they hold, and the files name them all."""
    return None
