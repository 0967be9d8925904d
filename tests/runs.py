"""Train tiny systems on the tone corpus, in this process or in one that can be killed."""

from __future__ import annotations

import os
import signal
import tempfile
from multiprocessing.process import BaseProcess
from pathlib import Path

from omegaconf import DictConfig

from seqkd.cli.jobs import forking, run_forked
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


class Started:
    """``seqkd ARGUMENTS`` in a process of its own."""

    def __init__(self, options: list[str]) -> None:
        handle, name = tempfile.mkstemp(prefix="seqkd-log-")
        os.close(handle)
        self.log = Path(name)
        self.process: BaseProcess = forking().Process(target=interruptible, args=(options, self.log, dict(os.environ)))
        self.process.start()

    def poll(self) -> int | None:
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()

    def send_signal(self, number: int) -> None:
        os.kill(self.process.pid or 0, number)

    def wait(self, timeout: float | None = None) -> str:
        """What it wrote until it ended."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, "it has not ended"
        text = self.log.read_text(encoding="utf-8", errors="replace")
        self.log.unlink()
        return text


def interruptible(options: list[str], log: Path, environment: dict[str, str]) -> None:
    """Tests that themselves run in the background have been told to ignore Ctrl-C, and would pass that on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_forked(options, log, environment)


def train_process(exp: Path, data: Path, system: str, *overrides: str) -> Started:
    """Start training in a process of its own."""
    return start_training(arguments(exp, data, f"system={system}", *overrides))


def start_training(options: list[str]) -> Started:
    """Start ``seqkd train --one`` with these arguments."""
    return Started(["train", "--one", *options])
