"""The training of encoder–decoder models on sentence pairs: batches, the model, its teacher.

Letters: P passes, B sentences, L source tokens, S target positions, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from seqkd.data.sampling import StepSampler
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.layout import plain, run_directory
from seqkd.losses import Labels, Outputs
from seqkd.models.seq2seq import Seq2SeqModel, load_seq2seq, save_seq2seq
from seqkd.settings import at_least, build, more_than
from seqkd.teachers import seq2seq_book
from seqkd.training.order import teachers_by_name
from seqkd.training.settings import TrainingSettings
from seqkd.training.study import Study
from seqkd.training.workload import Monitor
from seqkd.translation.batches import IGNORE, TextBatch, encode_pairs, evaluation_text, training_text
from seqkd.translation.decoding import read_written
from seqkd.translation.pairs import filter_pairs, read_pairs


@dataclass(frozen=True, kw_only=True)
class TextTraining(TrainingSettings):
    """Of an encoder–decoder model.

    Attributes:
        max_tokens: of a batch, over all processes; a pair counts its longer side.
        max_length: tokens of either side; training pairs with more are left out.
    """

    max_tokens: float
    max_length: int

    def __post_init__(self) -> None:
        super().__post_init__()
        more_than(0, max_tokens=self.max_tokens)
        at_least(1, max_length=self.max_length)


class TextWork:
    """See `seqkd.training.workload.Workload`."""

    monitor = Monitor("dev_nll", lambda nll: f"dev NLL {nll:.3f} nats a token")

    def __init__(self, study: Study) -> None:
        cfg, role = study.cfg, study.cfg[study.role]
        self.cfg = cfg
        self.tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
        self.settings = build(TextTraining, plain(role.training), f"{study.role}.training")
        teacher = finished_teacher(cfg)
        pairs = {name: read_pairs(Path(cfg.data) / cfg.sets[name]) for name in ("train", "dev")}
        kept, _ = filter_pairs(pairs["train"], max_words=cfg.text.max_words, max_ratio=cfg.text.max_ratio)
        written = read_written(teacher / f"decode_{cfg.sets.train}") if cfg.system.targets == "beam" else None
        self.corpus = encode_pairs(kept, self.tokenizer, max_length=self.settings.max_length, written=written)
        self.dev_corpus = encode_pairs(pairs["dev"], self.tokenizer)
        torch.set_num_threads(self.settings.threads)
        torch.manual_seed(cfg.seed)
        self.model = Seq2SeqModel(plain(role.model), len(self.tokenizer))
        self.sources = {}
        if "teacher" in study.objective.sources():
            self.sources["teacher"] = teacher_of(cfg, study, teacher, self.tokenizer)

    def training(self, start: int, rank: int, world: int) -> DataLoader:
        """Batches of the training set."""
        sampler = StepSampler(
            self.corpus.sizes(),
            updates=self.settings.updates,
            max_size=self.settings.max_tokens / world,
            limit="training.max_tokens",
            seed=self.cfg.seed,
            start=start,
            rank=rank,
            world=world,
        )
        return training_text(self.corpus, sampler, self.settings.workers)

    def dev(self, rank: int, world: int) -> DataLoader:
        """Batches of dev."""
        return evaluation_text(self.dev_corpus, self.cfg.decode.max_tokens, rank, world)

    def views(self, batch: TextBatch) -> TextBatch:
        """The batch as it is: passes differ by dropout alone."""
        return batch

    def outputs(self, model: Seq2SeqModel, seen: TextBatch, layers: Collection[str] = (), passes: int = 1) -> Outputs:
        """Logits of every position, given the reference up to there."""
        if layers:
            raise ConfigError(f"layer is {next(iter(layers))!r}; these models give output alone")
        logits = torch.stack([model(seen.source, seen.source_lengths, seen.inputs) for _ in range(passes)])
        return Outputs(logits, (seen.targets != IGNORE).sum(1))  # (P, B, S, C)

    def labels(self, seen: TextBatch) -> Labels:
        """The next token at every position."""
        return Labels(seen.targets, (seen.targets != IGNORE).sum(1))

    def count(self, batch: TextBatch) -> float:
        """Target positions."""
        return int((batch.targets != IGNORE).sum())

    def measure(self, model: Seq2SeqModel, batch: TextBatch) -> dict[str, tuple[float, float]]:
        """Negative log-likelihood of the reference, in nats, and positions."""
        logits = model(batch.source, batch.source_lengths, batch.inputs)
        nll = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")
        return {"dev_nll": (float(nll), self.count(batch))}

    def save(self, directory: Path) -> None:
        """Write the model directory."""
        save_seq2seq(directory, self.model, self.tokenizer)

    def summary(self) -> dict[str, Any]:
        """Pairs, and those that were too long."""
        return {"pairs": len(self.corpus.sources), "over_long": len(self.corpus.over_long)}


class TeacherOutputs:
    """A teacher's outputs for a batch: ``logits`` gives (B, S, C) of one, by ``model`` or from its book."""

    def __init__(self, logits: Callable[[TextBatch], Tensor], model: Seq2SeqModel | None = None) -> None:
        self.logits, self.model = logits, model

    def to(self, device: torch.device) -> None:
        """Bring a live teacher to a device: each process to its own."""
        if self.model is not None:
            self.model.to(device)

    def __call__(self, seen: TextBatch, student: Outputs) -> Outputs:
        """(1, B, S, C)."""
        return Outputs(self.logits(seen)[None], student.lengths)


def check_system(cfg: DictConfig, *, taught: bool) -> None:
    """Raise ConfigError when a system's parts do not go together; ``taught`` says if a term looks at a teacher."""
    system = cfg.system
    choices = {"targets": ("reference", "beam"), "knowledge": ("live", "book")}
    for name, allowed in choices.items():
        if system[name] not in allowed:
            raise ConfigError(f"setting system.{name} is {system[name]!r}; expected one of {', '.join(allowed)}")
    if (taught or system.targets == "beam") and not system.teacher:
        raise ConfigError(f"system {system.name} learns from a teacher, but system.teacher names no system to be it")
    if taught and system.knowledge == "book" and system.targets == "beam":
        raise ConfigError(f"system {system.name}: the book is of the references, but system.targets is beam; use live")


def finished_teacher(cfg: DictConfig) -> Path | None:
    """The run that teaches the system, if any. Raises ConfigError if it is not finished."""
    runs = teachers_by_name(cfg.system, cfg.seed)
    if not runs:
        return None
    directory = run_directory(cfg, *runs[0])
    if not (directory / "model" / "model.safetensors").is_file():
        raise ConfigError(
            f"{directory}: no finished model here; {cfg.system.name} learns from {cfg.system.teacher}, train it first"
        )
    return directory


def teacher_of(cfg: DictConfig, study: Study, directory: Path, tokenizer: Tokenizer) -> TeacherOutputs:
    """The teacher beside its student, or its book."""
    if cfg.system.knowledge == "book":
        return TeacherOutputs(seq2seq_book.open_book(cfg, directory, tokenizer, study.objective))
    model, units = load_seq2seq(directory / "model")
    if units.hash != tokenizer.hash:
        raise DataError(
            f"{directory}/model has other units ({units.hash}) than the student ({tokenizer.hash}); "
            "train both with the same tokens.directory"
        )
    model.requires_grad_(False)
    return TeacherOutputs(torch.no_grad()(lambda batch: model(batch.source, batch.source_lengths, batch.inputs)), model)
