"""``seqkd check-teacher``: what a student is about to learn from."""

from __future__ import annotations

from seqkd.cli.settings import compose, parse, parser


def main(argv: list[str]) -> int:
    """Entry point."""
    about = "Measure the teacher on dev: WER, blanks, entropy, spike offsets."
    args = parse(parser("check-teacher", about, tasks=("ctc_kd",)), argv)
    cfg = compose(args)
    from seqkd.teachers.check import check_teacher

    print(check_teacher(cfg))
    return 0
