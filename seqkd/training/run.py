"""One run of CTC training: a system and a seed, from settings to a model directory. Resumes where it was stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from seqkd.data.batches import Corpus, Knowledge, evaluation_batches, load_corpus, training_batches
from seqkd.data.features import FeatureSettings, finished_features
from seqkd.data.sampling import StepSampler
from seqkd.data.specaugment import SpecAugment
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.files import write_text
from seqkd.layout import is_done, plain, run_directory, trained_teacher, working_in
from seqkd.models.ctc import CtcModel, save_model
from seqkd.models.storage import model_hash
from seqkd.stages import again
from seqkd.teachers import CheckpointTeacher, Teacher, check_compatible
from seqkd.teachers.ctc_book import book_id, open_book, pages_of
from seqkd.teachers.external.transcript_targets import learns_sequences, targets_of, transcripts_id
from seqkd.teachers.own import live_teacher, teacher_ids
from seqkd.training.loop import Batches, Monitor, choose_weights, device_name, finish, fit
from seqkd.training.module import CtcDistillation
from seqkd.training.objective import Objective
from seqkd.training.self_knowledge import SelfKnowledge

MONITOR = Monitor("dev_wer", lambda wer: f"dev WER {100 * wer:.2f} %")

log = logging.getLogger("seqkd")


def train(cfg: DictConfig) -> Path:
    """Train ``cfg.system`` with ``cfg.seed``; return the run's directory. A finished, unchanged run is left alone."""
    directory = run_directory(cfg)
    tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
    objective = Objective(**cfg.system.objective)
    description = describe(cfg, tokenizer, objective)
    if is_done(directory, description):
        log.info("%s is done", directory)
        return directory
    role = cfg[cfg.system.role]
    settings = plain(role.training)
    unlabelled = list(cfg.unlabelled) if cfg.system.use_unlabelled else []
    corpus = load_corpus(Path(cfg.data), [role.train_set], tokenizer, unlabelled)
    dev = load_corpus(Path(cfg.data), [cfg.sets.dev], tokenizer)

    torch.set_num_threads(settings["threads"])
    torch.manual_seed(cfg.seed)
    architecture = plain(role.model)
    if objective.attention_weight:
        architecture["decoder_layers"] = objective.attention_layers
    model = CtcModel(architecture, FeatureSettings(**cfg.features), len(tokenizer))
    mean, scale = corpus.store.normalisation()
    model.feature_mean.copy_(mean)
    model.feature_scale.copy_(scale)
    knowledge = SelfKnowledge(objective.prior, MONITOR.name) if objective.needs_prior else None
    module = CtcDistillation(
        model,
        objective,
        tokenizer,
        SpecAugment(**role.augment),
        settings,
        seed=cfg.seed,
        teacher=load_teacher(cfg, objective, model, tokenizer),
        knowledge=knowledge,
        dev=dev,
    )
    given = batches(cfg, settings, corpus, dev, written_knowledge(cfg, objective, model, corpus, tokenizer))
    with working_in(directory, description):
        report_dropped(directory, corpus)
        trainer, best = fit(cfg, module, given, directory, MONITOR, [knowledge] if knowledge else [])
        if trainer.is_global_zero:
            weights, wers = choose_weights(module, best, lambda: module.measure(evaluation_batches(dev, 400.0)))
            chosen = {"weights": weights, "best_dev_wer": wers[weights], "dev_wer": wers}
            save_model(directory / "model", model, tokenizer)
            finish(directory, module, summary(cfg, module, corpus, objective, settings, chosen))
    return directory


def batches(
    cfg: DictConfig,
    settings: dict[str, Any],
    corpus: Corpus,
    dev: Corpus,
    knowledge: Callable[[int], Knowledge | None],
) -> Batches:
    """Of the training set, shuffled, with what ``knowledge(rank)`` says of them, and of dev."""

    def training(start: int, rank: int, world: int) -> DataLoader:
        sampler = StepSampler(
            corpus.seconds(),
            updates=settings["updates"],
            max_size=settings["max_duration"] / world,
            seed=cfg.seed,
            start=start,
            rank=rank,
            world=world,
        )
        return training_batches(corpus, sampler, settings["workers"], knowledge(rank))

    return Batches(training, lambda rank, world: evaluation_batches(dev, cfg.decode.max_duration, rank, world))


