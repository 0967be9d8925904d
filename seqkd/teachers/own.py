"""Who teaches, by name and weight; and those that were trained here as one, to run beside their students."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqkd.data.features import finished_features
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
    weights = weights_of(cfg, elsewhere)
    return tuple(TeacherId(source_name(s), h, w) for s, h, w in zip(sources, hashes, weights, strict=True))


def weights_of(cfg: DictConfig, elsewhere: Mapping[str, str] | None = None) -> tuple[float, ...]:
    """The share of each teacher in what students learn; for ``elsewhere`` see `teacher_ids`."""
    count, chosen = len(teacher_sources(cfg)), cfg.teacher.weights
    if count == 1 or chosen is None:
        return uniform_weights(count)
    if chosen == "dev":
        return dev_loss_weights(dev_losses(cfg, elsewhere))
    if isinstance(chosen, str) or len(chosen) != count:
        raise ConfigError(f"teacher.weights is {chosen}; expected null, dev, or a list of {count} numbers")
    return tuple(float(weight) / sum(chosen) for weight in chosen)


def dev_losses(cfg: DictConfig, elsewhere: Mapping[str, str] | None = None) -> list[float]:
    """CTC loss of each teacher on dev, in nats a unit of text; kept in ``<teacher.exp>/teacher/dev_loss.json``.

    A loss is kept with what it was measured by, and measured anew when that changes. Earlier versions kept the number
    alone: it stays, so that books of such weights stay valid. For ``elsewhere`` see `teacher_ids`.
    """
    kept, sources = Path(cfg.teacher.exp) / "teacher" / "dev_loss.json", teacher_sources(cfg)
    keys = [own_hash(source) if is_own(source) else source for source in sources]
    try:
        known = dict(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # not there, or damaged: measured anew
        known = {}
    tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
    made_by = {"dev": finished_features(Path(cfg.data) / cfg.sets.dev), "tokenizer": tokenizer.hash}

    def of(source: str, hashes: Mapping[str, str]) -> dict[str, Any]:
        if is_own(source):
            return made_by
        teacher = {"teacher": hashes[source]} if source in hashes else {}  # else it is not open, and not compared
        return made_by | {"rate_rule": cfg.teacher.rate_rule} | teacher

    def is_known(source: str, key: str) -> bool:
        stated = known.get(key)
        return isinstance(stated, float) or (
            stated is not None and all(stated.get(name) == value for name, value in of(source, elsewhere or {}).items())
        )

    if not all(map(is_known, sources, keys)):
        sets, teachers = Sets.of(Path(cfg.data), [cfg.sets.dev], tokenizer), aligned_teachers(cfg, tokenizer)
        hashes = {one.name: one.hash for one in teachers}
        for source, key, teacher in zip(sources, keys, teachers, strict=True):
            known[key] = {"loss": dev_loss(teacher, sets), **of(source, hashes)}
        write_json(kept, known)
    losses = [known[key] for key in keys]
    return [one if isinstance(one, float) else one["loss"] for one in losses]


def dev_loss(teacher: AlignedTeacher, sets: Sets) -> float:
    """CTC loss of one teacher, in nats a unit."""
    targets = {u: sets.corpus.targets[u] for u in sets.corpus.transcripts}
    answers = zip(targets.values(), teacher.log_probs(sets, list(targets)), strict=True)
    loss = sum(
        float(ctc_loss(log_probs[None], [units], [len(log_probs)], [len(units)])) for units, log_probs in answers
    )
    return loss / sum(map(len, targets.values()))
