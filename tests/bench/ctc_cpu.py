"""Times the CPU kernels against torch, in interleaved pairs, and writes ctc_cpu.md beside this file.

    python tests/bench/ctc_cpu.py

Run it on an idle machine: it uses up to two cores for about ten minutes. ctc_peers.py compares with other frameworks.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from seqkd.ctc import cpu
from seqkd.data.features import FeatureSettings
from seqkd.files import write_text
from seqkd.losses import cons_kd_loss, ctc_loss
from seqkd.models.ctc import CtcModel

# B, T, C, S
SHAPES = [
    *((8, 400, 1024, 60), (16, 200, 32, 80), (4, 1500, 5000, 200)),
    *((1, 50, 32, 5), (8, 26, 37, 5), (64, 100, 11, 6), (32, 400, 500, 40)),
]
PAIRS = 15
REGIMES = ("untrained", "peaked", "collapsed", "cold")


def batch(shape: tuple[int, int, int, int], *passes: int) -> dict[str, Tensor]:
    """Logits (B, T, C) or (P, B, T, C) of an untrained model, a teacher's, and full-length targets."""
    utterances, frames, classes, labels = shape
    generator = torch.Generator().manual_seed(0)
    return {
        "logits": torch.randn(*passes, utterances, frames, classes, generator=generator).requires_grad_(),
        "teacher": torch.randn(utterances, frames, classes, generator=generator),
        "targets": torch.randint(1, classes, (utterances, labels), generator=generator),
        "input_lengths": torch.full((utterances,), frames),
        "target_lengths": torch.full((utterances,), labels),
    }


def torch_ctc(logits: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, **_: Tensor) -> Tensor:
    """What people write: log-softmax, torch's op."""
    log_probs = logits.log_softmax(-1).transpose(0, 1)
    return torch.nn.functional.ctc_loss(log_probs, targets, input_lengths, target_lengths, reduction="sum")


def our_ctc(logits: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, **_: Tensor) -> Tensor:
    """The same through our kernel."""
    return ctc_loss(logits, targets, input_lengths, target_lengths, reduction="sum", backend="cpu")


