#!/usr/bin/env python3
"""How fast words are aligned and counted, beside jiwer, kaldialign and meeteval; writes wer.md beside this file.

    python tests/bench/wer.py [--utterances 100000] [--repeats 3]

Each contender runs in a process of its own on the same made-up transcripts: 3 to 30 words of 5,000, about one in
seven wrong. Time is that of the fastest repeat, from two lists of strings to counts with every alignment kept;
memory is what the process needed at most beyond the transcripts. Packages that are not installed are left out:
pip install kaldialign meeteval
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

Run = Callable[[list[str], list[str]], tuple[int, object]]


def transcripts(utterances: int) -> tuple[list[str], list[str]]:
    """The same ones in every process."""
    from tests.scoring.corpora import spoil

    source = random.Random(0)
    words = [f"w{i}" for i in range(5000)]
    references = [source.choices(words, k=source.randint(3, 30)) for _ in range(utterances)]
    hypotheses = [spoil(source, reference, words, 0.15) for reference in references]
    return [" ".join(text) for text in references], [" ".join(text) for text in hypotheses]


def seqkd_compiled(references: list[str], hypotheses: list[str]) -> tuple[int, object]:
    from seqkd.scoring import count
    from seqkd.scoring.align import compiled

    if compiled() is None:
        raise SystemExit("the compiled part is not built: python setup.py build_ext --inplace")
    done = count(references, hypotheses, characters=False)
    return int(done.words.errors.sum()), done


def seqkd_fallback(references: list[str], hypotheses: list[str]) -> tuple[int, object]:
    from seqkd import native
    from seqkd.scoring import count

    native.library = lambda: None
    done = count(references, hypotheses, characters=False)
    return int(done.words.errors.sum()), done


def jiwer(references: list[str], hypotheses: list[str]) -> tuple[int, object]:
    import jiwer

    done = jiwer.process_words(references, hypotheses)
    return done.substitutions + done.deletions + done.insertions, done


def kaldialign(references: list[str], hypotheses: list[str]) -> tuple[int, object]:
    from kaldialign import align

    done = [align(r.split(), h.split(), "*") for r, h in zip(references, hypotheses, strict=True)]
    return sum(one != other for alignment in done for one, other in alignment), done


def meeteval(references: list[str], hypotheses: list[str]) -> tuple[int, object]:
    from meeteval.wer.wer.siso import siso_word_error_rate

    done = [siso_word_error_rate(r, h) for r, h in zip(references, hypotheses, strict=True)]
    return sum(one.errors for one in done), done


CONTENDERS: dict[str, tuple[Run, str | None]] = {
    "seqkd, compiled": (seqkd_compiled, None),
    "seqkd, fallback": (seqkd_fallback, None),
    "jiwer": (jiwer, "jiwer"),
    "kaldialign": (kaldialign, "kaldialign"),
    "meeteval (counts only)": (meeteval, "meeteval"),
}


def memory(field: str) -> int:
    """KiB of this process, by its name in /proc/self/status; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def measure(name: str, utterances: int, repeats: int) -> None:
    """Run one contender and print what it took."""
    run, _ = CONTENDERS[name]
    references, hypotheses = transcripts(utterances)
    run(references[:100], hypotheses[:100])  # imports
    before = memory("VmRSS")
    if before:
        Path("/proc/self/clear_refs").write_text("5")  # forget the greatest so far
    took, needed = [], 0
    for repeat in range(repeats):
        began = time.perf_counter()
        errors, kept = run(references, hypotheses)
        took.append(time.perf_counter() - began)
        if repeat == 0:
            needed = memory("VmHWM") - before
        del kept
    print(json.dumps({"name": name, "seconds": min(took), "mib": needed / 1024, "errors": errors}))


def against(result: dict, theirs: float | None) -> str:
    """How many times faster than jiwer."""
    return f"{theirs / result['seconds']:.1f}x" if theirs else "–"


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    args = parser.parse_args()
    if args.one:
        measure(args.one, args.utterances, args.repeats)
        return
    results = []
    for name, (_, package) in CONTENDERS.items():
        if package and importlib.util.find_spec(package) is None:
            print(f"{name}: {package} is not installed, left out")
            continue
        options = ["--utterances", str(args.utterances), "--repeats", str(args.repeats), "--one", name]
        done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{name}: {done.stderr}")
        result = json.loads(done.stdout.splitlines()[-1])
        version = f" {metadata.version(package)}" if package else ""
        results.append(result | {"name": name.replace(package or name, f"{package}{version}" if package else name)})
        print(f"{result['name']}: {result['seconds']:.3f} s, {result['mib']:.0f} MiB, {result['errors']} errors")
    theirs = next((result["seconds"] for result in results if result["name"].startswith("jiwer")), None)
    lines = [
        f"# Aligning {args.utterances:,} utterances",
        "",
        f"By `python tests/bench/wer.py`: Python {platform.python_version()}, {platform.machine()}, one thread; "
        f"fastest of {args.repeats}.",
        "",
        "| | seconds | against jiwer | MiB beyond the transcripts | errors |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {r['name']} | {r['seconds']:.2f} | {against(r, theirs)} | {r['mib']:.0f} | {r['errors']:,} |"
            for r in results
        ),
    ]
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
