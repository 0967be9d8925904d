"""``seqkd train``: all systems of a recipe, or with ``--one`` the single run that system= and seed= name."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from seqkd.cli.job import Job
from seqkd.cli.jobs import at_once, on_slurm, run_jobs
from seqkd.cli.settings import check_gpus, parse, parser
from seqkd.config import compose, system_overrides, system_settings
from seqkd.errors import ConfigError, SeqkdError
from seqkd.layout import is_done, run_directory
from seqkd.processes import Needs, needs_of, place
from seqkd.training.order import GROUPS

if TYPE_CHECKING:
    import argparse

    from omegaconf import DictConfig

    from seqkd.task import Task


def main(argv: list[str]) -> int:
    """Entry point."""
    made = parser(
        "train", "Train every system of systems=[...] with seeds=N seeds; finished, unchanged runs are skipped."
    )
    made.add_argument(
        "--one", action="store_true", help="train only system= with seed=, here; several processes by torchrun"
    )
    made.add_argument("--group", choices=GROUPS, help="train only these: those that others learn from, or the others")
    made.add_argument(
        "--multirun",
        action="store_true",
        help="a sweep by Hydra: key=v1,v2 tries every combination with system= and seed=; hydra/launcher="
        "submitit_slurm submits the runs to Slurm",
    )
    args = parse(made, argv)
    if args.multirun:
        from seqkd.cli.sweep import sweep

        return sweep(args)
    cfg = compose(args)
    from seqkd.tasks import task_of
    from seqkd.training.order import levels_of

    task, needs = task_of(cfg), needs_of(cfg)
    if args.one:
        if cfg.ngpu and not args.ngpu:  # ngpu=N: who started this job may have had no GPU, but here they must be
            check_gpus(cfg.ngpu)
        if needs.world > 1 and place() is None:
            start_processes(needs, argv)
        train_here(task, cfg)
        return 0
    levels = levels_of(task, cfg, partial(system_settings, cfg))
    for group in [args.group] if args.group else GROUPS:
        if not levels[group]:
            print(f"there are no {group} to train")
        later = sum(map(len, levels[group]))
        for runs in levels[group]:
            later -= len(runs)
            if len(runs) == 1 and needs.world == 1 and not on_slurm():  # here, where its progress can be seen
                train_here(task, compose(args, *system_overrides(cfg, *runs[0])))
                continue
            jobs = []
            for system, seed in runs:
                overrides, run = system_overrides(cfg, system, seed), run_directory(cfg, system, seed)
                if (run / "summary.json").is_file() and is_finished(task, args, overrides):
                    # A process of its own would take seconds to find that out.
                    train_here(task, compose(args, *overrides))
                    continue
                log = run.parent / f"seed{seed}.log"
                arguments = ["train", "--one", *argv, *overrides]
                jobs.append(Job(f"{system} seed {seed}", arguments, log, needs))
            run_jobs(jobs, at_once(args.nj), later)
    return 0


def train_here(task: Task, cfg: DictConfig) -> None:
    """Train one run in this process."""
    from seqkd.training.run import train

    train(task, cfg)


def is_finished(task: Task, args: argparse.Namespace, overrides: list[str]) -> bool:
    """Whether a run is done with these very settings and data; no, if that cannot be told: its own job says why."""
    from seqkd.training.study import Study

    try:
        study = Study(task, compose(args, *overrides))
        return is_done(study.directory, study.description)
    except SeqkdError:
        return False


def start_processes(needs: Needs, argv: list[str]) -> None:
    """Become torchrun with the processes of one run. Raises ConfigError if it needs more than this machine."""
    if needs.nodes > 1:
        raise ConfigError(
            f"nodes is {needs.nodes}, but neither torchrun nor srun started this; on every node run: torchrun "
            f"--nnodes {needs.nodes} --nproc-per-node {needs.per_node} --rdzv-backend c10d --rdzv-endpoint HOST:PORT "
            "-m seqkd.cli.main train --one ..., or set SEQKD_BACKEND=slurm (local/cmd.sh)"
        )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={needs.per_node}"]
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torchrun's own choice, without its warning
    os.execv(sys.executable, [*torchrun, "-m", "seqkd.cli.main", "train", *argv])
