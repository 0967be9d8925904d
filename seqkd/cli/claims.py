"""``seqkd claims``: one page of what the tables of all recipes show of each published claim."""

from __future__ import annotations

import argparse
import functools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.files import write_text

if TYPE_CHECKING:
    from seqkd.experiment.claims import Claim
    from seqkd.experiment.numbers import Numbers


def main(argv: list[str]) -> int:
    """Entry point."""
    made = argparse.ArgumentParser(
        prog="seqkd claims", description="Write what the recipes' tables show of each published claim."
    )
    made.add_argument("claims", type=Path, metavar="FILE", help="local/claims.yaml, or one of yours")
    made.add_argument(
        "--out",
        type=Path,
        default=Path("docs/claims.md"),
        help="the page (default: docs/claims.md); its figure goes to images/claims.png beside it",
    )
    made.add_argument("--root", type=Path, default=Path(), help="what recipes are relative to (default: here)")
    args = made.parse_args(argv)
    from seqkd.experiment.claims import ledger, read_claims, verdicts
    from seqkd.experiment.claims_figure import draw_claims
    from seqkd.experiment.figures import save_all

    found = verdicts(read_claims(args.claims), functools.partial(numbers_of, args.root))
    drawn = {"claims.png": (draw_claims(found), "Gain of each system over its control")}
    save_all(drawn, args.out.parent / "images")
    figure = "images/claims.png" if drawn["claims.png"][0] else ""
    write_text(args.out, ledger(found, shlex.join(["seqkd", "claims", *argv]), figure))
    print(f"wrote {args.out}")
    return 0


def numbers_of(root: Path, claim: Claim) -> Numbers | None:
    """The numbers of the report that a claim is about; None where it has not been written."""
    from seqkd.experiment.numbers import read_numbers

    path = root / claim.numbers
    return read_numbers(path) if path.is_file() else None
