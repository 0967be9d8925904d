"""``seqkd claims``: one page of what the runs of all recipes show of each published claim."""

from __future__ import annotations

import argparse
import functools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.cli.settings import parse, parser
from seqkd.config import compose, system_overrides
from seqkd.files import write_text

if TYPE_CHECKING:
    from seqkd.experiment.claims import Claim
    from seqkd.experiment.read import Experiment


def main(argv: list[str]) -> int:
    """Entry point."""
    made = argparse.ArgumentParser(
        prog="seqkd claims", description="Write what the recipes' runs show of each published claim."
    )
    made.add_argument("claims", type=Path, metavar="FILE", help="local/claims.yaml, or one of yours")
    made.add_argument("--out", type=Path, default=Path("docs/claims.md"), help="the page (default: docs/claims.md)")
    made.add_argument("--root", type=Path, default=Path(), help="what recipes are relative to (default: here)")
    args = made.parse_args(argv)
    from seqkd.experiment.claims import ledger, read_claims

    claims = read_claims(args.claims)
    page = ledger(claims, functools.partial(experiment_of, args.root), shlex.join(["seqkd", "claims", *argv]))
    write_text(args.out, page)
    print(f"wrote {args.out}")
    return 0


def experiment_of(root: Path, claim: Claim) -> Experiment:
    """The runs of a claim's two systems. Raises NotRun where there are none."""
    from seqkd.experiment.read import NotRun, read_experiment
    from seqkd.experiment.report import refresh
    from seqkd.tasks import task_of

    recipe = root / claim.recipe
    exp, data = recipe / "exp" / claim.preset, recipe / "data" / claim.preset
    options = ["--task", claim.task, "--conf", recipe / "conf", "--preset", claim.preset, "--exp", exp, "--data", data]
    args = parse(parser("report", ""), list(map(str, options)))
    cfg = compose(args)
    about = {}
    for name in (claim.system, claim.control):
        system = compose(args, *system_overrides(cfg, name, 0)).system
        about[name] = {"label": system.label}
    if not exp.is_dir():
        raise NotRun(f"there is no {claim.recipe}/exp/{claim.preset}")
    task = task_of(cfg)
    if all((data / name).is_dir() for name in cfg.sets.test):
        undecoded = refresh(task, cfg, about)
    else:  # as where only the runs were copied here
        print(f"{data} has no {' or '.join(cfg.sets.test)}: the scores of {exp} are taken as they are")
        undecoded = set()
    return read_experiment(task, exp, about, list(cfg.sets.test), replicates=cfg.report.replicates, undecoded=undecoded)
