"""``seqkd train``: all systems of a recipe, or with ``--one`` the single run that system= and seed= name."""

from __future__ import annotations

from seqkd.cli.jobs import Job, run_jobs
from seqkd.cli.settings import compose, parse, parser, runs, system_overrides


def main(argv: list[str]) -> int:
    """Entry point."""
    made = parser(
        "train", "Train every system of systems=[...] with seeds=N seeds; finished, unchanged runs are skipped."
    )
    made.add_argument("--one", action="store_true", help="train only system= with seed=, in this process")
    made.add_argument("--teacher", action="store_true", help="train only the teacher")
    args = parse(made, argv)
    if args.one:
        from seqkd.training.run import train

        train(compose(args))
        return 0
    cfg = compose(args)
    if args.teacher:
        if cfg.teacher.import_from:
            print(f"the teacher is imported from {cfg.teacher.import_from}")
            return 0
        from seqkd.training.run import train

        train(compose(args, *system_overrides(cfg, "teacher", 0)))
        return 0
    from seqkd.layout import run_directory

    jobs = []
    for system, seed in runs(cfg):
        log = run_directory(cfg, system, seed).parent / f"seed{seed}.log"
        arguments = ["train", "--one", *argv, *system_overrides(cfg, system, seed)]
        jobs.append(Job(f"{system} seed {seed}", arguments, log))
    run_jobs(jobs, args.nj)
    return 0
