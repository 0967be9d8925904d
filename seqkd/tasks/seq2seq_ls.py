"""Encoder–decoder training on sentence pairs: what the recipes' commands do for ``egs/*/seq2seq_ls``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqkd.cli.settings import CONF, student_runs
from seqkd.errors import DataError
from seqkd.experiment import scores
from seqkd.layout import run_directory, teacher_run
from seqkd.tasks.translation_scores import TranslationScores


def check_pairs(cfg: DictConfig) -> None:
    """Validate the sets, and say what training leaves out."""
    from seqkd.translation import pairs as text

    for name in dict.fromkeys([cfg.sets.train, cfg.sets.dev, *cfg.sets.test]):
        pairs = text.read_pairs(Path(cfg.data) / name)
        kept, dropped = text.filter_pairs(pairs, max_words=cfg.text.max_words, max_ratio=cfg.text.max_ratio)
        if not kept:
            raise DataError(
                f"{Path(cfg.data) / name}: none of its {len(pairs)} pairs is usable ({dropped}); raise text.max_words "
                f"({cfg.text.max_words}) or text.max_ratio ({cfg.text.max_ratio}), or look into src and tgt"
            )
        left_out = f"; training leaves out {dropped}" if name == cfg.sets.train else ""
        print(f"{name}: {len(pairs)} pairs, {sum(pair.words[1] for pair in pairs)} target words{left_out}")


def make_tokens(cfg: DictConfig) -> None:
    """Train one tokenizer for both sides, or leave it alone if its text and settings are unchanged."""
    from seqkd.data.tokens import Tokenizer, train_tokenizer
    from seqkd.translation.pairs import read_pairs

    directory = Path(cfg.tokens.directory)
    lines = [text for pair in read_pairs(Path(cfg.data) / cfg.sets.train) for text in (pair.source, pair.target)]
    tokenizer = train_tokenizer(
        lines, type=cfg.tokens.type, vocab_size=cfg.tokens.vocab_size, special="<boundary>", normalization="identity"
    )
    if not (directory / "tokenizer.json").is_file() or Tokenizer.load(directory).hash != tokenizer.hash:
        tokenizer.save(directory)
    print(f"{len(tokenizer)} {cfg.tokens.type} units from {len(lines)} lines of {cfg.sets.train}")


def make_book(cfg: DictConfig, systems: Sequence[DictConfig], shard: int, shards: int) -> None:
    """What teachers know of the training set, for the systems that ask for it: distributions, or written targets.

    A book lies in its teacher's run, and goes with it. One process: the pages of so little text are soon written.
    """
    students = [(about(cfg, system), seed) for system, seed in taught_runs(cfg)]
    if not students:
        print("no system learns from another: there is no book to make")
    for system, seed in alone_runs(cfg):
        mine = [one for one, its_seed in students if teacher_run(one, its_seed) == (system, seed)]
        if any(one.targets == "beam" for one in mine):
            decode(cfg, system, seed, cfg.sets.train)
        if any(one.knowledge == "book" for one in mine):
            from seqkd.teachers import seq2seq_book

            seq2seq_book.make_book(cfg, run_directory(cfg, system, seed))


def about(cfg: DictConfig, system: str) -> DictConfig:
    """What the file of a system says, on top of those that it builds on."""
    file = OmegaConf.load(CONF / cfg.task / "system" / f"{system}.yaml")
    bases = [about(cfg, base) for base in file.pop("defaults", []) if base != "_self_"]
    return OmegaConf.merge(*bases, file)


def alone_runs(cfg: DictConfig) -> list[tuple[str, int]]:
    """Systems that learn from nobody, and the teachers of the others."""
    taught_by = {run: teacher_run(about(cfg, run[0]), run[1]) for run in student_runs(cfg)}
    return list(dict.fromkeys(teacher or run for run, teacher in taught_by.items()))


def taught_runs(cfg: DictConfig) -> list[tuple[str, int]]:
    """Systems that learn from another."""
    return [run for run in student_runs(cfg) if teacher_run(about(cfg, run[0]), run[1])]


def train(cfg: DictConfig) -> None:
    """Train the system and seed of the settings."""
    from seqkd.training import seq2seq_run

    seq2seq_run.train(cfg)


def decode(cfg: DictConfig, system: str, seed: int, name: str) -> None:
    """``decode_<set>/{text,hyp.jsonl,forced.npz}``."""
    from seqkd.translation.decoding import decode_run

    decode_run(cfg, system, seed, name)


def score(cfg: DictConfig, system: str, seed: int, name: str) -> None:
    """``decode_<set>/score.json`` and ``counts.npz``: BLEU, chrF, likelihood and calibration."""
    scores.score(TranslationScores(), cfg, system, seed, name)


def report(cfg: DictConfig, systems: Mapping[str, Mapping[str, Any]], command: str) -> None:
    """RESULTS.md and its figures."""
    from seqkd.experiment.report import write_report

    write_report(TranslationScores(), cfg, systems, command)


def check(cfg: DictConfig, chosen: Sequence[str]) -> None:
    """Raise SeqkdError when a system misses a number that its preset promises (report.expect)."""
    from seqkd.experiment import check

    check.check(TranslationScores(), cfg, chosen)


PREPARE = {"pairs": check_pairs, "tokens": make_tokens}
GROUPS = {"alone": alone_runs, "taught": taught_runs}
