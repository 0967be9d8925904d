"""``seqkd check-teacher``: what a student is about to learn from."""

from __future__ import annotations

from seqkd.cli.settings import parse, parser
from seqkd.config import compose


def main(argv: list[str]) -> int:
    """Entry point. A task that measures nothing of its teachers says so."""
    args = parse(parser("check-teacher", "Measure the teacher on dev: WER, blanks, entropy, spike offsets."), argv)
    cfg = compose(args)
    from seqkd.tasks import task_of

    print(task_of(cfg).check_teachers(cfg) or f"{cfg.task}: nothing to check of teachers")
    return 0
