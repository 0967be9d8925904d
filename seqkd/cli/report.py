"""``seqkd report``: RESULTS.md and its figures, and a check of the numbers that the preset promises."""

from __future__ import annotations

import os
import shlex
from functools import partial
from pathlib import Path

from seqkd.cli.settings import parse, parser
from seqkd.config import compose, system_overrides, system_settings


def main(argv: list[str]) -> int:
    """Entry point."""
    made = parser(
        "report", "Write RESULTS.md and figures from the trained, decoded and scored systems, and print the table."
    )
    args = parse(made, argv)
    cfg = compose(args)
    from seqkd.experiment.check import check
    from seqkd.experiment.report import write_report
    from seqkd.experiment.summary import for_terminal
    from seqkd.tasks import task_of
    from seqkd.training.order import all_runs

    task, systems = task_of(cfg), {}
    trained = dict.fromkeys(system for system, _ in all_runs(task, cfg, partial(system_settings, cfg)))
    # Teachers that nobody named come first, then systems in the order in which they were named.
    for name in [*(name for name in trained if name not in cfg.systems), *dict.fromkeys(cfg.systems)]:
        about = compose(args, *system_overrides(cfg, name, 0)).system
        systems[name] = {key: about.get(key) for key in ("label", "control", "isolates")}
    # The recipe's own command line, when the recipe calls us.
    command = os.environ.get("SEQKD_COMMAND") or shlex.join(["seqkd", "report", *argv])
    write_report(task, cfg, systems, command)
    print(f"\n{for_terminal(Path(cfg.report.out).read_text(encoding='utf-8'))}\n\nwrote {cfg.report.out}")
    check(task, cfg, list(systems))
    return 0
