"""Options that every recipe command shares. How they become one configuration: `seqkd.config.compose`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from seqkd.cli.jobs import on_slurm

# These lived here; programs of users may still import them from here until the next release.
from seqkd.config import CONF as CONF
from seqkd.config import TASKS, task_name
from seqkd.config import compose as compose
from seqkd.config import shared_overrides as shared_overrides
from seqkd.config import student_runs as student_runs
from seqkd.config import system_overrides as system_overrides
from seqkd.errors import ConfigError


def parser(command: str, description: str, tasks: tuple[str, ...] = TASKS) -> argparse.ArgumentParser:
    """Build a parser with the options that all recipe commands share; ``tasks`` are those that the command serves."""
    made = argparse.ArgumentParser(prog=f"seqkd {command}", description=description)
    made.add_argument("--task", type=task_name, choices=tasks, default="asr", help="kind of recipe (default: asr)")
    made.add_argument("--conf", type=Path, help="a recipe's conf directory, with preset/*.yaml")
    made.add_argument("--preset", help="a preset of that directory: smoke, default, study, full")
    made.add_argument("--exp", type=Path, default=Path("exp"), help="experiment directory (default: exp)")
    made.add_argument("--data", type=Path, default=Path("data"), help="the sets' directories (default: data)")
    made.add_argument("--nj", type=int, default=os.cpu_count() or 1, help="parallel jobs (default: all cores)")
    made.add_argument("--ngpu", type=int, default=0, help="GPUs a training run uses (default: 0, the CPU)")
    return made


def parse(made: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """Parse ``key=value`` settings too, and refuse other positional arguments."""
    made.add_argument("overrides", nargs="*", metavar="key=value", help="any setting of seqkd/conf/<task>/config.yaml")
    args = made.parse_intermixed_args(argv)
    for override in args.overrides:
        if "=" not in override:
            made.error(f"{override!r} is neither an option nor a key=value setting")
    if args.nj < 1 or args.ngpu < 0:
        made.error("--nj must be at least 1 and --ngpu at least 0")
    if args.ngpu and not on_slurm():  # the GPUs are those of other machines then
        check_gpus(args.ngpu)
    from seqkd.progress import log_to_terminal

    log_to_terminal()
    return args


def add_shards(made: argparse.ArgumentParser, what: str) -> None:
    """Add ``--shard I --shards N``: do only a share of ``what``."""
    made.add_argument("--shard", type=int, metavar="I", help=f"{what} only this share of all, from 0")
    made.add_argument("--shards", type=int, metavar="N", help="of how many")


def check_shards(args: argparse.Namespace) -> None:
    """Raise ConfigError unless both options of ``add_shards`` are there, or neither."""
    if (args.shard is None) != (args.shards is None) or (args.shards and not 0 <= args.shard < args.shards):
        raise ConfigError("--shard I and --shards N go together, with I from 0 to N - 1")


def check_gpus(wanted: int) -> None:
    """Raise ConfigError when this machine has fewer GPUs than ``wanted``."""
    import torch

    found = torch.cuda.device_count()
    if found < wanted:
        raise ConfigError(
            f"--ngpu is {wanted}, but torch can use {found} GPUs here; leave it out to use the CPU, "
            "or see what 'seqkd doctor' says"
        )
