"""The book of encoder–decoder teachers: their distribution at every position of the references of the training set.

Of several teachers, of any size but with the same units, it holds the mean of their distributions, each at the book's
temperature (BookKD, 10.1016/j.knosys.2023.110916): students pay for one however many made it.

Letters: B sentences, S target positions, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.knowledge import Book, Dense, Manifest, Sampled, TeacherId, TeacherOutput, TopK, write_book
from seqkd.losses import Objective, Outputs
from seqkd.models.seq2seq import load_seq2seq
from seqkd.models.storage import model_hash, read_description
from seqkd.teachers.ctc_book import temperature_of
from seqkd.translation.batches import IGNORE, TextBatch, encode_pairs, evaluation_text
from seqkd.translation.pairs import read_pairs


def book_of(cfg: DictConfig, runs: Sequence[Path]) -> Path:
    """Where the book of teachers' runs is: in the run, or for several in ``<exp>/book/``."""
    if len(runs) == 1:
        return runs[0] / "book"
    return Path(cfg.exp) / "book" / "+".join(f"{run.parent.name}.{run.name}" for run in runs)


def manifest_of(cfg: DictConfig, runs: Sequence[Path], tokenizer: Tokenizer) -> Manifest:
    """What must hold for every entry of the book of ``runs``."""
    return Manifest(
        teachers=tuple(TeacherId(run.parent.name, model_hash(run / "model"), 1 / len(runs)) for run in runs),
        units=tokenizer.hash,
        classes=len(tokenizer),
        temperature=cfg.book.temperature,
        form=form_of(cfg),
    )


def missing_entries(cfg: DictConfig, runs: Sequence[Path]) -> int:
    """How many sentences the book still lacks; all, if it was made with other settings, which making it says."""
    ids = [pair.id for pair in read_pairs(Path(cfg.data) / cfg.sets.train)]
    place = book_of(cfg, runs)
    if not (place / "manifest.json").is_file():
        return len(ids)
    book = Book.open(place)
    if book.manifest != manifest_of(cfg, runs, read_description(runs[0] / "model")[1]):
        return len(ids)
    return sum(one not in book for one in ids)


def make_book(cfg: DictConfig, runs: Sequence[Path], shard: int = 0, shards: int = 1) -> None:
    """Write the book of teachers' runs, or a share of it: what they give to the references of the training set.

    Raises DataError if teachers have different units.
    """
    models, (tokenizer, *others) = zip(*(load_seq2seq(run / "model") for run in runs), strict=True)
    for run, units in zip(runs[1:], others, strict=True):
        if units.hash != tokenizer.hash:
            raise DataError(
                f"{run}/model has other units ({units.hash}) than {runs[0]}/model ({tokenizer.hash}); teachers of one "
                "book need the same: train them with the same tokens.directory"
            )
    for model in models:
        model.to("cuda" if cfg.ngpu else "cpu")
    pairs = {pair.id: pair for pair in read_pairs(Path(cfg.data) / cfg.sets.train)}
    manifest, place = manifest_of(cfg, runs, tokenizer), book_of(cfg, runs)

    @torch.no_grad()
    def answers(missing: list[tuple[str, int]]) -> Iterator[TeacherOutput]:
        corpus = encode_pairs([pairs[key] for key, _ in missing], tokenizer)
        for batch in evaluation_text(corpus, cfg.decode.max_tokens):
            batch = batch.to(models[0].bias.device)
            log_probs = mean_log_probs(
                [model(batch.source, batch.source_lengths, batch.inputs).float() for model in models],
                cfg.book.temperature,
            )
            for key, row, targets in zip(batch.ids, log_probs, batch.targets, strict=True):
                yield TeacherOutput(key, row[targets != IGNORE].cpu())

    made = write_book(place, manifest, list(pairs), answers, shard=shard, shards=shards)
    print(f"{place}: {made} entries written, {len(pairs)} in all")


def mean_log_probs(logits: Sequence[Tensor], temperature: float) -> Tensor:
    """log of the mean over teachers of softmax(z / τ), of logits (B, S, C) each -> (B, S, C)."""
    log_probs = [(one / temperature).log_softmax(-1) for one in logits]
    return log_probs[0] if len(log_probs) == 1 else torch.stack(log_probs).logsumexp(0) - math.log(len(log_probs))


def form_of(cfg: DictConfig) -> Dense | TopK | Sampled:
    """How distributions are stored: the settings ``book``."""
    forms = {"dense": Dense, "top_k": lambda: TopK(cfg.book.k), "sampled": lambda: Sampled(cfg.book.k, seed=cfg.seed)}
    if cfg.book.form not in forms:
        raise ConfigError(f"book.form is {cfg.book.form!r}; expected one of {', '.join(forms)}")
    return forms[cfg.book.form]()


def open_book(
    cfg: DictConfig, runs: Sequence[Path], tokenizer: Tokenizer, objective: Objective
) -> Callable[[TextBatch, Tensor], Outputs]:
    """What gives the outputs (1, B, S, C) for a batch of (B,) lengths out of the book of teachers' runs, made by
    ``make_book``; with the entropies of the whole posteriors, where the book holds a part of them.
    """
    temperature = temperature_of(objective)
    teachers = [model_hash(run / "model") for run in runs]
    book = Book.open(book_of(cfg, runs)).require(
        teachers=teachers, units=tokenizer.hash, classes=len(tokenizer), temperature=temperature
    )

    def outputs(batch: TextBatch, lengths: Tensor) -> Outputs:
        log_probs, _, entropy = book.collate_whole(batch.ids)  # (B, S, C), and (B, S) or None
        made_at, device = book.manifest.temperature, batch.inputs.device
        entropy = None if entropy is None else entropy[None].to(device)
        logits = made_at * log_probs[None].to(device)
        return Outputs(logits, lengths, entropy=entropy, entropy_temperature=made_at)

    return outputs
