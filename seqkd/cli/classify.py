"""``seqkd classify``: classes of sounds or images, with probabilities, by an exported classifier."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.cli.transcribe import give
from seqkd.errors import ConfigError, DataError

if TYPE_CHECKING:
    from seqkd.deploy.classify import Classified, ClassifierBundle

TOP = 5


def main(argv: list[str]) -> int:
    """Entry point; status 1 when a file could not be classified: it is named, and the others are done."""
    made = argparse.ArgumentParser(
        prog="seqkd classify",
        description="Classify sounds of any rate and number of channels, or images: their classes, the most likely "
        "first, with probabilities; or the phones of a sound with times, where the model gives each frame a class.",
    )
    made.add_argument("files", nargs="+", type=Path, metavar="clip.wav", help="wav, flac, ogg, mp3, ..., or images")
    made.add_argument(
        "--model", type=Path, default=Path(), metavar="DIR", help="what seqkd export wrote (default: this directory)"
    )
    made.add_argument("--int8", action="store_true", help="use the network with 8-bit weights")
    made.add_argument("--top", type=int, metavar="K", help=f"how many classes of a file (default: {TOP})")
    made.add_argument(
        "--format", choices=("text", "json"), default="text", help="json is one object a line, a file (default: text)"
    )
    made.add_argument("--out", type=Path, metavar="FILE", help="where to write it (default: the terminal)")
    made.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (default: 1)")
    args = made.parse_args(argv)
    if (args.top is not None and args.top < 1) or args.threads < 1:
        made.error("--top and --threads must be at least 1")

    import torch

    from seqkd.deploy.classify import open_classifier

    torch.set_num_threads(args.threads)
    bundle = open_classifier(args.model, int8=args.int8, threads=args.threads)
    if bundle.frames and args.top is not None:
        raise ConfigError(f"{args.model} gives each frame one class, the most likely; leave out --top")
    faults: list[DataError] = []
    show, several = (json_line if args.format == "json" else text), len(args.files) > 1
    parts = (show(done, args.top or TOP, several) for done in classified(bundle, args.files, faults))
    return give("classify", parts, faults, args.out)


def classified(bundle: ClassifierBundle, files: list[Path], faults: list[DataError]) -> Iterator[Classified]:
    """Classify one file after the other; what is wrong with files that cannot be goes to ``faults``."""
    from seqkd.deploy.classify import classify
    from seqkd.progress import ProgressBar

    # The bar would be between the lines of a terminal.
    for file in ProgressBar(files, unit="file", desc="classifying", disable=len(files) < 50 or sys.stdout.isatty()):
        try:
            done = classify(bundle, file)
        except DataError as fault:
            faults.append(fault)
            continue
        if done.seconds is not None and done.seconds > done.used + 0.01:
            print(
                f"seqkd classify: {file} lasts {done.seconds:.2f} s; the model is given the first {done.used:g} s",
                file=sys.stderr,
            )
        yield done


def text(done: Classified, top: int, several: bool) -> str:
    """A class and its probability a line, or a start, an end and a phone; after the file's name if there are several.

    Fields are separated by tabs.
    """
    name = f"{done.file}\t" if several else ""
    lines = [f"{name}{found}\t{probability:.4f}\n" for found, probability in done.classes[:top]]
    lines += [f"{name}{one.start:.2f}\t{one.end:.2f}\t{one.name}\n" for one in done.segments]
    return "".join(lines)


def json_line(done: Classified, top: int, several: bool) -> str:
    """One object a file: its name, the seconds that a sound lasts and that were used, and classes or segments."""
    entry: dict[str, object] = {"file": done.file}
    if done.seconds is not None:
        entry |= {"seconds": round(done.seconds, 3), "used_seconds": round(done.used, 3)}
    if done.segments:
        entry["segments"] = [
            {
                "start": round(one.start, 3),
                "end": round(one.end, 3),
                "phone": one.name,
                "confidence": round(one.confidence, 4),
            }
            for one in done.segments
        ]
    else:
        entry["classes"] = [
            {"class": found, "probability": round(probability, 6)} for found, probability in done.classes[:top]
        ]
    return json.dumps(entry, ensure_ascii=False) + "\n"
