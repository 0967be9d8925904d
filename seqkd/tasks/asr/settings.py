"""The settings of speech recognition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from seqkd.config import check_system_name
from seqkd.data.features import FeatureSettings
from seqkd.data.specaugment import SpecAugment
from seqkd.data.tokens import TokenSettings
from seqkd.decoding.settings import DecodeSettings
from seqkd.errors import ConfigError
from seqkd.layout import plain
from seqkd.models.ctc import ENCODERS
from seqkd.settings import at_least, build, less_than, more_than, one_of
from seqkd.task import Monitor
from seqkd.tasks.settings import built_on_nothing, check_common, check_system
from seqkd.teachers.settings import SpeechBookSettings, TeacherSettings
from seqkd.training.settings import TrainingSettings

MONITOR = Monitor("dev_wer", "dev WER", "%", scale=100)


@dataclass(frozen=True)
class ViewSettings:
    """What a system's passes, and its teacher, are given.

    Attributes:
        masks: "same" SpecAugment masks for all passes, or "independent" ones.
        time_mask_factor: more time masking.
        mel_warp: of the student's augmentation, if not 0.
        teacher_view: the teacher's input: "student", masked as the student's, or "clean".
        attention_layers: of an attention decoder, for terms on the layer "attention".
    """

    masks: str = "same"
    time_mask_factor: float = 1.0
    mel_warp: float = 0.0
    teacher_view: str = "student"
    attention_layers: int = 1

    def __post_init__(self) -> None:
        one_of(("same", "independent"), masks=self.masks)
        at_least(0, time_mask_factor=self.time_mask_factor)
        less_than(0, 1, mel_warp=self.mel_warp)
        one_of(("student", "clean"), teacher_view=self.teacher_view)
        at_least(1, attention_layers=self.attention_layers)


def training_of(cfg: DictConfig, role: str) -> dict[str, Any]:
    """A role's training settings, those of the system's own role with ``system.updates_factor`` times the updates.

    Dev is looked at as often as without, so that there are as many weights to choose from. The schedules of
    weights, which are shares of the updates, stretch with them.
    """
    training, factor = plain(cfg[role].training), cfg.system.updates_factor
    if role != cfg.system.role or factor == 1:
        return training
    longer = {name: max(1, round(factor * training[name])) for name in ("updates", "validate_every")}
    return training | longer


VIEWS = ("masks", "time_mask_factor", "mel_warp", "teacher_view", "attention_layers")


@dataclass(frozen=True, kw_only=True)
class SpeechTraining(TrainingSettings):
    """Of a speech recogniser. ``max_duration``: seconds of audio a batch, over all processes."""

    max_duration: float

    def __post_init__(self) -> None:
        super().__post_init__()
        more_than(0, max_duration=self.max_duration)


def check(cfg: DictConfig) -> None:
    """Raise ConfigError about the first setting that cannot be used."""
    check_common(cfg)
    check_system(cfg)
    if cfg.system.start is not None:
        check_system_name(cfg, cfg.system.start, where="setting system.start: ")
    if cfg.system.start_within is not None:
        more_than(0, **{"setting system.start_within": cfg.system.start_within})
    if not cfg.system.references and not cfg.system.teacher:
        raise ConfigError(
            "setting system.references is false, but system.teacher is null; there is nothing to learn from"
        )
    more_than(0, **{"setting system.updates_factor": cfg.system.updates_factor})
    build(ViewSettings, {name: cfg.system[name] for name in VIEWS}, "system")
    features = build(FeatureSettings, plain(cfg.features), "features")
    build(TokenSettings, plain(cfg.tokens), "tokens")
    build(TeacherSettings, plain(cfg.teacher), "teacher")
    for role in ("teacher", "student"):
        build(SpeechTraining, training_of(cfg, role), f"{role}.training")
        build(SpecAugment, plain(cfg[role].augment), f"{role}.augment")
        model = plain(cfg[role].model)
        one_of(ENCODERS, **{f"setting {role}.model.encoder": model.pop("encoder", None)})
        built_on_nothing(builder(cfg[role].model), model, f"{role}.model", features.num_mel_bins)
    build(SpeechBookSettings, plain(cfg.book), "book")
    build(DecodeSettings, plain(cfg.decode), "decode")


def builder(model: Mapping[str, Any]) -> Callable[..., Any] | None:
    """What builds the encoder."""
    return ENCODERS.get(model.get("encoder"))
