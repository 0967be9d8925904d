"""One run of encoder–decoder training: a system and a seed, from settings to a model directory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader

from seqkd.data.sampling import StepSampler
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.layout import is_done, plain, run_directory, teacher_run, working_in
from seqkd.models.seq2seq import Seq2SeqModel, load_seq2seq, save_seq2seq
from seqkd.models.storage import model_hash
from seqkd.teachers import seq2seq_book
from seqkd.training.loop import Batches, Monitor, choose_weights, device_name, finish, fit
from seqkd.training.self_knowledge import SelfKnowledge
from seqkd.training.seq2seq import Seq2SeqDistillation
from seqkd.training.token_objective import TokenObjective
from seqkd.translation.batches import TextBatch, TextCorpus, encode_pairs, evaluation_text, training_text
from seqkd.translation.decoding import read_written
from seqkd.translation.pairs import filter_pairs, pairs_fingerprint, read_pairs

log = logging.getLogger("seqkd")
MONITOR = Monitor("dev_nll", lambda nll: f"dev NLL {nll:.3f} nats a token")


def train(cfg: DictConfig) -> Path:
    """Train ``cfg.system`` with ``cfg.seed``; return the run's directory. A finished, unchanged run is left alone."""
    directory = run_directory(cfg)
    tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
    objective = TokenObjective(**cfg.system.objective)
    check_system(cfg, objective)
    pairs = {name: read_pairs(Path(cfg.data) / cfg.sets[name]) for name in ("train", "dev")}
    teacher = finished_teacher(cfg)
    role = cfg[cfg.system.role]
    description = {
        "system": cfg.system.name,
        "objective": objective.chosen(),
        "seed": cfg.seed,
        "model": plain(role.model),
        "training": plain(role.training),
        "text": plain(cfg.text),
        "tokenizer": tokenizer.hash,
        "teacher": model_hash(teacher / "model") if teacher else None,
        "targets": cfg.system.targets,
        "knowledge": describe_knowledge(cfg),
        "data": {name: pairs_fingerprint(of_set) for name, of_set in pairs.items()},
    }
    if is_done(directory, description):
        log.info("%s is done", directory)
        return directory
    settings = plain(role.training)
    kept, _ = filter_pairs(pairs["train"], max_words=cfg.text.max_words, max_ratio=cfg.text.max_ratio)
    written = read_written(teacher / f"decode_{cfg.sets.train}") if cfg.system.targets == "beam" else None
    corpus = encode_pairs(kept, tokenizer, max_length=settings["max_length"], written=written)
    dev = encode_pairs(pairs["dev"], tokenizer)

    torch.set_num_threads(settings["threads"])
    torch.manual_seed(cfg.seed)
    model = Seq2SeqModel(plain(role.model), len(tokenizer))
    knowledge = None
    if objective.form == "adaptive":
        knowledge = SelfKnowledge(objective.prior, MONITOR.name, objective.ema_decay)
    module = Seq2SeqDistillation(
        model, objective, settings, seed=cfg.seed, knowledge=knowledge, teacher=load_teacher(cfg, teacher, tokenizer)
    )
    with working_in(directory, description):
        callbacks = [knowledge] if knowledge else []
        measure = lambda: module.measure(evaluation_text(dev, cfg.decode.max_tokens))  # noqa: E731
        trainer, best = fit(cfg, module, batches(cfg, settings, corpus, dev), directory, MONITOR, callbacks)
        if trainer.is_global_zero:
            weights, nlls = choose_weights(module, best, measure)
            save_seq2seq(directory / "model", model, tokenizer)
            finish(
                directory,
                module,
                {
                    "system": cfg.system.name,
                    "label": cfg.system.label,
                    "seed": cfg.seed,
                    "parameters": model.parameter_count(),
                    "steps": settings["updates"],
                    "passes": objective.passes,
                    "train_seconds": round(module.seconds, 1),
                    "device": device_name(cfg, settings),
                    "pairs": len(corpus.sources),
                    "over_long": len(corpus.over_long),
                    "prior_refreshes": knowledge.refreshes if knowledge else [],
                    "weights": weights,
                    "best_dev_nll": nlls[weights],
                    "dev_nll": nlls,
                },
            )
    return directory


def check_system(cfg: DictConfig, objective: TokenObjective) -> None:
    """Raise ConfigError when a system's parts do not go together."""
    system = cfg.system
    choices = {"targets": ("reference", "beam"), "knowledge": ("live", "book")}
    for name, allowed in choices.items():
        if system[name] not in allowed:
            raise ConfigError(f"system.{name} is {system[name]!r}; expected one of {', '.join(allowed)}")
    if (objective.needs_teacher or system.targets == "beam") and not system.teacher:
        raise ConfigError(f"system {system.name} learns from a teacher, but system.teacher names no system to be it")
    if objective.needs_teacher and system.knowledge == "book" and system.targets == "beam":
        raise ConfigError(f"system {system.name}: the book is of the references, but system.targets is beam; use live")


def finished_teacher(cfg: DictConfig) -> Path | None:
    """The run that teaches the system, if any. Raises ConfigError if it is not finished."""
    run = teacher_run(cfg.system, cfg.seed)
    if run is None:
        return None
    directory = run_directory(cfg, *run)
    if not (directory / "model" / "model.safetensors").is_file():
        raise ConfigError(
            f"{directory}: no finished model here; {cfg.system.name} learns from {cfg.system.teacher}, train it first"
        )
    return directory


def describe_knowledge(cfg: DictConfig) -> dict[str, Any] | str | None:
    """Where the teacher's distributions come from: part of what decides a run's result."""
    if not cfg.system.teacher or cfg.system.knowledge == "live":
        return "live" if cfg.system.teacher else None
    return plain(cfg.book)


def load_teacher(cfg: DictConfig, directory: Path | None, tokenizer: Tokenizer) -> Callable[[TextBatch], Tensor] | None:
    """What gives the teacher's logits of a batch, if the objective asks for them: the model itself, or its book."""
    if not TokenObjective(**cfg.system.objective).needs_teacher:
        return None
    if cfg.system.knowledge == "book":
        return seq2seq_book.open_book(cfg, directory, tokenizer)
    model, units = load_seq2seq(directory / "model")
    if units.hash != tokenizer.hash:
        raise DataError(
            f"{directory}/model has other units ({units.hash}) than the student ({tokenizer.hash}); "
            "train both with the same tokens.directory"
        )
    model.to("cuda" if cfg.ngpu else "cpu").requires_grad_(False)
    return torch.no_grad()(lambda batch: model(batch.source, batch.source_lengths, batch.inputs))


def batches(cfg: DictConfig, settings: dict[str, Any], corpus: TextCorpus, dev: TextCorpus) -> Batches:
    """Of the training set, shuffled, and of dev."""

    def training(start: int, rank: int, world: int) -> DataLoader:
        sampler = StepSampler(
            corpus.sizes(),
            updates=settings["updates"],
            max_size=settings["max_tokens"] / world,
            limit="training.max_tokens",
            seed=cfg.seed,
            start=start,
            rank=rank,
            world=world,
        )
        return training_text(corpus, sampler, settings["workers"])

    return Batches(training, lambda rank, world: evaluation_text(dev, cfg.decode.max_tokens, rank, world))
