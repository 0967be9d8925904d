#!/usr/bin/env python3
"""What it takes to distil 60,000 hours from a teacher of 1 B parameters: arithmetic as Markdown.

    local/paper_plan.py [--hours 60000] [--teacher-parameters 1e9] ... > local/paper_plan.md

Nothing of this size has been run. Every number in the table is computed here from the arguments, which are assumptions
and printed as such; from sizes and speeds that tests/bench/book.md reports; and from memory and times that this
program measures on made-up books and batches of up to --measure utterances (about a minute on one core), and
extrapolates in proportion to their number.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent.parent / "tests" / "bench" / "book.md"
FORMS = ("dense", "top-k 8", "sampled 50")
FEATURE_BYTES = 80 * 4 * 100  # of a second: 80 bins, float32, 100 Hz (seqkd.data.features)
SEGMENT_BYTES = 64 << 20  # seqkd.knowledge.BookWriter
PAGES = SEGMENT_BYTES // 13_000  # of a segment of top-k 8, at 360 frames an entry


@dataclass(frozen=True)
class Form:
    """A row of tests/bench/book.md; speeds are frames a second of one core."""

    name: str
    bits: float
    write: float
    read: float


def main() -> None:
    """Measure, compute, print."""
    args = arguments()
    forms = [form for form in bench() if form.name in FORMS]
    sizes = [args.measure // 10, args.measure // 3, args.measure]
    book = [opened(size) for size in sizes]
    batches = [in_process(drawn, size) for size in sizes]
    parts = [HEAD, assumptions(args), table(args, forms, growth(sizes, book), growth(sizes, batches))]
    print("\n\n".join([*parts, measurements(sizes, book, batches), WHERE_IT_BREAKS]))


def arguments() -> argparse.Namespace:
    """The assumptions, each with what it rests on."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, why in ASSUMED:
        made.add_argument(f"--{name}", type=float, default=default, help=f"{why} (default: {default:g})")
    made.add_argument("--measure", type=int, default=100_000, help="utterances of the largest measurement")
    return made.parse_args()


HEAD = """# A plan for 60,000 hours and a teacher of 1 B parameters

Nothing of this size has been run. Made by `local/paper_plan.py`, whose options are the assumptions; sizes and speeds of
books are those of `tests/bench/book.md` (C = 500, one CPU core), memory and times of an utterance are measured and
extrapolated."""

WHERE_IT_BREAKS = """## Where it breaks, first things first

1. **Tables by utterance.** The index of the book and the sampler's cuts are Python objects in every process,
   transcripts and units not counted, and in time once more for each data-loading worker, as copies on write go. What
   is needed is a sorted, memory-mapped index of some 40 bytes an utterance, once a node.
2. **Reading features.** From disk they are far more than a top-k book: half precision would halve them, and features
   computed on the fly from FLAC need half as much and several cores instead. A dense book doubles the traffic; use
   top-k or sampled.
3. **Cores for the book.** A teacher on a fast GPU gives as many frames a second as one core encodes: give the job of
   each GPU two cores or more (`--cpus-per-task`), and as many shards as GPUs.
4. **Starting.** Opening the book and drawing batches up to where a run was take minutes, in which the GPU waits.
5. **Files.** A Kaldi directory of millions of utterances looks at every audio file when its features are validated; a
   book is thousands of files. Segmented long recordings keep the former small.

The GPU hours are not what breaks."""

ASSUMED = [
    ("hours", 60_000, "of audio; Libri-Light's size"),
    ("utterance-seconds", 14.4, "mean length; makes 15 M utterances"),
    ("frame-rate", 25, "Hz of teacher and student after subsampling by 4; at 20 Hz all frames are a fifth fewer"),
    ("teacher-parameters", 1e9, "all used once a frame: 2 FLOPs each, forward"),
    ("teacher-layers", 40, "for attention's cost, 4·T·width FLOPs a frame and layer (scores and their sum)"),
    ("teacher-width", 1280, "likewise; no relative positions, which add half as much again"),
    ("student-parameters", 3e7, "forward and backward: 6 FLOPs each a frame"),
    ("gpu-flops", 989e12, "a second, bfloat16 without sparsity: NVIDIA's data sheet of the H100 SXM"),
    ("teacher-utilisation", 0.3, "of that; an assumption, and on the low side for a large model in large batches"),
    ("student-utilisation", 0.05, "of that; an assumption: kernels of a small model are small"),
    ("flac", 0.55, "size of FLAC against 16-bit PCM at 16 kHz; an assumption"),
    ("node-gpus", 8, "processes of a training run on a node"),
]


def assumptions(args: argparse.Namespace) -> str:
    """As a table."""
    rows = (
        f"| {name.replace('-', ' ')} | {getattr(args, name.replace('-', '_')):,g} | {why} |" for name, _, why in ASSUMED
    )
    return "\n".join(["| assumed | value | what for, and whence |", "| --- | ---: | --- |", *rows])


def bench() -> list[Form]:
    """Sizes and speeds that were measured."""
    number = lambda cell: float(cell.replace(",", ""))  # noqa: E731
    rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in BENCH.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| (dense|top-k|sampled)", line)
    )
    return [Form(row[0], number(row[1]), 1e3 * number(row[6]), 1e3 * number(row[8])) for row in rows]