def cons_kd(backend: str) -> Callable[..., Tensor]:
    """Cons-KD with KL for both terms."""

    def loss(logits: Tensor, teacher: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> Tensor:
        weights = {"kd_weight": 1.0, "consistency_weight": 0.2, "distance": "kl"}
        return cons_kd_loss(
            logits, teacher, targets, input_lengths, target_lengths, backend=backend, reduction="sum", **weights
        ).total

    return loss


def seconds(loss: Callable[..., Tensor], inputs: dict[str, Tensor], *, gradient: bool = True) -> float:
    """One forward and backward, with a gradient that is allocated anew; or one forward alone.

    A problem of some microseconds is repeated, up to a millisecond.
    """
    times = max(1, 200_000 // inputs["logits"].numel())
    begin = time.perf_counter()
    for _ in range(times):
        if gradient:
            inputs["logits"].grad = None
            loss(**inputs).backward()
        else:
            with torch.no_grad():
                loss(**inputs)
    return (time.perf_counter() - begin) / times


def compare(theirs: Callable[[], float], ours: Callable[[], float], pairs: int = PAIRS) -> tuple[float, float, float]:
    """Median milliseconds of each, and the median of the ratios of pairs run one after the other.

    With several threads there is a moment's rest between them: torch's go on waiting busily, on the core we need.
    """

    def rested(run: Callable[[], float]) -> float:
        time.sleep(0.02 * (torch.get_num_threads() > 1))
        return run()

    theirs(), ours()
    both = [(rested(theirs), rested(ours)) for _ in range(pairs)]
    a, b = (1e3 * statistics.median(column) for column in zip(*both, strict=True))
    return a, b, statistics.median(x / y for x, y in both)


def speed_table(threads: int) -> list[str]:
    """Rows of the table of speeds."""
    torch.set_num_threads(threads)
    rows = []
    for shape in SHAPES:
        name = "B{} T{} C{} S{}".format(*shape)
        inputs = batch(shape)
        pairs = PAIRS if inputs["logits"].numel() > 200_000 else 8 * PAIRS
        for kind, gradient in (("CTC", True), ("CTC, value only", False)):
            times = compare(
                lambda i=inputs, g=gradient: seconds(torch_ctc, i, gradient=g),
                lambda i=inputs, g=gradient: seconds(our_ctc, i, gradient=g),
                pairs,
            )
            rows.append(row(f"{kind}, {name}", threads, *times))
    inputs = batch(SHAPES[0], 2)
    theirs, ours = cons_kd("torch"), cons_kd("cpu")
    times = compare(lambda: seconds(theirs, inputs), lambda: seconds(ours, inputs), pairs=7)
    return [*rows, row("Cons-KD, P2 {}".format("B{} T{} C{} S{}".format(*SHAPES[0])), threads, *times)]


def row(name: str, threads: int, theirs: float, ours: float, ratio: float) -> str:
    """One line of a table of speeds, shown at once."""
    places = 3 if ours < 0.1 else 2 if ours < 10 else 1
    line = f"| {name} | {threads} | {theirs:,.{places}f} | {ours:,.{places}f} | **{ratio:.1f}x** |"
    print(line, file=sys.stderr, flush=True)
    return line


def training_steps() -> list[str]:
    """Steps of the default recipe's student (egs/espeak_voices): model and loss, forward and backward."""
    torch.set_num_threads(1)
    rows = []
    for name, passes in (("KD", 1), ("Cons-KD", 2)):
        torch.manual_seed(0)
        architecture = {"encoder": "conv", "width": 64, "layers": 4, "hidden": 128, "subsampling_channels": 8}
        architecture |= {"kernel": 15, "dropout": 0.1}
        model = CtcModel(architecture, FeatureSettings(num_mel_bins=40), 11)
        features, lengths = torch.randn(24, 240, 40), torch.full((24,), 240)

        def step(backend: str, model=model, passes=passes, features=features, lengths=lengths) -> float:
            begin = time.perf_counter()
            repeated = features.repeat(passes, 1, 1), lengths.repeat(passes)
            output = model(*repeated)
            logits, frames = output.logits.unflatten(0, (passes, -1)), output.lengths
            teacher = logits[0].detach() + 1
            options = {"kd_weight": 1.0, "consistency_weight": 0.2, "distance": "kl", "backend": backend}
            cons_kd_loss(
                logits, teacher, [[1, 2, 3, 4, 5]] * 24, frames[:24], torch.full((24,), 5), **options
            ).total.backward()
            return time.perf_counter() - begin

        times = compare(lambda s=step: s("torch"), lambda s=step: s("cpu"))
        rows.append(row(f"a training step of the default student, {name}", 1, *times))
    return rows


def extra_memory(backend: str) -> float:
    """Peak memory beside inputs and gradient, in copies of the logits, of one fused step in a fresh process."""
    command = [sys.executable, __file__, "--memory", backend]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def resident(field: str) -> int:
    """Bytes of memory in use ("VmRSS") or at the peak ("VmHWM")."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in status if line.startswith(field))


def measure_memory(backend: str) -> None:
    """Prints what :func:`extra_memory` returns."""
    torch.set_num_threads(1)
    loss = cons_kd(backend)
    loss(**batch((1, 10, 8, 3), 2)).backward()  # code and its tables are loaded now
    inputs = batch(SHAPES[0], 2)
    size = inputs["logits"].numel() * 4
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    loss(**inputs).backward()
    peak = resident("VmHWM")
    print((peak - before - size) / size)


def regime(name: str, frames: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (2, T, 60) of a model in some state of training."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, frames, 60, generator=generator)
    targets = torch.randint(1, 60, (2, 100), generator=generator)
    if name == "peaked":
        logits[..., 0] += 12
        at = torch.linspace(1, frames - 2, 100).long()
        for b in range(2):
            logits[b, at, targets[b]] += 24
    elif name == "collapsed":
        logits[..., 0] += 40
    elif name == "cold":
        logits *= 200
    return logits, targets, torch.tensor([frames, frames]), torch.tensor([100, 100])


def gradient(logits: Tensor, *arguments: Tensor, backend: str) -> Tensor:
    """The gradient for the logits."""
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(ctc_loss(logits, *arguments, reduction="sum", backend=backend), logits)[0].double()


def error_table() -> list[str]:
    """Largest error of the float32 gradient against float64's."""
    rows = []
    for frames in (500, 2000):
        for name in REGIMES:
            logits, *arguments = regime(name, frames)
            exact = gradient(logits.double(), *arguments, backend="cpu")
            theirs, ours = (
                (gradient(logits, *arguments, backend=backend) - exact).abs().max().item()
                for backend in ("torch", "cpu")
            )
            rows.append(f"| {name} | {frames:,} | {theirs:.1e} | {ours:.1e} |")
    return rows


def main() -> None:
    """Measure everything and write the table."""
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    head = "| | threads | torch, ms | ours, ms | torch / ours |\n| --- | ---: | ---: | ---: | ---: |"
    speeds = [line for threads in (1, 2) for line in speed_table(threads)]
    memory = {backend: extra_memory(backend) for backend in ("torch", "cpu")}
    text = f"""# The CPU kernels against torch

Generated by `python tests/bench/ctc_cpu.py`: {processor}, {os.cpu_count()} cores, kernels `{cpu.kernels()}`, torch
{torch.__version__}. Forward and backward from float32 logits, the gradient allocated anew; medians of interleaved pairs
({PAIRS}, of small problems {8 * PAIRS}; Cons-KD 7). torch: `log_softmax`, `ctc_loss`; Cons-KD composed of torch's
operations.

{head}
{chr(10).join(speeds + training_steps())}

Peak memory of Cons-KD (first shape) beside inputs and gradient: torch {memory["torch"]:.1f} copies of the student's
logits, ours {memory["cpu"]:.2f}.

## Largest error of the gradient in float32

Against float64; C60 S100. "peaked" is a trained model, "collapsed" one that says only blank, "cold" has logits times
200.

| regime | frames | torch | ours |
| --- | ---: | ---: | ---: |
{chr(10).join(error_table())}
"""
    write_text(Path(__file__).with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        measure_memory(sys.argv[2])
    else:
        main()
