"""``seqkd decode``: hypotheses of every trained model for every test set."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.cli.jobs import at_once, on_slurm, run_shards
from seqkd.cli.settings import add_shards, check_shards, parse, parser
from seqkd.config import compose, system_settings
from seqkd.layout import run_directory
from seqkd.processes import Needs

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(argv: list[str]) -> int:
    """Entry point. On a GPU one model decodes at a time, on the CPU ``--nj`` do; under Slurm each is a job."""
    made = parser("decode", "Decode the test sets with every trained system.")
    add_shards(made, "decode")
    args = parse(made, argv)
    check_shards(args)
    cfg = compose(args)
    from seqkd.parallel import in_parallel
    from seqkd.tasks import task_of
    from seqkd.training.order import all_runs

    runs = all_runs(task_of(cfg), cfg, partial(system_settings, cfg))
    jobs = [(cfg, run_directory(cfg, *run), name) for run in runs for name in cfg.sets.test]
    if args.shards:
        jobs = jobs[args.shard :: args.shards]
    elif on_slurm():
        shares = min(len(jobs), at_once(cfg.nj))
        run_shards(["decode"], [*argv, "--nj", "1"], shares, Path(cfg.exp) / "logs", Needs(ngpu=min(1, cfg.ngpu)))
        return 0
    for _ in in_parallel(decode_one, jobs, 1 if cfg.ngpu else cfg.nj, "decoding", "set"):
        pass
    return 0


def decode_one(job: tuple[DictConfig, Path, str]) -> None:
    """Decode one test set with one model, on one thread."""
    import torch

    from seqkd.tasks import task_of

    cfg, run, name = job
    torch.set_num_threads(1)
    task_of(cfg).decode(cfg, run, name)
