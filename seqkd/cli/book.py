"""``seqkd book``: what is in a book, whether it is whole, and several made one. Recipes make them (stage 5)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.errors import DataError

if TYPE_CHECKING:
    from seqkd.knowledge import Fault, Info

NAMED = 10  # utterances of a fault that are printed without --all


def main(argv: list[str]) -> int:
    """Entry point; a damaged book is an error."""
    args = parser().parse_args(argv)
    return args.run(args)


def parser() -> argparse.ArgumentParser:
    """What ``seqkd book`` understands."""
    made = argparse.ArgumentParser(
        prog="seqkd book", description="Look after books: what teachers know about each utterance, written once."
    )
    actions = made.add_subparsers(metavar="info|verify|merge", required=True)
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
    print(f"{args.book} is whole: {found.pages} pages in {found.segments} segments, content {found.content}")
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
        "utterances": f"{found.utterances:,} ({found.pages:,} pages)",
        "frames": f"{found.frames:,}",
        "size": f"{found.bytes / 1e6:,.1f} MB in {found.segments:,} segments",
        "bits per frame": f"{found.bits_per_frame:,.1f}",
        "retained mass": f"{found.retained_mass:.6f}",
    }
    return "\n".join(f"{name:<16}{value}" for name, value in rows.items())
