"""How fast the CTC loss is on a GPU: writes ``ctc_gpu.md`` beside itself.

    python -m tests.bench.ctc_gpu

Each cell is the median over interleaved runs (one of each competitor in turn, so that a change of clocks meets all),
forward and backward from logits, timed with CUDA events. The GPU is kept busy while a run is being launched, as it is
in training, so that what is measured is the GPU's time. Without a GPU the table says that nothing was measured.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch

from seqkd.ctc import ctc_loss
from seqkd.ctc.cuda import passes as kernels
from seqkd.losses import cons_kd_loss

TABLE = Path(__file__).with_suffix(".md")
NOT_MEASURED = "not measured"


class Shape(NamedTuple):
    """One batch: utterances, frames, classes, labels."""

    batch: int
    frames: int
    classes: int
    labels: int

    def __str__(self) -> str:
        return f"B{self.batch} T{self.frames} C{self.classes} S{self.labels}"


SHAPES = (Shape(32, 400, 1024, 60), Shape(16, 1500, 5000, 200), Shape(64, 200, 32, 80))
COLUMNS = (
    "shape",
    "torch native, ms",
    "cuDNN, ms",
    "ours, ms",
    "ours in separate kernels, ms",
    "native / ours",
    "cuDNN / ours",
    "memory floor, ms",
    "ours / floor",
    "composed Cons-KD, ms",
    "fused Cons-KD, ms",
    "composed / fused",
)


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30, help="runs of each competitor")
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()
    if torch.cuda.is_available():
        where = f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}, float32"
        rows = [measure(shape, options.runs) for shape in SHAPES]
    else:
        where = f"No GPU was at hand: {NOT_MEASURED}."
        rows = [[str(shape)] + [NOT_MEASURED] * (len(COLUMNS) - 1) for shape in SHAPES]
    text = table(where, rows)
    options.output.write_text(text)
    print(text)


def table(where: str, rows: list[list[str]]) -> str:
    """The page."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join(
        [
            "# The CTC loss on a GPU",
            "",
            where,
            "",
            *("| " + " | ".join(line) + " |" for line in lines),
            "",
            "Forward and backward from logits, GPU time, medians of interleaved runs: `python -m tests.bench.ctc_gpu`.",
            "Native is `log_softmax` and torch's own `ctc_loss`; cuDNN takes blank 0, full lengths and fewer than 256",
            "labels only. Of few classes and frames, an utterance is one block's work; beside it stands what separate",
            "kernels take. The memory floor reads the logits twice and writes the gradient once, at the bandwidth of a",
            "copy. Cons-KD: two passes, a teacher, both terms KL; composed is the same from torch's operations.",
            "",
        ]
    )


def measure(shape: Shape, runs: int) -> list[str]:
    """One row of the table."""
    generator = torch.Generator("cuda").manual_seed(0)
    logits = torch.randn(shape.batch, shape.frames, shape.classes, device="cuda", generator=generator)
    targets = torch.randint(1, shape.classes, (shape.batch, shape.labels), device="cuda", generator=generator)
    input_lengths = torch.full((shape.batch,), shape.frames)
    target_lengths = torch.full((shape.batch,), shape.labels)
    joined = targets.flatten().int().cpu()

    def ours() -> None:
        z = logits.detach().requires_grad_()
        ctc_loss(z, targets, input_lengths, target_lengths, reduction="sum", backend="cuda").backward()

    def separate() -> None:
        with mock.patch.object(kernels, "fits_one_block", lambda problem: False):
            ours()

    def torchs(cudnn: bool) -> Callable[[], None]:
        labels, inputs, lengths = targets, input_lengths, target_lengths
        if cudnn:
            labels, inputs, lengths = joined, input_lengths.int(), target_lengths.int()

        def run() -> None:
            z = logits.detach().requires_grad_()
            log_probs = z.log_softmax(-1).transpose(0, 1)
            with torch.backends.cudnn.flags(enabled=cudnn):
                torch.nn.functional.ctc_loss(log_probs, labels, inputs, lengths, reduction="sum").backward()

        return run

    competitors = {"native": torchs(False), "ours": ours}
    if shape.labels < 256 and applies(torchs(True), logits):
        competitors["cudnn"] = torchs(True)
    if shape.classes <= 128:
        competitors["separate"] = separate
    ms = medians(competitors, runs)
    floor = 3 * logits.nbytes / copy_bandwidth() * 1e3

    passes = torch.stack([logits, logits + 0.1 * torch.randn(logits.shape, device="cuda", generator=generator)])
    teacher = torch.randn(logits.shape, device="cuda", generator=generator)

    def cons_kd(backend: str) -> Callable[[], None]:
        def run() -> None:
            z = passes.detach().requires_grad_()
            loss = cons_kd_loss(
                z,
                teacher,
                targets,
                input_lengths,
                target_lengths,
                kd_weight=1.0,
                consistency_weight=0.2,
                distance="kl",
                backend=backend,
            )
            loss.total.backward()

        return run

    fused = medians({"composed": cons_kd("torch"), "fused": cons_kd("cuda")}, runs)
    cudnn = ms.get("cudnn")
    return [
        str(shape),
        f"{ms['native']:.3f}",
        "–" if cudnn is None else f"{cudnn:.3f}",
        f"{ms['ours']:.3f}",
        f"{ms['separate']:.3f}" if "separate" in ms else "–",
        f"{ms['native'] / ms['ours']:.1f}x",
        "–" if cudnn is None else f"{cudnn / ms['ours']:.1f}x",
        f"{floor:.3f}",
        f"{ms['ours'] / floor:.1f}x",
        f"{fused['composed']:.3f}",
        f"{fused['fused']:.3f}",
        f"{fused['composed'] / fused['fused']:.1f}x",
    ]


def applies(run: Callable[[], None], logits: torch.Tensor) -> bool:
    """Whether cuDNN takes this batch: torch falls back to its own kernels without a word, but those are not in it."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    torch.cuda.synchronize(logits.device)
    return any("cudnn_ctc_loss" in event.key for event in profile.key_averages())


def medians(competitors: dict[str, Callable[[], None]], runs: int) -> dict[str, float]:
    """Milliseconds of each, one run of each in turn."""
    for run in competitors.values():
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    times = {name: [] for name in competitors}
    for _ in range(runs):
        for name, run in competitors.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda._sleep(4_000_000)  # about two milliseconds, while the host launches
            start.record()
            run()
            end.record()
            end.synchronize()
            times[name].append(start.elapsed_time(end))
    return {name: statistics.median(values) for name, values in times.items()}


def copy_bandwidth() -> float:
    """Bytes a second that a copy of 1 GB reads and writes."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    ms = medians({"copy": lambda: target.copy_(source)}, 10)["copy"]
    return 2 * source.nbytes / (ms / 1e3)


if __name__ == "__main__":
    main()
