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
    made.add_argument("--out", type=Path, default=Path("docs/claims.md"), help="the page (default: docs/claims.md)")
    made.add_argument("--root", type=Path, default=Path(), help="what recipes are relative to (default: here)")
    args = made.parse_args(argv)
    from seqkd.experiment.claims import ledger, read_claims

    claims = read_claims(args.claims)
    page = ledger(claims, functools.partial(numbers_of, args.root), shlex.join(["seqkd", "claims", *argv]))
    write_text(args.out, page)
    print(f"wrote {args.out}")
    return 0


def numbers_of(root: Path, claim: Claim) -> Numbers | None:
    """The numbers of the report that a claim is about; None where it has not been written."""
    from seqkd.experiment.numbers import read_numbers

    path = root / claim.numbers
    return read_numbers(path) if path.is_file() else None
