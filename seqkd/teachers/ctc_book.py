"""The book of CTC teachers, frame by frame: made in the stage book, read by students.

Letters: V views, B utterances, T feature frames, F feature bins, T' output frames, C classes, K seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from seqkd.ctc.alignment import forced_alignment
from seqkd.data.batches import TeacherOutputs
from seqkd.data.specaugment import SpecAugment, augment_of
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError
from seqkd.knowledge import Book, Dense, Manifest, Sampled, TeacherOutput, TopK, mix, write_book
from seqkd.knowledge.augmentation import of_specaugment
from seqkd.knowledge.manifest import read_manifest
from seqkd.layout import plain
from seqkd.losses import Objective
from seqkd.losses.build import objective_of
from seqkd.models.layers import Subsampling
from seqkd.stages import again
from seqkd.teachers.aligned import (
    AlignedTeacher,
    ExternalTeacher,
    Sets,
    all_own,
    contents_of,
    device_of,
    student_directories,
)
from seqkd.teachers.external.audio import hash_among
from seqkd.teachers.own import live_teacher, teacher_ids

FRAMES = {"dense": lambda cfg: Dense(), "top_k": lambda cfg: TopK(cfg.book.k)}
FRAMES |= {"sampled": lambda cfg: Sampled(cfg.book.k, seed=cfg.seed)}
MOST_SEEDS = 128
AT_ONCE = 16  # seeds a batch
_LEAST = -80.0  # nats: a class that was not kept has a probability of nearly nothing, and a finite logit


def view_of(cfg: DictConfig) -> str:
    """The teachers' input: the masked features of "student", or "clean" ones, as external teachers always have."""
    return cfg.system.teacher_view if all_own(cfg) else "clean"


def taught(cfg: DictConfig) -> bool:
    """Whether the system's objective looks at a teacher, or its labels are a teacher's transcripts."""
    return "whisper" in cfg.system or "teacher" in objective_of(plain(cfg.system.objective)).sources()


def reads(cfg: DictConfig, objective: Objective) -> bool:
    """Whether a teacher's outputs stand in a book; else, if there are any, the teacher runs beside its student."""
    return "teacher" in objective.sources() and cfg.system.role == "student" and cfg.book.form != "live"


def temperature_of(objective: Objective) -> float:
    """The temperature at which the terms compare teacher and student. Raises ConfigError if there are several."""
    found = {
        getattr(term, "temperature", 1.0) for term in objective.values() if term.source == "teacher" and not term.off
    }
    if len(found) > 1:
        raise ConfigError(f"the terms of system.objective have different temperatures ({sorted(found)}); give all one")
    return found.pop() if found else 1.0


def book_directory(cfg: DictConfig, view: str, unlabelled: bool, mel_warp: float = 0.0) -> Path:
    """Where the book of a view is. Sets with and without transcripts have entries of more and fewer masked versions.

    Systems whose students are given other voices (``mel_warp``) have a book of their own.
    """
    if view == "clean":
        return Path(cfg.book.directory) / "clean"
    voice = f"_voice{mel_warp:g}" if mel_warp else ""
    return Path(cfg.book.directory) / f"masked{voice}{'_unlabelled' if unlabelled else ''}"


def mel_warp_of(cfg: DictConfig) -> float:
    """Of the students of a system."""
    return cfg.system.mel_warp or cfg.student.augment.mel_warp


