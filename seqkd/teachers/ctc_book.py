"""The book of CTC teachers: made in stage 5, read by students in stage 6.

Letters: V views, B utterances, T feature frames, F feature bins, T' output frames, C classes.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from seqkd.data.batches import Corpus, Pages, load_corpus
from seqkd.data.specaugment import SpecAugment
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.forced import forced_alignment
from seqkd.errors import ConfigError
from seqkd.knowledge import Answer, Book, Dense, Manifest, Sampled, TopK, write_book
from seqkd.knowledge.augmentation import of_specaugment
from seqkd.knowledge.manifest import read_manifest
from seqkd.layout import plain
from seqkd.losses.book_kd import densify
from seqkd.teachers.own import check_student, teacher_ids, teacher_of
from seqkd.training.objective import Objective

FORMS = ("dense", "top_k", "sampled", "live")
_LEAST = -80.0  # nats: a class that was not kept has a probability of nearly nothing, and a finite logit

log = logging.getLogger("seqkd")


def form_of(cfg: DictConfig) -> Dense | TopK | Sampled:
    """How distributions are stored."""
    forms = {"dense": Dense, "top_k": lambda: TopK(cfg.book.k), "sampled": lambda: Sampled(cfg.book.k, seed=cfg.seed)}
    if cfg.book.form not in forms:
        raise ConfigError(f"book.form is {cfg.book.form!r}; expected one of {', '.join(FORMS)}")
    return forms[cfg.book.form]()


def book_directory(cfg: DictConfig, view: str) -> Path:
    """Where the book of a view is: of masked features ("student") or of the audio as it is ("clean")."""
    return Path(cfg.book.directory) / {"student": "masked", "clean": "clean"}[view]


@dataclass(frozen=True)
class Plan:
    """One book to make: of a view, for the systems that need it.

    ``augment`` is what the teacher's input goes through, None for the audio as it is; ``unlabelled`` says whether sets
    without transcripts are in it.
    """

    view: str
    augment: SpecAugment | None
    unlabelled: bool

    def corpus(self, cfg: DictConfig, tokenizer: Tokenizer) -> Corpus:
        """What is heard."""
        unlabelled = list(cfg.unlabelled) if self.unlabelled else []
        return load_corpus(Path(cfg.data), [cfg.student.train_set], tokenizer, unlabelled)

    def manifest(self, cfg: DictConfig, tokenizer: Tokenizer, frame_shift_ms: float) -> Manifest:
        """What the book says of itself."""
        return Manifest(
            teachers=teacher_ids(cfg),
            units=tokenizer.hash,
            classes=len(tokenizer),
            blank=tokenizer.blank,
            frame_shift_ms=frame_shift_ms,
            features=plain(cfg.features),
            temperature=cfg.book.temperature,
            form=form_of(cfg),
            augmentation=of_specaugment(self.augment) if self.augment else (),
            seeds=cfg.book.seeds if self.augment else 1,
            regularisation=cfg.book.regularisation,
        )


def plans(systems: Sequence[DictConfig]) -> list[Plan]:
    """The books that the students of ``systems`` (settings, one for each) learn from."""
    found: dict[str, Plan] = {}
    for cfg in systems:
        objective = Objective(**cfg.system.objective)
        if not objective.needs_teacher or cfg.system.role != "student":
            continue
        view, augment = objective.teacher_view, None
        if view == "student":
            augment = SpecAugment(**cfg.student.augment).stronger_time_masks(objective.time_mask_factor)
        before = found.get(view, Plan(view, augment, False))
        if before.augment != augment:
            raise ConfigError(
                f"system {cfg.system.name} masks its features otherwise than the systems before it, and the teacher's "
                "answers to masked features hold for one kind of masks; use book=live"
            )
        found[view] = Plan(view, augment, before.unlabelled or cfg.system.use_unlabelled)
    return list(found.values())


def make_books(cfg: DictConfig, systems: Sequence[DictConfig], shard: int = 0, shards: int = 1) -> None:
    """Write all books, or this process' share of them: a page an utterance, or one a seed if features are masked."""
    tokenizer, teacher = Tokenizer.load(Path(cfg.tokens.directory)), teacher_of(cfg, cfg.book.temperature)
    check_student(cfg, teacher, tokenizer)
    teacher.to("cuda" if cfg.ngpu else "cpu")
    for plan in plans(systems):
        corpus = plan.corpus(cfg, tokenizer)
        manifest, directory = plan.manifest(cfg, tokenizer, teacher.frame_shift_ms), book_directory(cfg, plan.view)
        asked = _Asked(teacher, corpus, plan.augment, manifest)
        label = f"book ({directory.name})"
        made = write_book(directory, manifest, corpus.transcripts, asked, shard=shard, shards=shards, label=label)
        print(f"{directory}: {made} pages written; {len(corpus)} utterances, {manifest.seeds} pages each, in all")