def describe(cfg: DictConfig, tokenizer: Tokenizer, objective: Objective) -> dict[str, Any]:
    """Everything that decides a run's result: if any of it changes, the run is trained anew."""
    role = cfg[cfg.system.role]
    names = [role.train_set, *(cfg.unlabelled if cfg.system.use_unlabelled else []), cfg.sets.dev]
    features = {name: finished_features(Path(cfg.data) / name) for name in names}
    for name, made in features.items():
        if made["settings"] != plain(cfg.features):
            raise DataError(
                f"{Path(cfg.data) / name} has features made with {made['settings']}, but features= is "
                f"{plain(cfg.features)}; {again('prepare')}"
            )
    return {
        "system": cfg.system.name,
        "objective": objective.chosen(),
        "seed": cfg.seed,
        "model": plain(role.model),
        "training": plain(role.training),
        "augment": plain(role.augment),
        "features": plain(cfg.features),
        "tokenizer": tokenizer.hash,
        **learned_from(cfg, objective),
        "data": {name: made["data"] for name, made in features.items()},
    }


def report_dropped(directory: Path, corpus: Corpus) -> None:
    """Say how many utterances cannot be aligned to their frames, and list them."""
    if corpus.dropped:
        write_text(directory / "dropped.txt", "".join(f"{u} {why}\n" for u, why in sorted(corpus.dropped.items())))
        log.warning(
            "%d of %d utterances dropped because their transcript does not fit their frames: see %s",
            len(corpus.dropped),
            len(corpus) + len(corpus.dropped),
            directory / "dropped.txt",
        )


def reads(cfg: DictConfig, objective: Objective) -> bool:
    """Whether what is learned from a teacher stands in a book; else, if anything is, the teacher runs beside."""
    return objective.needs_teacher and cfg.system.role == "student" and cfg.book.form != "live"


def learned_from(cfg: DictConfig, objective: Objective) -> dict[str, Any]:
    """Of a run's description: whose knowledge it is trained on, and in what form."""
    if not objective.needs_teacher:
        return {"teacher": None}
    if cfg.system.role == "teacher":  # one of several, guided by the first
        return {"teacher": model_hash(trained_teacher(cfg))}
    if reads(cfg, objective):
        return transcripts_id(cfg) if learns_sequences(cfg) else book_id(cfg, objective)
    teachers = teacher_ids(cfg, {})
    return {"teacher": teachers[0].hash if len(teachers) == 1 else {one.hash: one.weight for one in teachers}}


def written_knowledge(
    cfg: DictConfig, objective: Objective, model: CtcModel, corpus: Corpus, tokenizer: Tokenizer
) -> Callable[[int], Knowledge | None]:
    """What the stage book wrote of the training set, for the process of a rank; None if it is not read."""
    if not reads(cfg, objective):
        return lambda rank: None
    if learns_sequences(cfg):
        if objective.form not in ("frame", "best_path"):
            raise ConfigError(
                f"system {cfg.system.name} learns frame by frame (objective.form {objective.form}), but all that "
                "there is of the teacher are its transcripts; choose kd, cons_kd or best_path"
            )
        targets = targets_of(cfg, corpus, tokenizer)
        return lambda rank: targets
    book = open_book(cfg, objective, tokenizer, model.frame_shift_ms, corpus.transcripts)
    return partial(pages_of, cfg, book, objective)


def load_teacher(cfg: DictConfig, objective: Objective, student: CtcModel, tokenizer: Tokenizer) -> Teacher | None:
    """Load the teacher, if it is to run beside the student, and check that both speak of the same units and frames."""
    if not objective.needs_teacher or reads(cfg, objective):
        return None
    if cfg.system.role == "teacher":
        teacher = CheckpointTeacher.from_directory(trained_teacher(cfg))
    else:
        teacher = live_teacher(cfg, objective.temperature)
    check_compatible(
        teacher,
        classes=student.classes,
        frame_shift_ms=student.frame_shift_ms,
        tokenizer_hash=tokenizer.hash,
        features=student.features,
    )
    return teacher


def summary(
    cfg: DictConfig,
    module: CtcDistillation,
    corpus: Corpus,
    objective: Objective,
    settings: dict[str, Any],
    chosen: dict[str, Any],
) -> dict[str, Any]:
    """Collect what the report says of a run."""
    return {
        "system": cfg.system.name,
        "seed": cfg.seed,
        "parameters": module.model.parameter_count(),
        "steps": settings["updates"],
        "passes": objective.passes,
        "train_seconds": round(module.seconds, 1),
        "device": device_name(cfg, settings),
        "labelled_hours": round(corpus.hours(labelled=True), 3),
        "unlabelled_hours": round(corpus.hours(labelled=False), 3),
        "dropped": len(corpus.dropped),
        "teacher_off_by_one": module.off_by_one,
        **chosen,
    }