@dataclass(frozen=True)
class Plan:
    """One book to make: of a view, for the systems that need it.

    ``augment`` is what the teacher's input goes through, None for the audio as it is; ``unlabelled`` says whether sets
    without transcripts are in it.
    """

    view: str
    augment: SpecAugment | None
    unlabelled: bool

    def sets(self, cfg: DictConfig, tokenizer: Tokenizer) -> Sets:
        """The sets of the book."""
        unlabelled = list(cfg.unlabelled) if self.unlabelled else []
        return Sets.of(Path(cfg.data), [cfg.student.train_set], tokenizer, unlabelled)

    def manifest(self, cfg: DictConfig, tokenizer: Tokenizer, teachers: Sequence[AlignedTeacher]) -> Manifest:
        """What the book says of itself."""
        place = self.directory(cfg)
        there = {one.hash for one in read_manifest(place).teachers} if (place / "manifest.json").is_file() else set()
        return Manifest(
            teachers=teacher_ids(cfg, {one.name: hash_among(one, there) for one in teachers}),
            units=tokenizer.hash,
            classes=len(tokenizer),
            blank=tokenizer.blank,
            frame_shift_ms=cfg.features.frame_shift_ms * Subsampling.factor,
            features=plain(cfg.features),
            temperature=cfg.book.temperature,
            form=FRAMES[cfg.book.form](cfg),
            augmentation=of_specaugment(self.augment) if self.augment else (),
            seeds=self.seeds(cfg, tokenizer) if self.augment else 1,
            regularisation=cfg.book.regularisation,
            rate_rule=cfg.teacher.rate_rule if any(isinstance(one, ExternalTeacher) for one in teachers) else None,
        )

    def seeds(self, cfg: DictConfig, tokenizer: Tokenizer) -> int:
        """How many masked versions of an utterance there are: ``book.seeds``, or about one an epoch of training."""
        if cfg.book.seeds is not None:
            return cfg.book.seeds
        seconds = cfg.student.training.updates * cfg.student.training.max_duration
        return min(MOST_SEEDS, math.ceil(seconds / sum(self.sets(cfg, tokenizer).corpus.seconds().values())))

    def directory(self, cfg: DictConfig) -> Path:
        """Where the book is."""
        return book_directory(cfg, self.view, self.unlabelled, self.augment.mel_warp if self.augment else 0.0)


def plans(systems: Sequence[DictConfig]) -> list[Plan]:
    """The books that the students of ``systems`` (settings, one for each) learn from."""
    found: dict[Path, Plan] = {}
    masked: dict[tuple[str, float], SpecAugment | None] = {}  # of a view and voices, one kind of masks
    for cfg in systems:
        if not taught(cfg) or cfg.system.role != "student":
            continue
        view, augment = view_of(cfg), None
        if view == "student":
            augment = augment_of(plain(cfg.student.augment), cfg.system)
        voice = augment.mel_warp if augment else 0.0
        if augment != masked.setdefault((view, voice), augment):
            raise ConfigError(
                f"system {cfg.system.name} masks its features otherwise than the systems before it, and the teacher's "
                "answers to masked features hold for one kind of masks; use book=live"
            )
        place = book_directory(cfg, view, cfg.system.use_unlabelled, voice)
        before = found.get(place, Plan(view, augment, False))
        found[place] = Plan(view, augment, before.unlabelled or cfg.system.use_unlabelled)
    return list(found.values())


def missing_entries(cfg: DictConfig, plan: Plan, tokenizer: Tokenizer, teachers: Sequence[AlignedTeacher]) -> int:
    """How many entries a book still lacks.

    Raises ConfigError if the book that is there was made with other settings, or of other audio.
    """
    wanted, directory, sets = plan.manifest(cfg, tokenizer, teachers), plan.directory(cfg), plan.sets(cfg, tokenizer)
    entries = [(u, seed) for u in sets.corpus.transcripts for seed in range(wanted.seeds)]
    if not (directory / "manifest.json").is_file():
        return len(entries)
    read_manifest(directory).require_same(wanted, f"the book {directory}", "what is wanted now")
    book = Book.open(directory).require(contents=sets.contents(text=wanted.regularisation > 0))
    return sum(entry not in book for entry in entries)


def make_book(
    cfg: DictConfig, plan: Plan, tokenizer: Tokenizer, teachers: Sequence[AlignedTeacher], shard: int, shards: int
) -> None:
    """Write a book, or this process' share of it: an entry an utterance, or one a seed if features are masked."""
    sets, manifest = plan.sets(cfg, tokenizer), plan.manifest(cfg, tokenizer, teachers)
    if plan.augment:
        teacher = live_teacher(cfg, manifest.temperature).to(device_of(cfg))
        asked = AskedMasked(teacher, sets, manifest, plan.augment)
    else:
        asked = AskedClean(teachers, sets, manifest)
    directory = plan.directory(cfg)
    made = write_book(
        directory,
        manifest,
        sets.corpus.transcripts,
        asked,
        contents=sets.contents(text=manifest.regularisation > 0),
        shard=shard,
        shards=shards,
        label=directory.name,
    )
    print(f"{directory}: {made} entries written; {len(sets.corpus)} utterances, {manifest.seeds} entries each, in all")
    for one in teachers:
        if getattr(one, "lost", 0):
            print(f"{one.name}: {one.lost} units of its transcripts share a frame of the student's clock and were lost")


