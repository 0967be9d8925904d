"""Times the fused label smoothing against composed ones, in interleaved pairs, and writes label_smoothing.md.

    python -m tests.bench.label_smoothing

Run it on an idle machine: it uses one core for about half a minute.
"""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from seqkd.files import write_text
from seqkd.losses import adaptive_label_smoothing_loss, uniform_label_smoothing_loss
from tests.bench.ctc_cpu import compare, resident, seconds

SHAPE = (32, 40, 8000)  # B, S, C
PAIRS = 15


def batch(shape: tuple[int, int, int], padded: float = 0.0) -> dict[str, Tensor]:
    """Logits of an untrained model and of its prior (B, S, C), and targets (B, S), the last of them ignored."""
    generator = torch.Generator().manual_seed(0)
    sentences, positions, classes = shape
    targets = torch.randint(0, classes, (sentences, positions), generator=generator)
    targets[:, round(positions * (1 - padded)) :] = -100
    return {
        "logits": torch.randn(shape, generator=generator).requires_grad_(),
        "prior": torch.randn(shape, generator=generator),
        "targets": targets,
    }


def written_out(logits: Tensor, prior: Tensor, targets: Tensor) -> Tensor:
    """What people write: soft targets, and their cross-entropy. It cannot ignore a position that holds a NaN."""
    log_probs = logits.log_softmax(-1)
    with torch.no_grad():
        alpha = 1 + (log_probs.exp() * log_probs).sum(-1, keepdim=True) / math.log(logits.shape[-1])
        soft = alpha * prior.softmax(-1)
        soft.scatter_add_(-1, targets.clamp(min=0)[..., None], 1 - alpha)
    valid = targets != -100
    return -((soft * log_probs).sum(-1) * valid).sum() / valid.sum()


def written_out_uniform(logits: Tensor, prior: Tensor, targets: Tensor) -> Tensor:
    """The same with a uniform prior, where nothing needs to be written out."""
    log_probs = logits.log_softmax(-1)
    with torch.no_grad():
        alpha = 1 + (log_probs.exp() * log_probs).sum(-1) / math.log(logits.shape[-1])
    hard, valid = log_probs.gather(-1, targets.clamp(min=0)[..., None])[..., 0], targets != -100
    return -(((1 - alpha) * hard + alpha * log_probs.mean(-1)) * valid).sum() / valid.sum()


def torchs_uniform(logits: Tensor, prior: Tensor, targets: Tensor) -> Tensor:
    """Torch's own operator, with ε = 0.1."""
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=0.1)


def adaptive(backend: str, with_prior: bool = True) -> Callable[..., Tensor]:
    """Adaptive label smoothing of this toolkit."""

    def loss(logits: Tensor, prior: Tensor, targets: Tensor) -> Tensor:
        return adaptive_label_smoothing_loss(logits, targets, prior if with_prior else None, backend=backend).total

    return loss


def uniform(logits: Tensor, prior: Tensor, targets: Tensor) -> Tensor:
    """Uniform label smoothing of this toolkit, fused."""
    return uniform_label_smoothing_loss(logits, targets).total


LOSSES = {
    "fused": adaptive("fused"),
    "composed": adaptive("composed"),
    "written out": written_out,
    "fused, uniform prior": adaptive("fused", False),
    "composed, uniform prior": adaptive("composed", False),
    "written out, uniform prior": written_out_uniform,
    "fused, fixed amount": uniform,
    "torch, fixed amount": torchs_uniform,
}
# name, the other, ours, share of positions that is padding
ROWS = [
    ("adaptive, against the composed form", "composed", "fused", 0.0),
    ("adaptive, against soft targets written out", "written out", "fused", 0.0),
    ("the same, 30 % padding, composed form", "composed", "fused", 0.3),
    ("the same, 30 % padding, written out", "written out", "fused", 0.3),
    ("adaptive, uniform prior, composed form", "composed, uniform prior", "fused, uniform prior", 0.0),
    ("adaptive, uniform prior, written out", "written out, uniform prior", "fused, uniform prior", 0.0),
    ("uniform smoothing .1, torch's `cross_entropy`", "torch, fixed amount", "fused, fixed amount", 0.0),
]


def extra_memory(name: str) -> float:
    """Peak memory beside inputs and gradient, in copies of the logits, of one step in a fresh process."""
    command = [sys.executable, "-m", "tests.bench.label_smoothing", "--memory", name]
    root = Path(__file__).parents[2]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)


def measure_memory(name: str) -> None:
    """Prints what :func:`extra_memory` returns."""
    torch.set_num_threads(1)
    LOSSES[name](**batch((2, 3, 8))).backward()  # code and its tables are loaded now
    inputs = batch(SHAPE)
    size = inputs["logits"].numel() * 4
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    LOSSES[name](**inputs).backward()
    print((resident("VmHWM") - before - size) / size)


def gradient_error(name: str) -> float:
    """Largest error of the float32 gradient of the sum, against P − ỹ in float64."""
    inputs = batch((4, 40, 8000))
    logits, prior = (inputs[x].detach().double() for x in ("logits", "prior"))
    p, q = logits.softmax(-1), prior.softmax(-1)
    alpha = 1 + (p * p.log()).sum(-1, keepdim=True) / math.log(logits.shape[-1])
    expected = p - alpha * q
    expected.scatter_add_(-1, inputs["targets"][..., None], alpha - 1)
    LOSSES[name](**inputs).backward()
    return (inputs["logits"].grad.double() * inputs["targets"].numel() - expected).abs().max().item()


def main() -> None:
    """Measure everything and write the table."""
    torch.set_num_threads(1)
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    memory = {name: extra_memory(name) for name in LOSSES}
    rows = []
    for title, theirs, ours, padded in ROWS:
        inputs = batch(SHAPE, padded)
        times = compare(
            lambda i=inputs, n=theirs: seconds(LOSSES[n], i), lambda i=inputs, n=ours: seconds(LOSSES[n], i), PAIRS
        )
        cells = f"{times[0]:,.0f} | {times[1]:,.0f} | **{times[2]:.1f}x** | {memory[theirs]:.2f} | {memory[ours]:.2f}"
        rows.append(f"| {title} | {cells} |")
    errors = {name: gradient_error(name) for name in ("fused", "composed", "written out")}
    text = f"""# Label smoothing: the fused form

Generated by `python -m tests.bench.label_smoothing`: {processor}, {os.cpu_count()} cores, torch {torch.__version__}.
B{SHAPE[0]} S{SHAPE[1]} C{SHAPE[2]}, float32, one thread. Forward and backward, the gradient allocated anew; medians of
{PAIRS} interleaved pairs. Memory is the peak beside inputs and gradient, in copies of the logits, each in a fresh
process without padding (add 1 to count the gradient).

| | theirs, ms | fused, ms | theirs / fused | theirs, copies | fused, copies |
| --- | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}

Largest error of a token's gradient against P − ỹ in float64: fused {errors["fused"]:.1e}, composed
{errors["composed"]:.1e}, written out {errors["written out"]:.1e}.
"""
    write_text(Path(__file__).with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    measure_memory(sys.argv[2]) if sys.argv[1:2] == ["--memory"] else main()
