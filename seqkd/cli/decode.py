"""``seqkd decode``: hypotheses of every trained model for every test set."""

from __future__ import annotations

from seqkd.cli.settings import compose, parse, parser, runs


def main(argv: list[str]) -> int:
    """Entry point."""
    args = parse(parser("decode", "Decode the test sets with every trained system."), argv)
    cfg = compose(args)
    from seqkd.decoding.run import decode_run

    for system, seed in runs(cfg, with_teacher=True):
        for name in cfg.sets.test:
            decode_run(cfg, system, seed, name)
    return 0