@dataclass(frozen=True)
class AskedMasked:
    """Asks the teacher for entries of masked features. Seeds of an utterance are a batch: always the same ones."""

    teacher: torch.nn.Module
    sets: Sets
    manifest: Manifest
    augment: SpecAugment

    def __call__(self, missing: list[tuple[str, int]]) -> Iterator[TeacherOutput]:
        """The entries (utterance, seed) that are missing."""
        for utterance, entries in groupby(missing, key=lambda entry: entry[0]):
            wanted, log_probs = {seed for _, seed in entries}, self.log_probs(utterance)
            path = path_of(utterance, log_probs, self.sets, self.manifest)
            for seed in wanted:
                yield TeacherOutput(utterance, log_probs[seed], seed=seed, targets=None if path is None else path[seed])

    @torch.no_grad()
    def log_probs(self, utterance: str) -> Tensor:
        """(K, T', C) log-probabilities of seeds 0 … K − 1."""
        seeds = range(self.manifest.seeds)
        return torch.cat([self.of_seeds(utterance, seeds[k : k + AT_ONCE]) for k in seeds[::AT_ONCE]])

    def of_seeds(self, utterance: str, seeds: range) -> Tensor:
        """(K, T', C) of some seeds."""
        count, device = len(seeds), self.teacher.fill.device
        features = self.sets.corpus.store[utterance].to(device).expand(count, -1, -1)  # (K, T, F)
        lengths = torch.full((count,), features.shape[1], device=device)
        draws = self.augment.replay([utterance] * count, seeds, device)
        features = self.augment.warp_time(features, lengths, draws)
        features = self.augment.warp_voice(features, draws)
        features = torch.where(self.augment.hidden(features, lengths, draws), self.teacher.fill, features)
        logits, lengths = self.teacher.logits(features, lengths)
        return (logits[:, : int(lengths[0])].float() / self.manifest.temperature).log_softmax(-1).cpu()


@dataclass(frozen=True)
class AskedClean:
    """Asks teachers, trained here or elsewhere, for entries of the audio as it is, and averages what they say."""

    teachers: Sequence[AlignedTeacher]
    sets: Sets
    manifest: Manifest

    def __call__(self, missing: list[tuple[str, int]]) -> Iterator[TeacherOutput]:
        """The entries (utterance, 0) that are missing."""
        ids = [utterance for utterance, _ in missing]
        weights = [one.weight for one in self.manifest.teachers]
        temperature = self.manifest.temperature
        spoken = zip(*(teacher.log_probs(self.sets, ids, temperature) for teacher in self.teachers), strict=True)
        for utterance, answers in zip(ids, spoken, strict=True):
            log_probs = mix(answers, weights).float() if len(answers) > 1 else answers[0]
            path = path_of(utterance, log_probs[None], self.sets, self.manifest)
            yield TeacherOutput(utterance, log_probs, targets=None if path is None else path[0])


def path_of(utterance: str, log_probs: Tensor, sets: Sets, manifest: Manifest) -> Tensor | None:
    """(K, T') the transcript on the teacher's frames (K, T', C), for a regularised book."""
    if not manifest.regularisation:
        return None
    if sets.corpus.transcripts[utterance] is None:
        raise ConfigError(
            f"book.regularisation mixes transcripts in, but utterance {utterance!r} has none; leave out systems "
            "with use_unlabelled, or set book.regularisation=0"
        )
    targets = torch.tensor(sets.corpus.targets[utterance]).expand(len(log_probs), -1)
    lengths = torch.full((2, len(log_probs)), log_probs.shape[1])
    lengths[1] = targets.shape[1]
    return forced_alignment(log_probs, targets, *lengths)


