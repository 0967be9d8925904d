"""``seqkd report``: RESULTS.md and its figures, and with ``--check`` the numbers a preset must reach."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.cli.settings import CONF, compose, parse, parser
from seqkd.errors import ConfigError, SeqkdError
from seqkd.layout import run_directory

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(argv: list[str]) -> int:
    """Entry point."""
    made = parser("report", "Write RESULTS.md and figures from the trained, decoded and scored systems.")
    args = parse(made, argv)
    cfg = compose(args)
    from seqkd.scoring.report import write_report

    systems = {}
    for name in ["teacher", *cfg.systems]:
        chosen = compose(args, f"system={name}").system if (CONF / "system" / f"{name}.yaml").is_file() else None
        if chosen is None:
            raise SeqkdError(f"there is no system {name!r}")
        systems[name] = {"label": chosen.label, "control": chosen.control, "isolates": chosen.isolates}
    out = Path(cfg.report.out)
    write_report(
        Path(cfg.exp),
        Path(cfg.data),
        out,
        test_sets=list(cfg.sets.test),
        systems=systems,
        title=cfg.title,
        # The recipe's own command line, when the recipe calls us.
        command=os.environ.get("SEQKD_COMMAND") or shlex.join(["seqkd", "report", *argv]),
        notes=list(cfg.report.notes),
        paired_replicates=cfg.report.replicates,
    )
    print(f"wrote {out}")
    check_expected(cfg)
    return 0


def check_expected(cfg: DictConfig) -> None:
    """Raise SeqkdError when a system misses the error rate its preset says it must reach (report.expect)."""
    metric = cfg.report.expect_metric
    if metric not in ("wer", "cer"):
        raise ConfigError(f"report.expect_metric is {metric!r}; expected one of wer, cer")
    for system, limit in cfg.report.expect.items():
        for name in cfg.sets.test:
            path = run_directory(cfg, system, 0) / f"decode_{name}" / "score.json"
            if not path.is_file():
                raise SeqkdError(f"{path} is missing; run stage 8 (score) first")
            (scored,) = json.loads(path.read_text(encoding="utf-8"))["systems"].values()
            rate = 100 * scored[metric]["rate"]
            found = f"{rate:.2f} % {metric.upper()}"
            if rate > limit:
                raise SeqkdError(f"{system} has {found} on {name}; this preset must reach {limit:g} %")
            print(f"{system} on {name}: {found}, must be at most {limit:g} %: reached")
