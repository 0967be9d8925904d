"""Where a model of a recipe comes from and how good it is: what its card says beside what the export measures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqkd.errors import DataError
from seqkd.layout import run_directory, teacher_sources
from seqkd.models.storage import model_hash
from seqkd.stages import again

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Scored:
    """Error rates as ``score.json`` has them, for decoding with ``beam``, and calibration if it was measured.

    ``language_model`` tells whether one took part.
    """

    beam: int
    language_model: bool
    wer: dict[str, Any]
    cer: dict[str, Any]
    calibration: dict[str, float] | None


@dataclass(frozen=True)
class TeacherOrigin:
    """Whom a model learned from: its ``name``, the ``hash`` of its weights and its scores by test set, where known."""

    name: str
    hash: str | None = None
    scores: dict[str, Scored] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """What is known of a model; None or empty is "not stated", as for a model directory without its recipe."""

    system: str | None = None
    label: str | None = None
    seed: int | None = None
    title: str | None = None
    teachers: tuple[TeacherOrigin, ...] = ()
    labelled: tuple[str, ...] = ()
    labelled_hours: float | None = None
    unlabelled: tuple[str, ...] = ()
    unlabelled_hours: float | None = None
    scores: dict[str, Scored] = field(default_factory=dict)
    licence: str | None = None


@dataclass(frozen=True)
class ClassifierTeacher:
    """Whom a classifier learned from: ``name`` and ``seed`` of a run, the ``hash`` of its model, scores by test set."""

    name: str
    seed: int
    hash: str | None = None
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassifierOrigin:
    """What is known of a classifier; None or empty is "not stated".

    ``scores`` are those of score.json, by test set: by key of a measure its ``value`` and ``ci95``. The seed is the
    one with the least ``dev_error``, a fraction, of ``seeds`` that were trained, and learned from ``clips`` clips.
    """

    system: str | None = None
    label: str | None = None
    seed: int | None = None
    seeds: int | None = None
    dev_error: float | None = None
    title: str | None = None
    paper: str | None = None
    teachers: tuple[ClassifierTeacher, ...] = ()
    train_set: str | None = None
    clips: int | None = None
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    licence: str | None = None


def recipe_origin(cfg: DictConfig, tokenizer_hash: str) -> Origin:
    """Collect it from the run that the settings' system and seed name.

    Raises DataError when the run is not finished, its test sets are not scored, its decodings come from other
    weights, or the model's tokenizer is not the one it was trained with.
    """
    import yaml

    run, system = run_directory(cfg), cfg.system
    summary, config = run / "summary.json", run / "config.yaml"
    if not (summary.is_file() and config.is_file()):
        raise DataError(f"{run} is not finished; {again('teachers' if system.name == 'teacher' else 'students')}")
    trained = json.loads(summary.read_text(encoding="utf-8"))
    described = yaml.safe_load(config.read_text(encoding="utf-8"))
    if described["tokenizer"] != tokenizer_hash:
        raise DataError(
            f"{run / 'model' / 'tokenizer.model'} has hash {tokenizer_hash}, but the model was trained with "
            f"{described['tokenizer']} ({config}); put that tokenizer back, or train again"
        )
    return Origin(
        system=system.name,
        label=system.get("label"),
        seed=cfg.seed,
        title=cfg.title,
        teachers=() if described.get("teacher", "a book") is None else tuple(_teachers(cfg)),
        labelled=(cfg[system.role].train_set,) if system.references else (),
        labelled_hours=trained["labelled_hours"],
        unlabelled=(
            *(() if system.references else (cfg[system.role].train_set,)),
            *(cfg.unlabelled if system.use_unlabelled else ()),
        ),
        unlabelled_hours=trained["unlabelled_hours"],
        scores={name: read_score(run, name) for name in cfg.sets.test},
        licence=cfg.export.licence,
    )


def read_score(run: Path, name: str) -> Scored:
    """Error rates of test set ``name``. Raises DataError when there are none, or they are of other weights."""
    decoded = run / f"decode_{name}"
    for file, stage in (("decode.json", "decode"), ("score.json", "score")):
        if not (decoded / file).is_file():
            raise DataError(f"{decoded} has no {file}; {again(stage)}")
    made_by = json.loads((decoded / "decode.json").read_text(encoding="utf-8"))
    weights = model_hash(run / "model") if (run / "model").is_dir() else None  # imported teachers have none here
    if made_by.get("model") != weights:
        raise DataError(
            f"{decoded} was decoded with weights {made_by.get('model')}, but {run / 'model'} has {weights}; "
            f"{again('decode')}"
        )
    (scored,) = json.loads((decoded / "score.json").read_text(encoding="utf-8"))["systems"].values()
    measured = scored.get("calibration")
    calibration = {key: measured[key] for key in ("ece", "nce", "count")} if measured else None
    words = made_by.get("words") or {}
    return Scored(made_by.get("beam", 1), "lm" in words, scored["wer"], scored["cer"], calibration)


def _teachers(cfg: DictConfig) -> list[TeacherOrigin]:
    """All that the recipe's students learn from."""
    if not cfg.teacher.import_from:
        runs = [Path(source).parent for source in teacher_sources(cfg)]
        return [
            TeacherOrigin(f"{run.parent.name}, {run.name}", model_hash(run / "model"), _known(run, cfg.sets.test))
            for run in runs
        ]
    import yaml

    run = run_directory(cfg, "teacher", 0)
    config = run / "config.yaml"
    imported = yaml.safe_load(config.read_text(encoding="utf-8")).get("imported") if config.is_file() else None
    if not imported:
        return [TeacherOrigin(_name(source)) for source in teacher_sources(cfg)]
    # Several are decoded as one.
    name, weights = " and ".join(map(_name, imported)), " and ".join(map(str, imported.values()))
    return [TeacherOrigin(name, weights, _known(run, cfg.sets.test))]


def _known(run: Path, test_sets: Sequence[str]) -> dict[str, Scored]:
    """Scores of a run on the test sets on which it has any."""
    return {name: read_score(run, name) for name in test_sets if (run / f"decode_{name}" / "score.json").is_file()}


def _name(source: str) -> str:
    """A teacher's name: of a directory, the last part, since the rest says nothing on another machine."""
    return Path(source).name if Path(source).exists() else source
