"""The settings of songs to shots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from seqkd.layout import plain
from seqkd.settings import at_least, build, one_of
from seqkd.shots.audio.features import SongFeatureSettings
from seqkd.shots.model import Architecture
from seqkd.shots.rates import RATES
from seqkd.shots.settings import FusionSettings, InteractionSettings, LanguageSettings
from seqkd.task import Monitor
from seqkd.tasks.settings import check_common, check_system
from seqkd.training.settings import TrainingSettings

FUSIONS = ("pool", "product")
FROM_DIRECTOR = "seqkd.tasks.shots.procedures.from_director"
MONITOR = Monitor("dev_error", "dev error", "%", scale=100)


@dataclass(frozen=True, kw_only=True)
class SongTraining(TrainingSettings):
    """Of one phase of a shot network. RMSprop and its rate are the paper's; the rest is Chosen.

    Attributes:
        batch: songs an update, over all processes.
        window: seconds of each of them.
    """

    batch: int
    window: int

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, batch=self.batch)
        at_least(1, window=self.window)


def check(cfg: DictConfig) -> None:
    """Raise ConfigError about the first setting that cannot be used."""
    check_common(cfg)
    check_system(cfg, taught=cfg.system.procedure == FROM_DIRECTOR)
    build(SongTraining, plain(cfg.training), "training")
    build(SongFeatureSettings, plain(cfg.features), "features")
    build(LanguageSettings, plain(cfg.language), "language")
    build(Architecture, plain(cfg.model), "model")
    build(FusionSettings, plain(cfg.teacher), "teacher")
    build(InteractionSettings, plain(cfg.interaction), "interaction")
    if "fusion" in cfg.system:
        one_of(FUSIONS, **{"setting system.fusion": cfg.system.fusion})
    one_of(RATES, **{"setting system.seconds": cfg.system.seconds})


def builder(model: Mapping[str, Any]) -> Callable[..., Any] | None:
    """The network has the same settings whatever they hold, and the files name them all."""
    return None
