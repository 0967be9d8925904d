"""Train tiny systems on the tone corpus, in this process or in one that can be killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from omegaconf import DictConfig

from seqkd.cli.settings import parse, parser
from seqkd.config import compose
from seqkd.tasks import task_of
from seqkd.tasks.asr import make_tokens
from seqkd.training.run import train

SETTINGS = [
    "features.sample_rate=8000",
    "features.num_mel_bins=20",
    "tokens.type=word",
    "unlabelled=[extra]",
    "book=live",
    "sets.test=[dev]",
    *(f"{role}.model.{size}" for role in ("teacher", "student") for size in ("width=24", "layers=2", "hidden=32")),
    *(f"{role}.training.{s}" for role in ("teacher", "student") for s in ("updates=12", "validate_every=4")),
    *(f"{role}.training.{s}" for role in ("teacher", "student") for s in ("warmup=2", "max_duration=8")),
    *(f"{role}.augment.warp=5" for role in ("teacher", "student")),
]


def arguments(exp: Path, data: Path, *overrides: str) -> list[str]:
    """Command-line arguments of a tiny run."""
    return ["--exp", str(exp), "--data", str(data), "--nj", "1", *SETTINGS, *overrides]


def settings(exp: Path, data: Path, *overrides: str) -> DictConfig:
    """The composed settings of a tiny run."""
    return compose(parse(parser("test", ""), arguments(exp, data, *overrides)))


def train_here(exp: Path, data: Path, system: str, *overrides: str) -> Path:
    """Train in this process; makes the tokenizer if need be."""
    cfg = settings(exp, data, f"system={system}", *overrides)
    make_tokens(cfg)
    return train(task_of(cfg), cfg)


def train_process(exp: Path, data: Path, system: str, *overrides: str) -> subprocess.Popen[str]:
    """Start training in a process of its own."""
    return start_training(arguments(exp, data, f"system={system}", *overrides))


def start_training(options: list[str]) -> subprocess.Popen[str]:
    """Start ``seqkd train --one`` with these arguments."""
    return subprocess.Popen(
        [sys.executable, "-m", "seqkd.cli.main", "train", "--one", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Tests that themselves run in the background have been told to ignore Ctrl-C, and would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
