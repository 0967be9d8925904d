"""Encoder–decoder training on sentence pairs: what the recipes' commands do for ``egs/*/seq2seq_ls``."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqkd.config import student_runs, system_settings
from seqkd.errors import ConfigError, DataError, SeqkdError
from seqkd.layout import run_directory, teacher_run
from seqkd.stages import again


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
    students = [(system_settings(cfg, system), seed) for system, seed in taught_runs(cfg)]
    if not students:
        print("no system learns from another: there is no book to make")
    for system, seed in alone_runs(cfg):
        mine = [one for one, its_seed in students if teacher_run(one, its_seed) == (system, seed)]
        if any(one.targets == "beam" for one in mine):
            decode(cfg, system, seed, cfg.sets.train)
        if any(one.knowledge == "book" for one in mine):
            from seqkd.teachers import seq2seq_book

            seq2seq_book.make_book(cfg, run_directory(cfg, system, seed))


def alone_runs(cfg: DictConfig) -> list[tuple[str, int]]:
    """Systems that learn from nobody, and the teachers of the others."""
    taught_by = {run: teacher_run(system_settings(cfg, run[0]), run[1]) for run in student_runs(cfg)}
    return list(dict.fromkeys(teacher or run for run, teacher in taught_by.items()))


def taught_runs(cfg: DictConfig) -> list[tuple[str, int]]:
    """Systems that learn from another."""
    return [run for run in student_runs(cfg) if teacher_run(system_settings(cfg, run[0]), run[1])]


def train(cfg: DictConfig) -> None:
    """Train the system and seed of the settings."""
    from seqkd.training import seq2seq_run

    seq2seq_run.train(cfg)


def decode(cfg: DictConfig, system: str, seed: int, name: str) -> None:
    """``decode_<set>/{text,hyp.jsonl,forced.npz}``."""
    from seqkd.translation.decoding import decode_run

    decode_run(cfg, system, seed, name)


def score(cfg: DictConfig, system: str, seed: int, name: str) -> None:
    """``decode_<set>/score.json``: BLEU, chrF, likelihood and calibration, each with its interval."""
    from seqkd.translation.scores import score_decoding

    decoded, reference = run_directory(cfg, system, seed) / f"decode_{name}", Path(cfg.data) / name / "tgt"
    if not (decoded / "hyp.jsonl").is_file():
        raise ConfigError(f"{decoded} has no hyp.jsonl; {again('decode')}")
    written, made = decoded / "score.json", (decoded / "decode.json", reference)
    if written.is_file() and written.stat().st_mtime > max(path.stat().st_mtime for path in made):
        return
    replicates = cfg.report.replicates
    print(f"{system} seed {seed}, {name}\n{score_decoding(reference, decoded, encoder(cfg), replicates=replicates)}")


def report(cfg: DictConfig, systems: Mapping[str, Mapping[str, Any]], command: str) -> None:
    """RESULTS.md and its figures."""
    from seqkd.translation.report import write_translation_report

    write_translation_report(
        Path(cfg.exp),
        Path(cfg.data),
        Path(cfg.report.out),
        encoder(cfg),
        test_sets=list(cfg.sets.test),
        systems=systems,
        title=cfg.title,
        command=command,
        notes=list(cfg.report.notes),
        baseline=cfg.report.baseline,
        replicates=cfg.report.replicates,
    )


def encoder(cfg: DictConfig) -> Callable[[str], list[int]]:
    """What turns a reference into the tokens that models are asked for."""
    from seqkd.data.tokens import Tokenizer

    tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
    return lambda text: tokenizer.encode(text, unknown=True)


def check(cfg: DictConfig) -> None:
    """Raise SeqkdError when a system misses the number its preset says it must reach (report.expect)."""
    metric = cfg.report.expect_metric
    if metric not in EXPECTED:
        raise ConfigError(f"report.expect_metric is {metric!r}; expected one of {', '.join(EXPECTED)}")
    unit, bound, reached = EXPECTED[metric]
    for system, limit in cfg.report.expect.items():
        for name in cfg.sets.test:
            path = run_directory(cfg, system, 0) / f"decode_{name}" / "score.json"
            if not path.is_file():
                raise SeqkdError(f"{path} is missing; {again('score')}")
            value = json.loads(path.read_text(encoding="utf-8"))["scores"][metric]["value"]
            found = f"{value:.2f} {unit}"
            if not reached(value, limit):
                raise SeqkdError(f"{system} has {found} on {name}; this preset must reach {bound} {limit:g}")
            print(f"{system} on {name}: {found}, must be {bound} {limit:g}: reached")


# What report.expect can be about: its unit, the side of the limit to be on, and whether a value is.
EXPECTED = {
    "bleu": ("BLEU", "at least", operator.ge),
    "chrf": ("chrF", "at least", operator.ge),
    "nll": ("nats a token", "at most", operator.le),
}
PREPARE = {"pairs": check_pairs, "tokens": make_tokens}
GROUPS = {"teachers": (alone_runs,), "students": (taught_runs,)}