def pages_to_make(cfg: DictConfig, systems: Sequence[DictConfig]) -> int:
    """How many pages the books still lack; a book of other settings is removed, as every stage does with such."""
    tokenizer, teacher = Tokenizer.load(Path(cfg.tokens.directory)), teacher_of(cfg)
    missing = 0
    for plan in plans(systems):
        directory = book_directory(cfg, plan.view)
        wanted = plan.manifest(cfg, tokenizer, teacher.frame_shift_ms)
        utterances = plan.corpus(cfg, tokenizer).transcripts
        missing += len(utterances) * wanted.seeds
        if not (directory / "manifest.json").is_file():
            continue
        try:
            read_manifest(directory).require_same(wanted, f"the book {directory}", "what is wanted now")
        except ConfigError as different:
            log.info("%s: making it anew", different)
            shutil.rmtree(directory)
        else:
            book = Book.open(directory)
            missing -= sum((utterance, seed) in book for utterance in utterances for seed in range(wanted.seeds))
    return missing


@dataclass(frozen=True)
class _Asked:
    """Asks the teacher for missing pages. All seeds of an utterance are one batch: answers never depend on the rest."""

    teacher: torch.nn.Module
    corpus: Corpus
    augment: SpecAugment | None
    manifest: Manifest

    def __call__(self, missing: list[tuple[str, int]]) -> Iterator[Answer]:
        for utterance, pages in groupby(missing, key=lambda page: page[0]):
            wanted = {seed for _, seed in pages}
            yield from (answer for answer in self.answers(utterance) if answer.seed in wanted)

    @torch.no_grad()
    def answers(self, utterance: str) -> list[Answer]:
        """Of every seed, 0 … K − 1."""
        seeds, device = self.manifest.seeds, self.teacher.fill.device
        features = self.corpus.store[utterance].to(device).expand(seeds, -1, -1)  # (K, T, F)
        lengths = torch.full((seeds,), features.shape[1], device=device)
        if self.augment:
            draws = self.augment.replay([utterance] * seeds, range(seeds), device)
            features = self.augment.warp_time(features, lengths, draws)
            features = torch.where(self.augment.hidden(features, lengths, draws), self.teacher.fill, features)
        logits, lengths = self.teacher.logits(features, lengths)
        log_probs = (logits.float() / self.manifest.temperature).log_softmax(-1)  # (K, T', C)
        paths = self.paths(utterance, logits, lengths)
        return [
            Answer(utterance, row[:length].cpu(), seed=seed, targets=None if paths is None else paths[seed, :length])
            for seed, (row, length) in enumerate(zip(log_probs, lengths.tolist(), strict=True))
        ]

    def paths(self, utterance: str, logits: Tensor, lengths: Tensor) -> Tensor | None:
        """(K, T') the transcript on the teacher's frames, for a regularised book."""
        if not self.manifest.regularisation:
            return None
        if self.corpus.transcripts[utterance] is None:
            raise ConfigError(
                f"book.regularisation mixes transcripts in, but utterance {utterance!r} has none; leave out systems "
                "with use_unlabelled, or set book.regularisation=0"
            )
        targets = torch.tensor(self.corpus.targets[utterance]).expand(len(logits), -1)
        return forced_alignment(logits.cpu(), targets, lengths.cpu(), torch.full((len(logits),), targets.shape[1]))


