"""``seqkd clean``: finished runs and books that changed settings have moved aside."""

from __future__ import annotations

import argparse
import shlex
import shutil
from pathlib import Path

from seqkd.errors import ConfigError
from seqkd.layout import moved_aside


def main(argv: list[str]) -> int:
    """Entry point: list, and with ``--yes`` remove."""
    parser = argparse.ArgumentParser(
        prog="seqkd clean",
        description="List the runs and books that were moved aside, such as seed0.1, because one of other settings or "
        "data took their place.",
    )
    parser.add_argument("--exp", required=True, type=Path, metavar="DIR", help="experiment directory")
    parser.add_argument("--yes", action="store_true", help="remove them")
    args = parser.parse_args(argv)
    if not args.exp.is_dir():
        raise ConfigError(f"{args.exp} is not a directory; expected an experiment directory, such as exp")
    total = 0
    found = moved_aside(args.exp)
    for run in found:
        size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
        total += size
        if args.yes:
            shutil.rmtree(run)
        print(f"{run} ({size / 1e6:.1f} MB){' removed' if args.yes else ''}")
    if not found:
        print(f"{args.exp} holds nothing that was moved aside")
    elif not args.yes:
        print(f"{len(found)} in all, {total / 1e6:.1f} MB; remove them with:")
        print(f"  seqkd clean --exp {shlex.quote(str(args.exp))} --yes")
    return 0
