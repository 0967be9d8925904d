"""The book of an encoder–decoder teacher: its distribution at every position of the references of the training set.

Letters: B sentences, S target positions, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError
from seqkd.knowledge import Answer, Book, Dense, Manifest, Sampled, TeacherId, TopK, write_book
from seqkd.losses import Objective
from seqkd.models.seq2seq import load_seq2seq
from seqkd.models.storage import model_hash, read_description
from seqkd.teachers.ctc_book import temperature_of
from seqkd.translation.batches import IGNORE, TextBatch, encode_pairs, evaluation_text
from seqkd.translation.pairs import read_pairs


def manifest_of(cfg: DictConfig, run: Path, tokenizer: Tokenizer) -> Manifest:
    """What must hold for every entry of the book of ``run``."""
    return Manifest(
        teachers=(TeacherId(run.parent.name, model_hash(run / "model")),),
        units=tokenizer.hash,
        classes=len(tokenizer),
        temperature=cfg.book.temperature,
        form=form_of(cfg),
    )


def missing_entries(cfg: DictConfig, run: Path) -> int:
    """How many sentences ``<run>/book`` still lacks; all, if it was made with other settings, which making it says."""
    ids = [pair.id for pair in read_pairs(Path(cfg.data) / cfg.sets.train)]
    if not (run / "book" / "manifest.json").is_file():
        return len(ids)
    book = Book.open(run / "book")
    if book.manifest != manifest_of(cfg, run, read_description(run / "model")[1]):
        return len(ids)
    return sum(one not in book for one in ids)


def make_book(cfg: DictConfig, run: Path, shard: int = 0, shards: int = 1) -> None:
    """Write ``<run>/book``, or a share of it: what the model of ``run`` gives to the references of the training set."""
    model, tokenizer = load_seq2seq(run / "model")
    model.to("cuda" if cfg.ngpu else "cpu")
    pairs = {pair.id: pair for pair in read_pairs(Path(cfg.data) / cfg.sets.train)}
    manifest = manifest_of(cfg, run, tokenizer)

    @torch.no_grad()
    def answers(missing: list[tuple[str, int]]) -> Iterator[Answer]:
        corpus = encode_pairs([pairs[key] for key, _ in missing], tokenizer)
        for batch in evaluation_text(corpus, cfg.decode.max_tokens):
            batch = batch.to(model.bias.device)
            logits = model(batch.source, batch.source_lengths, batch.inputs).float()
            log_probs = (logits / cfg.book.temperature).log_softmax(-1)
            for key, row, targets in zip(batch.ids, log_probs, batch.targets, strict=True):
                yield Answer(key, row[targets != IGNORE].cpu())

    made = write_book(run / "book", manifest, list(pairs), answers, shard=shard, shards=shards)
    print(f"{run / 'book'}: {made} entries written, {len(pairs)} in all")


def form_of(cfg: DictConfig) -> Dense | TopK | Sampled:
    """How distributions are stored: the settings ``book``."""
    forms = {"dense": Dense, "top_k": lambda: TopK(cfg.book.k), "sampled": lambda: Sampled(cfg.book.k, seed=cfg.seed)}
    if cfg.book.form not in forms:
        raise ConfigError(f"book.form is {cfg.book.form!r}; expected one of {', '.join(forms)}")
    return forms[cfg.book.form]()


def open_book(cfg: DictConfig, run: Path, tokenizer: Tokenizer, objective: Objective) -> Callable[[TextBatch], Tensor]:
    """What gives the logits (B, S, C) of a batch out of ``<run>/book``, made by ``make_book``."""
    temperature = temperature_of(objective)
    book = Book.open(run / "book").require(
        teachers=[model_hash(run / "model")], units=tokenizer.hash, classes=len(tokenizer), temperature=temperature
    )

    def logits(batch: TextBatch) -> Tensor:
        log_probs, _ = book.collate(batch.ids)  # (B, S, C), at the temperature of the loss
        return temperature * log_probs.to(batch.inputs.device)

    return logits
