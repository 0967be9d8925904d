"""Who teaches, by name and weight; and those that were trained here as one, to run beside their students."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError
from seqkd.files import write_json
from seqkd.knowledge import TeacherId, dev_loss_weights, uniform_weights
from seqkd.layout import teacher_sources
from seqkd.losses import ctc_loss
from seqkd.teachers.aligned import AlignedTeacher, Sets, aligned_teachers, is_own, own_hash, own_teacher, source_name
from seqkd.teachers.checkpoint import CheckpointTeacher
from seqkd.teachers.ensemble import EnsembleTeacher


def live_teacher(cfg: DictConfig, temperature: float = 1.0) -> CheckpointTeacher | EnsembleTeacher:
    """Load the teacher, or several as one, whose distributions are averaged at ``temperature``.

    Raises ConfigError for a teacher from elsewhere, whose input is audio and not features.
    """
    for source in teacher_sources(cfg):
        if not is_own(source):
            raise ConfigError(
                f"the teacher {source} takes audio and cannot run beside students, which take features; make a book of "
                "its outputs: book=dense instead of book=live"
            )
    teachers = [own_teacher(source) for source in teacher_sources(cfg)]
    return teachers[0] if len(teachers) == 1 else EnsembleTeacher(teachers, weights_of(cfg), temperature)


def teacher_ids(cfg: DictConfig, elsewhere: Mapping[str, str]) -> tuple[TeacherId, ...]:
    """Who teaches; ``elsewhere`` has the hashes of teachers that were not trained here, by name."""
    sources = teacher_sources(cfg)
    hashes = [own_hash(source) if is_own(source) else elsewhere.get(source, source) for source in sources]
    return tuple(TeacherId(source_name(s), h, w) for s, h, w in zip(sources, hashes, weights_of(cfg), strict=True))


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
    """CTC loss of each teacher on dev, in nats a unit of text; kept in ``<teacher.exp>/teacher/dev_loss.json``."""
    kept = Path(cfg.teacher.exp) / "teacher" / "dev_loss.json"
    keys = [own_hash(source) if is_own(source) else source for source in teacher_sources(cfg)]
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    if any(key not in known for key in keys):
        tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
        sets = Sets.of(Path(cfg.data), [cfg.sets.dev], tokenizer)
        known |= {k: dev_loss(one, sets) for k, one in zip(keys, aligned_teachers(cfg, tokenizer), strict=True)}
        write_json(kept, known)
    return [known[key] for key in keys]


def dev_loss(teacher: AlignedTeacher, sets: Sets) -> float:
    """CTC loss of one teacher, in nats a unit."""
    targets = {u: sets.corpus.targets[u] for u in sets.corpus.transcripts}
    answers = zip(targets.values(), teacher.answers(sets, list(targets)), strict=True)
    loss = sum(
        float(ctc_loss(log_probs[None], [units], [len(log_probs)], [len(units)])) for units, log_probs in answers
    )
    return loss / sum(map(len, targets.values()))
