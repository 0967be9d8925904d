"""The training of speech recognisers: batches of utterances, masks, the model, its teacher.

Letters: P passes, V views (P if each pass has masks of its own, else 1), B utterances, T feature frames, T' encoder
frames, F feature bins, C classes, S units.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rapidfuzz.distance import Levenshtein
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from seqkd.data.batches import Batch, Corpus, Knowledge, evaluation_batches, load_corpus, training_batches
from seqkd.data.features import FeatureSettings
from seqkd.data.sampling import StepSampler
from seqkd.data.specaugment import augment_of
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.greedy import greedy_decode
from seqkd.errors import ConfigError
from seqkd.files import write_text
from seqkd.layout import plain, trained_teacher
from seqkd.losses import BestPath, FrameKd, Hypotheses, Labels, NBest, Objective, Outputs
from seqkd.models.ctc import CtcModel, save_model
from seqkd.models.storage import read_weights
from seqkd.settings import build
from seqkd.tasks.asr.settings import MONITOR, SpeechTraining, training_of
from seqkd.tasks.settings import unlabelled_sets
from seqkd.teachers import CheckpointTeacher, Teacher, align_frames, check_compatible
from seqkd.teachers.ctc_book import open_book, pages_of, reads, temperature_of
from seqkd.teachers.own import live_teacher
from seqkd.teachers.transcript_targets import learns_sequences, targets_of
from seqkd.training.study import Study
from seqkd.translation.batches import bounded

log = logging.getLogger("seqkd")


@dataclass
class Seen:
    """A batch with its masks: ``features`` (1 or V, B, T, F), warped in time and maybe of another voice in each view,
    and what each view of them hides, (V, B, T, F).
    """

    batch: Batch
    features: Tensor
    hidden: Tensor


class SpeechWork:
    """See `seqkd.training.workload.Workload`."""

    monitor = MONITOR

    def __init__(self, study: Study, start: Path | None = None) -> None:
        """``start`` is the model directory whose weights the model begins with; None for new ones."""
        cfg, objective = study.cfg, study.objective
        role = cfg[study.role]
        self.cfg, self.directory = cfg, study.directory
        self.tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
        self.settings = build(SpeechTraining, training_of(cfg, study.role), f"{study.role}.training")
        unlabelled = unlabelled_sets(cfg)
        self.corpus = load_corpus(Path(cfg.data), [role.train_set], self.tokenizer, unlabelled)
        if not cfg.system.references:
            self.corpus = self.corpus.without_transcripts()
        self.dev_corpus = load_corpus(Path(cfg.data), [cfg.sets.dev], self.tokenizer)
        self.augment = augment_of(plain(role.augment), cfg.system)
        self.own_masks = cfg.system.passes if cfg.system.masks == "independent" else 1  # V
        torch.set_num_threads(self.settings.threads)
        torch.manual_seed(cfg.seed)
        self.model = new_model(cfg, study.role, objective, self.tokenizer, self.corpus)
        if start is not None:
            read_weights(start, self.model)
        self.knowledge = stored_outputs(cfg, objective, self.model, self.corpus, self.tokenizer)
        self.sources = {}
        if "teacher" in objective.sources():
            teacher = load_teacher(cfg, objective, self.model, self.tokenizer)
            layers, clean = objective.layers("teacher"), cfg.system.teacher_view == "clean"
            self.sources["teacher"] = SpeechTeacher(teacher, clean=clean, layers=layers)

    def training(self, start: int, rank: int, world: int) -> DataLoader:
        """Batches of the training set, with what is stored of their teachers."""
        if rank == 0:
            report_dropped(self.directory, self.corpus)
        sampler = StepSampler(
            self.corpus.seconds(),
            updates=self.settings.updates,
            max_size=self.settings.max_duration / world,
            seed=self.cfg.seed,
            start=start,
            rank=rank,
            world=world,
        )
        return training_batches(self.corpus, sampler, self.settings.workers, self.knowledge(rank))

    def dev(self, rank: int, world: int) -> DataLoader:
        """Batches of dev."""
        return evaluation_batches(self.dev_corpus, self.cfg.decode.max_duration, rank, world)

    def views(self, batch: Batch) -> Seen:
        """Masks as a book replays them, or new ones."""
        features, lengths = batch.features, batch.feature_lengths
        if batch.teacher_outputs is not None and batch.teacher_outputs.seeds is not None:
            draws = [self.augment.replay(batch.ids, seeds, features.device) for seeds in batch.teacher_outputs.seeds]
        else:
            draws = [self.augment.draw(len(batch.ids), features.device) for _ in range(self.own_masks)]
        features = self.augment.warp_time(features, lengths, draws[0])
        voices = draws if self.augment.mel_warp else draws[:1]  # else all are this one
        features = torch.stack([self.augment.warp_voice(features, drawn) for drawn in voices])
        return Seen(batch, features, torch.stack([self.augment.hidden(features[0], lengths, drawn) for drawn in draws]))

    def outputs(self, model: CtcModel, seen: Seen, layers: Collection[str] = (), passes: int = 1) -> Outputs:
        """One pass a view; a mask hides with the mean of the features."""
        views = torch.where(seen.hidden[:passes], model.feature_mean, seen.features[:passes]).expand(passes, -1, -1, -1)
        lengths = seen.batch.feature_lengths.repeat(passes)
        output = model(views.flatten(0, 1), lengths, [name for name in layers if name != "attention"])
        lengths = output.lengths[: len(seen.batch.ids)]
        by_pass = {name: one.unflatten(0, (passes, -1)) for name, one in output.layers.items()}
        found = {name: Outputs(one, lengths) if name.isdecimal() else one for name, one in by_pass.items()}
        if "attention" in layers:
            inputs, targets = bounded(seen.batch.targets, seen.batch.target_lengths, seen.batch.labelled)
            attended = model.attend(output, inputs.repeat(passes, 1)).unflatten(0, (passes, -1))
            positions = torch.where(seen.batch.labelled, seen.batch.target_lengths + 1, 0)
            found["attention"] = Outputs(attended, positions, labels=Labels(targets, positions))
        logits = output.logits.unflatten(0, (passes, -1))
        return Outputs(logits, lengths, found, hidden=masked_share(seen.hidden, logits.shape[2], passes))

    def labels(self, seen: Seen) -> Labels:
        """Transcripts."""
        batch = seen.batch
        return Labels(batch.targets, batch.target_lengths, batch.labelled, self.tokenizer.blank)

    def count(self, batch: Batch) -> float:
        """Utterances."""
        return len(batch.ids)

    def measure(self, model: CtcModel, batch: Batch) -> dict[str, tuple[float, float]]:
        """Word errors of greedy decoding, and words."""
        errors = words = 0
        output = model(batch.features, batch.feature_lengths)
        for name, ids in zip(batch.ids, greedy_decode(output.logits, output.lengths), strict=True):
            reference = self.dev_corpus.transcripts[name].split()
            errors += Levenshtein.distance(reference, self.tokenizer.decode(ids).split())
            words += len(reference)
        return {"dev_wer": (errors, words)}

    def save(self, directory: Path) -> None:
        """Write the model directory."""
        save_model(directory, self.model, self.tokenizer)

    def summary(self) -> dict[str, Any]:
        """Audio, and what was left out."""
        source = self.sources.get("teacher")
        return {
            "labelled_hours": round(self.corpus.hours(labelled=True), 3),
            "unlabelled_hours": round(self.corpus.hours(labelled=False), 3),
            "dropped": len(self.corpus.dropped),
            "teacher_off_by_one": source.counts["off_by_one"] if source else 0,
        }


class SpeechTeacher:
    """A teacher's outputs for what the student was given, on the student's frames: live, from a book, or transcripts.

    Args:
        teacher: that runs beside its student; None for stored outputs.
        clean: whether it is given unmasked features.
        layers: inner layers of the teacher that are wanted.

    Attributes:
        counts: ``off_by_one``, utterances whose teacher had one frame more or less.

    Raises:
        ConfigError: inner layers of a teacher that gives none: a book, or several teachers as one.
    """

    def __init__(self, teacher: Teacher | None, *, clean: bool, layers: Collection[str] = ()) -> None:
        self.teacher, self.clean, self.layers, self.counts = teacher, clean, sorted(layers), {"off_by_one": 0}
        if layers and not isinstance(teacher, CheckpointTeacher):
            raise ConfigError(
                f"terms of system.objective look at the teacher's layers {', '.join(self.layers)}, but only one "
                "teacher that runs beside its student gives them; set book=live and teacher.seeds=1"
            )

    def to(self, device: torch.device) -> None:
        """Bring a live teacher to a device."""
        if isinstance(self.teacher, torch.nn.Module):
            self.teacher.to(device)

    def __call__(self, seen: Seen, student: Outputs) -> Outputs | Hypotheses:
        """(1, B, T', C), or (V, B, T', C) if each pass had its own masks."""
        batch, frames, layers = seen.batch, student.logits.shape[2], {}
        if batch.hypotheses is not None:
            return batch.hypotheses
        if batch.teacher_outputs is not None:
            logits, lengths = batch.teacher_outputs.logits, batch.teacher_outputs.lengths  # (V, B, T', C), (B,)
        else:
            given = seen.features if self.clean else torch.where(seen.hidden, self.teacher.fill, seen.features)
            input_lengths = batch.feature_lengths.repeat(len(given))  # given: (V, B, T, F)
            if self.layers:
                output = self.teacher.outputs(given.flatten(0, 1), input_lengths, self.layers)
                layers = {name: one.unflatten(0, (len(given), -1)) for name, one in output.layers.items()}
                logits, lengths = output.logits, output.lengths
            else:
                logits, lengths = self.teacher.logits(given.flatten(0, 1), input_lengths)
            logits, lengths = logits.unflatten(0, (len(given), -1)), lengths[: len(batch.ids)]
        aligned, off = self.aligned(logits, lengths, frames, student.lengths)
        self.counts["off_by_one"] += off
        found = {}
        for name, one in layers.items():
            one, _ = self.aligned(one, lengths, frames, student.lengths)
            found[name] = Outputs(one, student.lengths) if name.isdecimal() else one
        stored, known = batch.teacher_outputs, {}
        if stored is not None and stored.entropy is not None:
            entropy, _ = self.aligned(stored.entropy[..., None], lengths, frames, student.lengths)
            known = {"entropy": entropy[..., 0], "entropy_temperature": stored.temperature}
        return Outputs(aligned, student.lengths, found, **known)

    def aligned(self, values: Tensor, lengths: Tensor, frames: int, own: Tensor) -> tuple[Tensor, int]:
        """(V, B, T', ...) on the student's ``frames``, lengths (B,); and how many utterances were off by one."""
        views = len(values)
        values, off = align_frames(values.flatten(0, 1), lengths.repeat(views), frames, own.repeat(views))
        return values.unflatten(0, (views, -1)), off


def masked_share(hidden: Tensor, frames: int, passes: int) -> Tensor | None:
    """(P, B, T') of ``hidden`` (V, B, T, F): how much is masked of the features of an encoder frame.

    None unless each pass has masks of its own: passes that are masked alike do not differ.
    """
    if passes < 2 or len(hidden) != passes:
        return None
    share = hidden.float().mean(-1)  # (V, B, T)
    return functional.avg_pool1d(share, -(-share.shape[-1] // frames), ceil_mode=True)


def new_model(cfg: DictConfig, role: str, objective: Objective, tokenizer: Tokenizer, corpus: Corpus) -> CtcModel:
    """A model with its first weights, and the statistics of the training set."""
    architecture = plain(cfg[role].model)
    if "attention" in objective.layers():
        architecture["decoder_layers"] = cfg.system.attention_layers
    model = CtcModel(architecture, FeatureSettings(**cfg.features), len(tokenizer))
    mean, scale = corpus.store.normalisation()
    model.feature_mean.copy_(mean)
    model.feature_scale.copy_(scale)
    return model


def stored_outputs(
    cfg: DictConfig, objective: Objective, model: CtcModel, corpus: Corpus, tokenizer: Tokenizer
) -> Callable[[int], Knowledge | None]:
    """What the stage "book" wrote of the training set, for the process of a rank; None if it is not read.

    Where it wrote transcripts, `on_transcripts` has changed the objective accordingly.
    """
    if not reads(cfg, objective):
        return lambda rank: None
    if learns_sequences(cfg):
        on_transcripts(cfg, objective)
        targets = targets_of(cfg, corpus, tokenizer)
        return lambda rank: targets
    book = open_book(cfg, objective, tokenizer, model.frame_shift_ms, corpus.transcripts)
    return partial(pages_of, cfg, book)


def on_transcripts(cfg: DictConfig, objective: Objective) -> None:
    """Let the terms that look at a teacher's frames look at its transcripts. ConfigError for those that cannot."""
    for name, term in objective.items():
        if term.source != "teacher" or isinstance(term, NBest):
            continue
        if not isinstance(term, (FrameKd, BestPath)):
            raise ConfigError(
                f"system {cfg.system.name} learns frame by frame (term {name}: {type(term).__name__}), but all "
                "that there is of the teacher are its transcripts; choose kd, cons_kd or best_path"
            )
        weight = term.weight if isinstance(term.weight, float) else [list(point) for point in term.weight]
        objective[name] = NBest(weight=weight, layer=term.layer)


def load_teacher(cfg: DictConfig, objective: Objective, student: CtcModel, tokenizer: Tokenizer) -> Teacher | None:
    """Load the teacher, if it is to run beside the student, and check that both have the same units and frames."""
    if reads(cfg, objective):
        return None
    if cfg.system.role == "teacher":  # one of several, guided by the first
        teacher = CheckpointTeacher.from_directory(trained_teacher(cfg))
    else:
        teacher = live_teacher(cfg, temperature_of(objective))
    check_compatible(
        teacher,
        classes=student.classes,
        frame_shift_ms=student.frame_shift_ms,
        tokenizer_hash=tokenizer.hash,
        features=student.features,
    )
    return teacher


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
