"""Sentence pairs that a tiny model learns in seconds, and the settings of tiny runs on them."""

from __future__ import annotations

import random
from pathlib import Path

from omegaconf import DictConfig

from seqkd.cli.settings import parse, parser
from seqkd.config import compose
from seqkd.translation.pairs import SentencePair, write_pairs

WORDS = dict(zip("one two three four five six".split(), "eins zwei drei vier fünf sechs".split(), strict=True))  # noqa: SIM905

SETTINGS = [
    *("tokens.type=word", "teacher.model.width=32", "student.model.width=32"),
    *(f"{role}.model.{s}" for role in ("teacher", "student") for s in ("layers=1", "decoder_layers=1", "hidden=32")),
    *(f"{role}.model.{s}" for role in ("teacher", "student") for s in ("heads=2", "dropout=0.1")),
    *(f"{role}.training.{s}" for role in ("teacher", "student") for s in ("updates=12", "validate_every=4")),
    *(f"{role}.training.{s}" for role in ("teacher", "student") for s in ("warmup=2", "max_tokens=100", "lr=0.01")),
]


def make_pairs(data: Path, name: str, count: int, seed: int) -> None:
    """Counting in English and German; ``five`` is at times ``fuenf``, so that nobody can be sure of it."""
    rng = random.Random(seed)
    pairs = []
    for number in range(count):
        words = rng.choices(list(WORDS), k=rng.randint(1, 5))
        target = ["fuenf" if word == "five" and rng.random() < 0.3 else WORDS[word] for word in words]
        pairs.append(SentencePair(f"{name}-{number:04d}", " ".join(words), " ".join(target)))
    write_pairs(data / name, pairs)


def make_corpus(data: Path) -> Path:
    """Train, dev and test."""
    for seed, (name, count) in enumerate({"train": 120, "dev": 20, "test": 20}.items()):
        make_pairs(data, name, count, seed)
    return data


def arguments(exp: Path, data: Path, *overrides: str) -> list[str]:
    """Command-line arguments of a tiny run."""
    return ["--task", "translation", "--exp", str(exp), "--data", str(data), "--nj", "1", *SETTINGS, *overrides]


def settings(exp: Path, data: Path, *overrides: str) -> DictConfig:
    """The composed settings of a tiny run."""
    return compose(parse(parser("test", ""), arguments(exp, data, *overrides)))


def train_here(exp: Path, data: Path, system: str, *overrides: str) -> Path:
    """Train in this process; makes the tokenizer if need be."""
    from seqkd.tasks.translation import TASK, make_tokens
    from seqkd.training.run import train

    cfg = settings(exp, data, f"system={system}", *overrides)
    make_tokens(cfg)
    return train(TASK, cfg)
