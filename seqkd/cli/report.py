"""``seqkd report``: RESULTS.md and its figures, and a check of the numbers that the preset promises."""

from __future__ import annotations

import os
import shlex

from seqkd.cli.settings import compose, parse, parser


def main(argv: list[str]) -> int:
    """Entry point."""
    made = parser("report", "Write RESULTS.md and figures from the trained, decoded and scored systems.")
    args = parse(made, argv)
    cfg = compose(args)
    from seqkd.tasks import all_runs, task_of

    names = dict.fromkeys([*(system for system, _ in all_runs(cfg)), *cfg.systems])
    systems = {}
    for name in names:
        chosen = compose(args, f"system={name}").system
        systems[name] = {key: chosen.get(key) for key in ("label", "control", "isolates")}
    # The recipe's own command line, when the recipe calls us.
    command = os.environ.get("SEQKD_COMMAND") or shlex.join(["seqkd", "report", *argv])
    task = task_of(cfg)
    task.report(cfg, systems, command)
    print(f"wrote {cfg.report.out}")
    task.check(cfg, list(systems))
    return 0