def table(args: argparse.Namespace, forms: list[Form], book: Growth, batches: Growth) -> str:
    """The plan."""
    seconds = args.hours * 3600
    utterances, frames = seconds / args.utterance_seconds, seconds * args.frame_rate
    length = args.utterance_seconds * args.frame_rate
    attention = 4 * length * args.teacher_width * args.teacher_layers
    teacher = 2 * args.teacher_parameters + attention  # FLOPs a frame
    asked = args.gpu_flops * args.teacher_utilisation / teacher  # frames a second and GPU, as are those below
    learned = args.gpu_flops * args.student_utilisation / (6 * args.student_parameters)
    audio = 32_000 * args.flac  # bytes of a second
    in_memory = utterances * (book.memory + batches.memory)
    rows = {
        "utterances": f"{utterances / 1e6:,.1f} M of {length:,.0f} frames, {frames / 1e9:,.1f} G frames",
        "teacher": f"{teacher / 1e9:,.2f} GFLOP a frame, {attention / teacher:.0%} of it attention; "
        f"{asked / 1e3:,.0f} k frames/s a GPU, {asked / args.frame_rate:,.0f} times real time",
        "making the book": f"**{frames / asked / 3600:,.0f} GPU hours** for one reading of the corpus",
        "audio for it": f"{audio * seconds / 1e12:,.1f} TB of FLAC, "
        f"{audio * asked / args.frame_rate / 1e6:,.0f} MB/s a GPU",
    }
    for form in forms:
        size = frames * form.bits / 8
        rows[f"book, {form.name}"] = (
            f"**{size / 1e9:,.0f} GB** ({form.bits:,.0f} bits a frame) in {2 * size / SEGMENT_BYTES:,.0f} files; "
            f"{frames / form.write / 3600:,.0f} core hours to write: {asked / form.write:,.1f} cores keep up with a GPU"
        )
    rows["student"] = (
        f"{learned / 1e3:,.0f} k frames/s a GPU, {learned / args.frame_rate:,.0f} times real time; an epoch is "
        f"**{frames / learned / 3600:,.1f} GPU hours**; {learned / length:,.0f} entries/s, in random order"
    )
    for form in forms:
        rows[f"reading it, {form.name}"] = (
            f"**{learned * form.bits / 8 / 1e6:,.0f} MB/s a GPU**, {learned / form.read:,.1f} cores a GPU"
        )
    rows |= {
        "features": f"{FEATURE_BYTES * seconds / 1e12:,.1f} TB; "
        f"**{learned / args.frame_rate * FEATURE_BYTES / 1e6:,.0f} MB/s a GPU** where they are read from disk",
        "index and batches in memory": f"{book.memory:,.0f} + {batches.memory:,.0f} bytes an utterance: "
        f"**{in_memory / 1e9:,.0f} GB a process**, {args.node_gpus * in_memory / 1e9:,.0f} GB a node",
        "before the first update": f"{utterances * book.seconds / 60:,.0f} min to open the book; "
        f"{utterances * batches.seconds / 60:,.0f} min of an epoch's batches, which a resumed run draws again "
        "up to where it was",
    }
    return "\n".join(
        ["| what | how much |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]
    )


@dataclass(frozen=True)
class Growth:
    """What an utterance adds to what a process takes: bytes of memory and seconds."""

    memory: float
    seconds: float


def growth(sizes: list[int], measured: list[Growth]) -> Growth:
    """The slope of the straight line through measurements, so that what any size costs is left out."""
    import numpy as np

    memory, seconds = (
        np.polyfit(sizes, [getattr(one, name) for one in measured], 1)[0] for name in ("memory", "seconds")
    )
    return Growth(float(memory), float(seconds))


def measurements(sizes: list[int], book: list[Growth], batches: list[Growth]) -> str:
    """What was measured here."""
    cell = lambda one: f"{one.memory / 1e6:,.1f} MB, {one.seconds:,.2f} s"  # noqa: E731
    rows = [f"| {size:,} | {cell(one)} | {cell(two)} |" for size, one, two in zip(sizes, book, batches, strict=True)]
    return "\n".join(["| utterances | opening the book | the batches of an epoch |", "| ---: | ---: | ---: |", *rows])


def in_process(work: Callable[..., Any], *told: Any) -> Any:
    """What ``work`` finds in a fresh process, in which nothing is left of an earlier measurement."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, told)


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def name(number: int) -> str:
    """An id as long as Libri-Light's."""
    return f"libri-light-{number // 1000:06d}-{number:09d}"


def opened(size: int) -> Growth:
    """What it takes to open a book of ``size`` utterances, in segments as large as those of top-k 8."""
    with tempfile.TemporaryDirectory() as folder:
        in_process(write_book, folder, size)
        return in_process(open_book, folder)


def write_book(folder: str, size: int) -> None:
    """Entries of one frame: the index of a long one is no longer."""
    import torch

    from seqkd.knowledge import BookWriter, Manifest, TeacherId, TopK

    manifest = Manifest(teachers=(TeacherId("made up", "0"),), units="0", classes=8, form=TopK(2))
    row = torch.full((1, 8), 1 / 8).log()
    with BookWriter(folder, manifest) as writer:
        for number in range(size):
            writer.add(name(number), row)
            if number % PAGES == PAGES - 1:
                writer.flush()


def open_book(folder: str) -> Growth:
    """Of this process."""
    from seqkd.knowledge import Book

    before, began = resident(), time.perf_counter()
    book = Book.open(folder)
    took = time.perf_counter() - began
    return Growth((resident() - before) * bool(len(book)), took)


def drawn(size: int) -> Growth:
    """What it takes to draw the batches of one epoch of ``size`` utterances from 2 to 30 s."""
    from seqkd.data.sampling import StepSampler

    before, began = resident(), time.perf_counter()
    sizes = {name(number): 2 + 7919 * number % 2800 / 100 for number in range(size)}
    heard = peak = 0
    for batch in StepSampler(sizes, updates=10**9, max_size=10_000, seed=0):
        heard, peak = heard + len(batch), max(peak, resident())
        if heard >= size:
            break
    return Growth(peak - before, time.perf_counter() - began)


if __name__ == "__main__":
    main()
