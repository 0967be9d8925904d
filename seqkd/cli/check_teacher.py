"""``seqkd check-teacher``: what a student is about to learn from."""

from __future__ import annotations

from seqkd.cli.settings import compose, parse, parser
from seqkd.errors import ConfigError


def main(argv: list[str]) -> int:
    """Entry point."""
    args = parse(parser("check-teacher", "Measure the teacher on dev: WER, blanks, entropy, spike offsets."), argv)
    if args.task != "ctc_kd":
        raise ConfigError(f"check-teacher measures CTC teachers; --task is {args.task}, expected ctc_kd")
    cfg = compose(args)
    from seqkd.teachers.check import check_teacher

    print(check_teacher(cfg))
    return 0
