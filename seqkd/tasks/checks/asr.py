"""The settings of speech recognition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig

from seqkd.data.features import FeatureSettings
from seqkd.data.specaugment import SpecAugment
from seqkd.data.tokens import TokenSettings
from seqkd.decoding.settings import DecodeSettings
from seqkd.models.ctc import ENCODERS
from seqkd.settings import build, check_names, one_of
from seqkd.tasks.checks.common import built_on_nothing, check_common, check_system, plain
from seqkd.teachers.settings import SpeechBookSettings, TeacherSettings
from seqkd.training.objective import Objective


def check(cfg: DictConfig) -> None:
    """Raise ConfigError about the first setting that cannot be used."""
    check_common(cfg)
    check_system(cfg)
    features = build(FeatureSettings, plain(cfg.features), "features")
    build(TokenSettings, plain(cfg.tokens), "tokens")
    build(TeacherSettings, plain(cfg.teacher), "teacher")
    for role in ("teacher", "student"):
        build(SpecAugment, plain(cfg[role].augment), f"{role}.augment")
        model = plain(cfg[role].model)
        one_of(ENCODERS, **{f"setting {role}.model.encoder": model.pop("encoder", None)})
        built_on_nothing(builder(cfg[role].model), model, f"{role}.model", features.num_mel_bins)
    build(SpeechBookSettings, plain(cfg.book), "book")
    build(DecodeSettings, plain(cfg.decode), "decode")
    check_names(Objective, plain(cfg.system.objective), "system.objective")


def builder(model: Mapping[str, Any]) -> Callable[..., Any] | None:
    """What builds the encoder."""
    return ENCODERS.get(model.get("encoder"))
