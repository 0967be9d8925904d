"""Teachers that were trained here: one of them, or all that the settings name, as one."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from omegaconf import DictConfig

from seqkd.data.batches import evaluation_batches, load_corpus
from seqkd.data.features import FeatureSettings
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError
from seqkd.files import write_json
from seqkd.knowledge import TeacherId, dev_loss_weights, uniform_weights
from seqkd.layout import plain, teacher_sources
from seqkd.losses import ctc_loss
from seqkd.models.ctc import CtcModel
from seqkd.models.storage import model_hash
from seqkd.teachers.base import Teacher, check_compatible
from seqkd.teachers.checkpoint import CheckpointTeacher
from seqkd.teachers.ensemble import EnsembleTeacher


def finished_teachers(cfg: DictConfig) -> list[Path]:
    """Model directories of all that teach; ConfigError if one of them is none."""
    directories = [Path(source) for source in teacher_sources(cfg)]
    for directory in directories:
        if not (directory / "model.safetensors").is_file():
            raise ConfigError(
                f"{directory}: no teacher here; run stage 3 first, or name one by teacher.import_from=DIR"
            )
    return directories


def teacher_of(cfg: DictConfig, temperature: float = 1.0) -> CheckpointTeacher | EnsembleTeacher:
    """Load the teacher, or several as one, whose distributions are averaged at ``temperature``."""
    teachers = [CheckpointTeacher.from_directory(directory) for directory in finished_teachers(cfg)]
    return teachers[0] if len(teachers) == 1 else EnsembleTeacher(teachers, weights_of(cfg), temperature)


def check_student(cfg: DictConfig, teacher: Teacher, tokenizer: Tokenizer) -> None:
    """Raise ConfigError unless the students of the settings can learn from ``teacher`` frame by frame."""
    student = CtcModel(plain(cfg.student.model), FeatureSettings(**cfg.features), len(tokenizer))
    check_compatible(
        teacher,
        classes=student.classes,
        frame_shift_ms=student.frame_shift_ms,
        tokenizer_hash=tokenizer.hash,
        features=student.features,
    )


def teacher_ids(cfg: DictConfig) -> tuple[TeacherId, ...]:
    """Who teaches, for the manifest of a book."""
    directories = finished_teachers(cfg)
    hashes = [model_hash(directory) for directory in directories]
    names = [directory.parent.parent.name if directory.name == "model" else directory.name for directory in directories]
    weights = weights_of(cfg)
    return tuple(TeacherId(*one) for one in zip(names, hashes, weights, strict=True))


def weights_of(cfg: DictConfig) -> tuple[float, ...]:
    """The share of each teacher in what students learn."""
    count, chosen = len(teacher_sources(cfg)), cfg.teacher.weights
    if count == 1 or chosen is None:
        return uniform_weights(count)
    if chosen == "dev":
        return dev_loss_weights(dev_losses(cfg))
    if isinstance(chosen, str) or len(chosen) != count:
        raise ConfigError(f"teacher.weights is {chosen}; expected null, dev, or a list of {count} numbers")
    return tuple(float(weight) / sum(chosen) for weight in chosen)


def dev_losses(cfg: DictConfig) -> list[float]:
    """CTC loss of each teacher on dev, in nats a unit of the transcripts; kept in ``<exp>/teacher/dev_loss.json``."""
    directories, kept = finished_teachers(cfg), Path(cfg.exp) / "teacher" / "dev_loss.json"
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    losses = {}
    for directory in directories:
        name = model_hash(directory)
        losses[name] = known[name] if name in known else dev_loss(cfg, directory)
    write_json(kept, losses)
    return list(losses.values())


@torch.no_grad()
def dev_loss(cfg: DictConfig, directory: Path) -> float:
    """CTC loss of one teacher on dev, in nats a unit."""
    teacher, tokenizer = CheckpointTeacher.from_directory(directory), Tokenizer.load(directory)
    corpus = load_corpus(Path(cfg.data), [cfg.sets.dev], tokenizer)
    loss = units = 0.0
    for batch in evaluation_batches(corpus, cfg.decode.max_duration):
        logits, lengths = teacher.logits(batch.features, batch.feature_lengths)
        loss += float(ctc_loss(logits, batch.targets, lengths, batch.target_lengths, reduction="sum"))
        units += float(batch.target_lengths.sum())
    return loss / units
