"""``seqkd decode``: hypotheses of every trained model for every test set."""

from __future__ import annotations

from seqkd.cli.settings import compose, parse, parser


def main(argv: list[str]) -> int:
    """Entry point."""
    args = parse(parser("decode", "Decode the test sets with every trained system."), argv)
    cfg = compose(args)
    from seqkd.tasks import all_runs, task_of

    for system, seed in all_runs(cfg):
        for name in cfg.sets.test:
            task_of(cfg).decode(cfg, system, seed, name)
    return 0
