"""``seqkd train``: all systems of a recipe, or with ``--one`` the single run that system= and seed= name."""

from __future__ import annotations

from seqkd.cli.jobs import Job, run_jobs
from seqkd.cli.settings import compose, parse, parser, system_overrides
from seqkd.errors import ConfigError


def main(argv: list[str]) -> int:
    """Entry point."""
    made = parser(
        "train", "Train every system of systems=[...] with seeds=N seeds; finished, unchanged runs are skipped."
    )
    made.add_argument("--one", action="store_true", help="train only system= with seed=, in this process")
    made.add_argument("--group", help="train only this group of the task's systems, such as teacher")
    args = parse(made, argv)
    cfg = compose(args)
    from seqkd.layout import run_directory
    from seqkd.tasks import task_of

    task = task_of(cfg)
    if args.one:
        task.train(cfg)
        return 0
    if args.group not in (None, *task.GROUPS):
        raise ConfigError(f"{args.task} has no group {args.group!r} to train; known: {', '.join(task.GROUPS)}")
    for group in [args.group] if args.group else task.GROUPS:
        chosen = task.GROUPS[group](cfg)
        if not chosen:
            print(f"{group}: nothing to train")
        elif len(chosen) == 1:  # here, where its progress can be seen
            task.train(compose(args, *system_overrides(cfg, *chosen[0])))
        else:
            jobs = []
            for system, seed in chosen:
                log = run_directory(cfg, system, seed).parent / f"seed{seed}.log"
                arguments = ["train", "--one", *argv, *system_overrides(cfg, system, seed)]
                jobs.append(Job(f"{system} seed {seed}", arguments, log))
            run_jobs(jobs, args.nj)
    return 0