@dataclass
class BookOutputs:
    """The outputs in a book for the batches of a run: run, update and rank decide which seed is read."""

    book: Book
    tail: str
    views: int  # V
    replayed: bool  # whether the student masks its features as the teacher's were
    seed: int
    rank: int

    def __call__(self, ids: list[str], step: int) -> TeacherOutputs:
        """The entries of an update."""
        seeds = [[0] * len(ids)]
        if self.replayed:
            generator = torch.Generator().manual_seed(hash((self.seed, step, self.rank)) % 2**63)
            seeds = torch.randint(self.book.manifest.seeds, (self.views, len(ids)), generator=generator).tolist()
        tail = self.tail if self.book.manifest.form.name == "top-k" else "spread"
        found = [self.book.collate_whole(ids, of_view, tail=tail) for of_view in seeds]
        made_at = self.book.manifest.temperature
        logits, entropies = made_at * torch.stack([log_probs for log_probs, _, _ in found]), [one for *_, one in found]
        return TeacherOutputs(
            logits.clamp_min(_LEAST),
            found[0][1],
            seeds if self.replayed else None,
            None if entropies[0] is None else torch.stack(entropies),
            made_at,
        )


def book_id(cfg: DictConfig) -> dict[str, Any]:
    """What decides, of a book, what a student learns: for the description of its run."""
    directory = book_directory(cfg, view_of(cfg), cfg.system.use_unlabelled, mel_warp_of(cfg))
    if not (directory / "manifest.json").is_file():
        raise ConfigError(f"{directory}: no book here; let the teacher run by book=live, or {again('book')}")
    manifest = read_manifest(directory)
    teachers = {one.hash: one.weight for one in manifest.teachers}
    named = {"teacher": manifest.teachers[0].hash if len(teachers) == 1 else teachers}
    return named | {"book": manifest.hash, "tail": cfg.book.tail}


def open_book(
    cfg: DictConfig, objective: Objective, tokenizer: Tokenizer, frame_shift_ms: float, utterances: Sequence[str]
) -> Book:
    """The book that a student of these settings reads; one that does not fit is an error that names both sides."""
    view = view_of(cfg)
    masked, directory = view == "student", book_directory(cfg, view, cfg.system.use_unlabelled, mel_warp_of(cfg))
    augment = augment_of(plain(cfg.student.augment), cfg.system)
    wanted = of_specaugment(augment)
    book = Book.open(directory)
    # Teachers from elsewhere are known by name: to hash them would mean to load them.
    known = {one.name: one.hash for one in book.manifest.teachers}
    book.require(
        teachers=[one.hash for one in teacher_ids(cfg, known)],
        units=tokenizer.hash,
        classes=len(tokenizer),
        blank=tokenizer.blank,
        frame_shift_ms=frame_shift_ms,
        features=plain(cfg.features),
        temperature=temperature_of(objective),
        augmentation=wanted,
        rate_rule=None if all_own(cfg) else cfg.teacher.rate_rule,
        utterances=utterances,
        contents=contents_of(student_directories(cfg), text=book.manifest.regularisation > 0) if utterances else {},
    )
    if masked and book.manifest.augmentation != wanted:
        theirs, ours = ("; ".join(map(str, side)) or "no masks" for side in (book.manifest.augmentation, wanted))
        raise ConfigError(
            f"the book {directory} was made with {theirs} and the student is trained with {ours}; what a teacher says "
            "of masked features holds for these masks only: make the book anew, or use book=live"
        )
    if augment.warp and masked and cfg.system.masks == "independent":
        raise ConfigError(
            f"system {cfg.system.name}: passes that are masked independently share one time-warp, but every seed of "
            "the book has its own; set student.augment.warp=0, or use book=live"
        )
    return book


def pages_of(cfg: DictConfig, book: Book, rank: int) -> BookOutputs:
    """What gives the entries of a run's batches."""
    views = cfg.system.passes if cfg.system.masks == "independent" else 1
    masked = view_of(cfg) == "student"
    return BookOutputs(book, cfg.book.tail, views if masked else 1, masked, cfg.seed, rank)
