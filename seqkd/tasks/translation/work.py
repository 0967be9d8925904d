"""The training of encoder–decoder models on sentence pairs: batches, the model, its teacher.

Letters: P passes, B sentences, L source tokens, S target positions, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
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
from seqkd.settings import build
from seqkd.tasks.translation.settings import MONITOR, TextTraining
from seqkd.training.order import teachers_by_name
from seqkd.training.study import Study
from seqkd.translation import book
from seqkd.translation.batches import IGNORE, TextBatch, encode_pairs, evaluation_text, training_text
from seqkd.translation.decoding import read_written, translate
from seqkd.translation.pairs import filter_pairs, read_pairs


class TextWork:
    """See `seqkd.training.workload.Workload`."""

    monitor = MONITOR

    def __init__(self, study: Study) -> None:
        cfg, role = study.cfg, study.cfg[study.role]
        self.cfg = cfg
        self.tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
        self.settings = build(TextTraining, plain(role.training), f"{study.role}.training")
        teachers = finished_teachers(cfg)
        pairs = {name: read_pairs(Path(cfg.data) / cfg.sets[name]) for name in ("train", "dev")}
        kept, _ = filter_pairs(pairs["train"], max_words=cfg.text.max_words, max_ratio=cfg.text.max_ratio)
        written = read_written(teachers[0] / f"decode_{cfg.sets.train}") if cfg.system.targets == "beam" else None
        self.corpus = encode_pairs(kept, self.tokenizer, max_length=self.settings.max_length, written=written)
        self.dev_corpus = encode_pairs(pairs["dev"], self.tokenizer)
        self.dev_references = {pair.id: pair.target for pair in pairs["dev"]}
        torch.set_num_threads(self.settings.threads)
        torch.manual_seed(cfg.seed)
        self.model = Seq2SeqModel(plain(role.model), len(self.tokenizer))
        self.sources = {}
        if "teacher" in study.objective.sources():
            self.sources["teacher"] = teacher_of(cfg, study, teachers, self.tokenizer)

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
        return Labels(seen.targets, (seen.targets != IGNORE).sum(1), by_position=True)

    def count(self, batch: TextBatch) -> float:
        """Target positions."""
        return int((batch.targets != IGNORE).sum())

    def measure(self, model: Seq2SeqModel, batch: TextBatch) -> dict[str, tuple[float, float]]:
        """Negative log-likelihood of the reference, in nats, and positions."""
        logits = model(batch.source, batch.source_lengths, batch.inputs)
        nll = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")
        return {"dev_nll": (float(nll), self.count(batch))}

    def further(self, model: Seq2SeqModel) -> dict[str, float]:
        """BLEU of greedy translations of dev."""
        from sacrebleu.metrics import BLEU

        found = translate(
            model, self.dev_corpus, beam=1, length_penalty=1.0, max_tokens=self.cfg.decode.max_tokens, what=None
        )
        texts = [self.tokenizer.decode(found[key].tokens) for key in self.dev_references]
        return {"dev_bleu": BLEU(force=True).corpus_score(texts, [list(self.dev_references.values())]).score}

    def save(self, directory: Path) -> None:
        """Write the model directory."""
        save_seq2seq(directory, self.model, self.tokenizer)

    def summary(self) -> dict[str, Any]:
        """Pairs, and those that were too long."""
        return {"pairs": len(self.corpus.sources), "over_long": len(self.corpus.over_long)}


class TextTeacher:
    """A teacher's outputs for a batch: ``logits`` gives (B, S, C) of one, by ``model``."""

    def __init__(self, logits: Callable[[TextBatch], Tensor], model: Seq2SeqModel | None = None) -> None:
        self.logits, self.model = logits, model

    def to(self, device: torch.device) -> None:
        """Bring a live teacher to a device: each process to its own."""
        if self.model is not None:
            self.model.to(device)

    def __call__(self, seen: TextBatch, student: Outputs) -> Outputs:
        """(1, B, S, C)."""
        return Outputs(self.logits(seen)[None], student.lengths)


class TextBook:
    """What the book of one teacher or several, ``entries`` of `seqkd.translation.book.open_book`, has for a batch."""

    def __init__(self, entries: Callable[[TextBatch, Tensor], Outputs]) -> None:
        self.entries = entries

    def __call__(self, seen: TextBatch, student: Outputs) -> Outputs:
        """(1, B, S, C)."""
        return self.entries(seen, student.lengths)


def finished_teachers(cfg: DictConfig) -> list[Path]:
    """The runs that teach the system, if any. Raises ConfigError if one is not finished."""
    directories = []
    for name, seed in teachers_by_name(cfg.system, cfg.seed):
        directory = run_directory(cfg, name, seed)
        if not (directory / "model" / "model.safetensors").is_file():
            raise ConfigError(
                f"{directory}: no finished model here; {cfg.system.name} learns from {name}, train it first"
            )
        directories.append(directory)
    return directories


def teacher_of(
    cfg: DictConfig, study: Study, directories: Sequence[Path], tokenizer: Tokenizer
) -> TextTeacher | TextBook:
    """The book of one teacher or several, or the one beside its student."""
    if cfg.system.knowledge == "book":
        return TextBook(book.open_book(cfg, directories, tokenizer, study.objective))
    (directory,) = directories  # the settings were checked
    model, units = load_seq2seq(directory / "model")
    if units.hash != tokenizer.hash:
        raise DataError(
            f"{directory}/model has other units ({units.hash}) than the student ({tokenizer.hash}); "
            "train both with the same tokens.directory"
        )
    model.requires_grad_(False)
    return TextTeacher(torch.no_grad()(lambda batch: model(batch.source, batch.source_lengths, batch.inputs)), model)