@dataclass
class BookPages:
    """Pages of a book for the batches of a run: run, update and rank decide with which seed an utterance is heard."""

    book: Book
    tail: str
    views: int  # V
    replayed: bool  # whether the student masks its features as the teacher's were
    seed: int
    rank: int

    def __call__(self, ids: list[str], step: int) -> Pages:
        """The pages of an update."""
        seeds = [[0] * len(ids)]
        if self.replayed:
            generator = torch.Generator().manual_seed(hash((self.seed, step, self.rank)) % 2**63)
            seeds = torch.randint(self.book.manifest.seeds, (self.views, len(ids)), generator=generator).tolist()
        found = [self.log_probs(ids, of_view) for of_view in seeds]
        logits = self.book.manifest.temperature * torch.stack([log_probs for log_probs, _ in found])
        return Pages(logits.clamp_min(_LEAST), found[0][1], seeds if self.replayed else None)

    def log_probs(self, ids: list[str], seeds: list[int]) -> tuple[Tensor, Tensor]:
        """(B, T', C) and (B,)."""
        if self.tail == "spread" or self.book.manifest.form.name != "top-k":
            return self.book.collate(ids, seeds)
        kept, lengths = self.book.collate_sparse(ids, seeds)
        return densify(kept, self.book.manifest.classes, self.tail).log(), lengths


def book_id(cfg: DictConfig, objective: Objective) -> dict[str, str]:
    """What decides, of a book, what a student learns: for the description of its run."""
    directory = book_directory(cfg, objective.teacher_view)
    if not (directory / "manifest.json").is_file():
        raise ConfigError(f"{directory}: no book here; run stage 5 first, or let the teacher run by book=live")
    return {"book": read_manifest(directory).hash, "tail": cfg.book.tail}


def open_book(
    cfg: DictConfig, objective: Objective, tokenizer: Tokenizer, frame_shift_ms: float, utterances: Sequence[str]
) -> Book:
    """The book that a student of these settings reads; one that does not fit is an error that names both sides."""
    masked = objective.teacher_view == "student"
    directory = book_directory(cfg, objective.teacher_view)
    augment = SpecAugment(**cfg.student.augment).stronger_time_masks(objective.time_mask_factor)
    heard = of_specaugment(augment)
    book = Book.open(directory).require(
        teachers=[one.hash for one in teacher_ids(cfg)],
        units=tokenizer.hash,
        classes=len(tokenizer),
        blank=tokenizer.blank,
        frame_shift_ms=frame_shift_ms,
        features=plain(cfg.features),
        temperature=objective.temperature,
        augmentation=heard,
        utterances=utterances,
    )
    if masked and book.manifest.augmentation != heard:
        theirs, ours = ("; ".join(map(str, side)) or "no masks" for side in (book.manifest.augmentation, heard))
        raise ConfigError(
            f"the book {directory} was made with {theirs} and the student is trained with {ours}; what a teacher says "
            "of masked features holds for these masks only: make the book anew, or use book=live"
        )
    if augment.warp and masked and objective.views == "independent":
        raise ConfigError(
            f"system {cfg.system.name}: passes that are masked independently share one time-warp, but every seed of "
            "the book has its own; set student.augment.warp=0, or use book=live"
        )
    return book


def pages_of(cfg: DictConfig, book: Book, objective: Objective, rank: int) -> BookPages:
    """What gives the pages of a run's batches."""
    views = objective.passes if objective.views == "independent" else 1
    masked = objective.teacher_view == "student"
    return BookPages(book, cfg.book.tail, views if masked else 1, masked, cfg.seed, rank)
