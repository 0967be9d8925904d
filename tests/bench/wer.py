#!/usr/bin/env python3
"""How fast words are aligned and counted, beside jiwer, kaldialign and meeteval; writes wer.md beside this file.

    python tests/bench/wer.py [--rounds 3]

Each contender runs in a process of its own on the same made-up transcripts: words of 5,000, about one in seven wrong,
in utterances of 16, 1,000, 10,000 and 50,000 words. Time is from two lists of strings to counts with every word
alignment kept, the fastest of as many rounds; in each round every contender has its turn, so that what else the
machine does meets all of them. Memory is what the process needed at most beyond the transcripts. WER + CER counts
characters, too. What takes more than 6 GiB or two minutes is stopped. Packages that are not installed are left out:
pip install kaldialign meeteval
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

Run = Callable[[list[str], list[str], bool], tuple[int, object]]


def transcripts(utterances: int, words: int) -> tuple[list[str], list[str]]:
    """The same ones in every process; short ones have 3 to 30 words."""
    from tests.scoring.corpora import spoil

    source = random.Random(0)
    vocabulary = [f"w{i}" for i in range(5000)]
    sizes = [source.randint(3, 30) if words == SHORT else words for _ in range(utterances)]
    references = [source.choices(vocabulary, k=size) for size in sizes]
    hypotheses = [spoil(source, reference, vocabulary, 0.15) for reference in references]
    return [" ".join(text) for text in references], [" ".join(text) for text in hypotheses]


def seqkd_compiled(references: list[str], hypotheses: list[str], characters: bool) -> tuple[int, object]:
    from seqkd.scoring import count
    from seqkd.scoring.align import compiled

    if compiled() is None:
        raise SystemExit("the compiled part is not built: pip install --no-deps -e .")
    done = count(references, hypotheses, characters=characters)
    return int(done.words.errors.sum()), done


def seqkd_fallback(references: list[str], hypotheses: list[str], characters: bool) -> tuple[int, object]:
    from seqkd import native
    from seqkd.scoring import count

    native.library = lambda: None
    done = count(references, hypotheses, characters=characters)
    return int(done.words.errors.sum()), done


def jiwer(references: list[str], hypotheses: list[str], characters: bool) -> tuple[int, object]:
    import jiwer

    done = jiwer.process_words(references, hypotheses)
    more = jiwer.process_characters(references, hypotheses) if characters else None
    return done.substitutions + done.deletions + done.insertions, (done, more)


def kaldialign(references: list[str], hypotheses: list[str], characters: bool) -> tuple[int, object]:
    from kaldialign import align, edit_distance

    done, more = [], []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        done.append(align(reference.split(), hypothesis.split(), "*"))
        if characters:
            more.append(edit_distance(list(reference), list(hypothesis)))
    return sum(one != other for alignment in done for one, other in alignment), (done, more)


def meeteval(references: list[str], hypotheses: list[str], characters: bool) -> tuple[int, object]:
    from meeteval.wer.wer.siso import siso_character_error_rate, siso_word_error_rate

    done, more = [], []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        done.append(siso_word_error_rate(reference, hypothesis))
        if characters:
            more.append(siso_character_error_rate(reference, hypothesis))
    return sum(one.errors for one in done), (done, more)


CONTENDERS: dict[str, tuple[Run, str | None]] = {
    "seqkd, compiled": (seqkd_compiled, None),
    "seqkd, fallback": (seqkd_fallback, None),
    "jiwer": (jiwer, "jiwer"),
    "kaldialign": (kaldialign, "kaldialign"),
    "meeteval (counts only)": (meeteval, "meeteval"),
}
SHORT = 16
SIZES = {SHORT: 20_000, 1_000: 20, 10_000: 1, 50_000: 1}  # utterances by their words
MEMORY = 6 << 30
SECONDS = 120


def memory(field: str) -> int:
    """KiB of this process, by its name in /proc/self/status; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def measure(name: str, words: int, characters: bool) -> None:
    """Run one contender once and print what it took."""
    run, _ = CONTENDERS[name]
    references, hypotheses = transcripts(SIZES[words], words)
    run([text[:99] for text in references[:100]], [text[:99] for text in hypotheses[:100]], characters)  # imports
    before = memory("VmRSS")
    if before:
        Path("/proc/self/clear_refs").write_text("5")  # forget the greatest so far
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    began = time.perf_counter()
    errors, kept = run(references, hypotheses, characters)
    took = time.perf_counter() - began
    needed = memory("VmHWM") - before
    del kept
    print(json.dumps({"seconds": took, "mib": needed / 1024, "errors": errors}))


def run_once(name: str, words: int, characters: bool) -> dict | str:
    """What a process of its own took, or why there is no result."""
    options = ["--one", name, "--words", str(words), *["--characters"] * characters]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, __file__, *options], capture_output=True, text=True, timeout=SECONDS + 30, env=environment
        )
    except subprocess.TimeoutExpired:
        return f"stopped after {SECONDS} s"
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if "MemoryError" in done.stderr or "bad_alloc" in done.stderr or done.returncode < 0:
        return f"needs more than {MEMORY >> 30} GiB"
    sys.exit(f"{name}: {done.stderr}")


def table(words: int, characters: bool, rounds: int) -> list[str]:
    """The rows of one size."""
    best: dict[str, dict | str] = {}
    for _ in range(rounds):
        for name, (_, package) in CONTENDERS.items():
            if (package and importlib.util.find_spec(package) is None) or isinstance(best.get(name), str):
                continue
            result = run_once(name, words, characters)
            if isinstance(result, str) or name not in best or result["seconds"] < best[name]["seconds"]:
                best[name] = result
    theirs = best.get("jiwer")
    title = f"{SIZES[words]:,} x {words:,} words" if SIZES[words] > 1 else f"{words:,} words"
    rows = []
    for name, result in best.items():
        package = CONTENDERS[name][1]
        shown = name.replace(package, f"{package} {metadata.version(package)}") if package else name
        start = f"| {title} | {'WER + CER' if characters else 'WER'} | {shown} |"
        if isinstance(result, str):
            rows.append(f"{start} {result} | – | – | – |")
        else:
            times = f"{theirs['seconds'] / result['seconds']:.1f}x" if isinstance(theirs, dict) else "–"
            rows.append(f"{start} {result['seconds']:.3f} | {times} | {result['mib']:.0f} | {result['errors']:,} |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--words", type=int, choices=list(SIZES), help="one size only, and nothing is written")
    parser.add_argument("--characters", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    args = parser.parse_args()
    if args.one:
        measure(args.one, args.words, args.characters)
        return
    sizes = [args.words] if args.words else list(SIZES)
    rows = [row for words in sizes for characters in (False, True) for row in table(words, characters, args.rounds)]
    if args.words:
        return
    lines = [
        "# Aligning short utterances and long recordings",
        "",
        f"By `python tests/bench/wer.py`: Python {platform.python_version()}, {platform.machine()}, one thread; "
        f"fastest of {args.rounds}. Word alignments are kept, but meeteval's; of characters, counts are enough.",
        "",
        "| | | | seconds | against jiwer | MiB beyond the transcripts | word errors |",
        "|---|---|---|---:|---:|---:|---:|",
        *rows,
    ]
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
