"""``seqkd book``: make, inspect, verify and merge books, directories of stored teacher outputs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.cli.jobs import on_slurm, run_shards
from seqkd.cli.settings import add_shards, check_shards, parse
from seqkd.cli.settings import parser as recipe_parser
from seqkd.config import compose, system_overrides
from seqkd.errors import DataError
from seqkd.processes import Needs

if TYPE_CHECKING:
    from seqkd.knowledge import Fault, Info

NAMED = 10  # utterances of a fault that are printed without --all


def main(argv: list[str]) -> int:
    """Entry point; a damaged book is an error."""
    if argv[:1] == ["make"]:
        return make(argv[1:])
    args = parser().parse_args(argv)
    return args.run(args)


def parser() -> argparse.ArgumentParser:
    """What ``seqkd book`` understands."""
    made = argparse.ArgumentParser(
        prog="seqkd book", description="Make, inspect, verify and merge books: directories of stored teacher outputs."
    )
    actions = made.add_subparsers(metavar="make|info|verify|merge", required=True)
    actions.add_parser("make", help="write the books that a recipe's students learn from", add_help=False)
    one = actions.add_parser("info", help="teachers, form, size, bits per frame, retained mass, content hash")
    one.add_argument("book", type=Path, help="directory of the book")
    one.add_argument("--json", action="store_true", help="print JSON")
    one.set_defaults(run=show_info)
    one = actions.add_parser("verify", help="read every byte, and name all that is damaged with its utterances")
    one.add_argument("book", type=Path, help="directory of the book")
    one.add_argument("--all", action="store_true", help=f"name all utterances (default: {NAMED} of a file)")
    one.set_defaults(run=run_verify)
    one = actions.add_parser("merge", help="join books into a new one without copying them")
    one.add_argument("book", type=Path, help="directory of the new book")
    one.add_argument("parts", type=Path, nargs="+", help="books to join: one manifest, no utterance in two of them")
    one.set_defaults(run=run_merge)
    return made


def make(argv: list[str]) -> int:
    """``seqkd book make``: in ``--nj`` processes, or with ``--shard`` one process' share, on whatever machine."""
    about = "Write the books that the students of systems=[...] learn from."
    made = recipe_parser("book make", about)
    add_shards(made, "write")
    args = parse(made, argv)
    check_shards(args)
    cfg = compose(args)
    from seqkd.tasks import task_of

    task = task_of(cfg)
    if "book" in cfg and cfg.book.form == "live":
        print("book=live: the teacher runs beside its students, there is no book to make")
        return 0
    systems = [compose(args, *system_overrides(cfg, system, 0)) for system in cfg.systems]
    if args.shards:
        task.make_book(cfg, systems, args.shard or 0, args.shards or 1)
        return 0
    if not task.entries_to_make(cfg, systems):
        print("there is nothing to write: stored teacher outputs are finished, or no system needs any before training")
    elif not on_slurm() and (cfg.nj == 1 or cfg.ngpu):
        task.make_book(cfg, systems, 0, 1)
    else:
        run_shards(["book", "make"], argv, cfg.nj, Path(cfg.exp) / "logs", Needs(ngpu=min(1, cfg.ngpu)))
    return 0


def show_info(args: argparse.Namespace) -> int:
    """``seqkd book info``."""
    from seqkd.knowledge import info

    found = info(args.book)
    print(json.dumps(found.to_json(), indent=2, ensure_ascii=False) if args.json else table(found))
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """``seqkd book verify``."""
    from seqkd.knowledge import info, verify

    faults = verify(args.book, progress=True)
    for fault in faults:
        print(describe(fault, everything=args.all))
    if faults:
        files = len({fault.path for fault in faults})
        lost = len({utterance for fault in faults for utterance in fault.utterances})
        raise DataError(f"the book {args.book} is damaged: {lost} utterances in {files} files; they are named above")
    found = info(args.book)
    print(f"{args.book} is whole: {found.entries} entries in {found.segments} segments, content {found.content}")
    return 0


def run_merge(args: argparse.Namespace) -> int:
    """``seqkd book merge``."""
    from seqkd.knowledge import merge

    print(table(merge(args.book, args.parts)))
    return 0


def describe(fault: Fault, *, everything: bool) -> str:
    """A fault's sentence, and the utterances it takes, indented."""
    names = fault.utterances if everything else fault.utterances[:NAMED]
    more = len(fault.utterances) - len(names)
    lines = [fault.sentence, *(f"    {name}" for name in names)]
    return "\n".join([*lines, f"    and {more} more (--all names them)"] if more else lines)


def table(found: Info) -> str:
    """A book for people."""
    manifest = found.manifest
    rows = {
        "content": found.content,
        "teachers": "; ".join(map(str, manifest.teachers)),
        "tokenizer": manifest.units,
        "classes": f"{manifest.classes}, " + ("no blank" if manifest.blank is None else f"blank {manifest.blank}"),
        "frame shift": "none" if manifest.frame_shift_ms is None else f"{manifest.frame_shift_ms:g} ms",
        "features": ", ".join(f"{k} {v}" for k, v in (manifest.features or {}).items()) or "any",
        "temperature": f"{manifest.temperature:g}",
        "form": ", ".join(f"{v}" if k == "name" else f"{k} {v}" for k, v in manifest.to_json()["form"].items()),
        "augmentation": "; ".join(map(str, manifest.augmentation)) or "none",
        "seeds": str(manifest.seeds),
        "regularisation": f"{manifest.regularisation:g}",
        "uncertainty": "aleatoric, epistemic" if manifest.uncertainty else "none",
        "utterances": f"{found.utterances:,} ({found.entries:,} entries)",
        "frames": f"{found.frames:,}",
        "size": f"{found.bytes / 1e6:,.1f} MB in {found.segments:,} segments",
        "bits per frame": f"{found.bits_per_frame:,.1f}",
        "retained mass": f"{found.retained_mass:.6f}",
    }
    return "\n".join(f"{name:<16}{value}" for name, value in rows.items())
