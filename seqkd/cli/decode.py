"""``seqkd decode``: hypotheses of every trained model for every test set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqkd.cli.settings import compose, parse, parser

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(argv: list[str]) -> int:
    """Entry point. On a GPU one model decodes at a time, on the CPU as many as ``--nj`` says."""
    args = parse(parser("decode", "Decode the test sets with every trained system."), argv)
    cfg = compose(args)
    from seqkd.parallel import in_parallel
    from seqkd.tasks import all_runs

    jobs = [(cfg, system, seed, name) for system, seed in all_runs(cfg) for name in cfg.sets.test]
    for _ in in_parallel(decode_one, jobs, 1 if cfg.ngpu else cfg.nj, "decoding"):
        pass
    return 0


def decode_one(job: tuple[DictConfig, str, int, str]) -> None:
    """Decode one test set with one model, on one thread."""
    import torch

    from seqkd.tasks import task_of

    cfg, system, seed, name = job
    torch.set_num_threads(1)
    task_of(cfg).decode(cfg, system, seed, name)
