"""CTC beside the losses of other frameworks on one CPU thread: `python -m tests.bench.ctc_peers` writes ctc_peers.md.

It compares what is installed: ``pip install optax "jax[cpu]"`` and ``pip install paddlepaddle``.
Use an idle machine.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seqkd.files import write_text
from tests.bench.ctc_cpu import batch, compare, gradient, our_ctc, seconds

SHAPES = ((8, 400, 1024, 60), (16, 200, 32, 80), (8, 26, 37, 5))  # B, T, C, S
PAIRS = 15


@dataclass(frozen=True)
class Step:
    """One forward and backward of a peer: ``run`` does it, ``gradient`` (B, T, C) does it and returns the gradient."""

    run: Callable[[], object]
    gradient: Callable[[], Tensor]


def optax_step(inputs: dict[str, Tensor]) -> Step:
    """optax under jit, which is compiled before it is timed."""
    import jax
    import optax

    logits = jax.numpy.asarray(inputs["logits"].detach().numpy())
    labels = jax.numpy.asarray(inputs["targets"].numpy().astype("int32"))
    frames, none = jax.numpy.zeros(logits.shape[:2]), jax.numpy.zeros(labels.shape)
    step = jax.jit(jax.value_and_grad(lambda z: optax.ctc_loss(z, frames, labels, none).sum()))
    return Step(
        lambda: jax.block_until_ready(step(logits)), lambda: torch.from_numpy(jax.device_get(step(logits)[1]).copy())
    )


def paddle_step(inputs: dict[str, Tensor]) -> Step:
    """Paddle's warp-ctc, which takes logits (T, B, C)."""
    import paddle

    paddle.set_device("cpu")
    logits = paddle.to_tensor(inputs["logits"].detach().transpose(0, 1).contiguous().numpy(), stop_gradient=False)
    labels = paddle.to_tensor(inputs["targets"].numpy().astype("int32"))
    lengths = [paddle.to_tensor(inputs[name].numpy()) for name in ("input_lengths", "target_lengths")]

    def run() -> None:
        logits.clear_grad()
        paddle.nn.functional.ctc_loss(logits, labels, *lengths, reduction="sum").backward()

    def gradient() -> Tensor:
        run()
        return torch.from_numpy(logits.grad.numpy().copy()).transpose(0, 1)

    return Step(run, gradient)


PEERS = {
    "optax": ("optax {optax} under `jax.jit`, jax {jax}", optax_step),
    "paddle": ("Paddle {paddlepaddle}", paddle_step),
}


def rows() -> list[str]:
    """A row for each peer that is installed, and each shape."""
    found = []
    for name, (_, make) in PEERS.items():
        if importlib.util.find_spec(name) is None:
            continue
        for shape in SHAPES:
            inputs = batch(shape)
            step = make(inputs)
            arguments = [inputs[key] for key in ("targets", "input_lengths", "target_lengths")]
            exact = gradient(inputs["logits"].detach().double(), *arguments, backend="cpu")
            ours = gradient(inputs["logits"].detach(), *arguments, backend="cpu")
            theirs, own, ratio = compare(
                lambda step=step: timed(step.run), lambda inputs=inputs: seconds(our_ctc, inputs), PAIRS
            )
            errors = [(x.double() - exact).abs().max().item() for x in (step.gradient(), ours)]
            times = f"{theirs:,.2f} | {own:,.2f} | **{ratio:.1f}x**"
            found.append(
                f"| {name} | {'B{} T{} C{} S{}'.format(*shape)} | {times} | {errors[0]:.1e} | {errors[1]:.1e} |"
            )
    return found


def timed(run: Callable[[], object]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


class _Versions(dict):
    def __missing__(self, package: str) -> str:
        return importlib.metadata.version(package)


def main() -> None:
    """Measure and write the table."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    torch.set_num_threads(1)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    installed = [name for name in PEERS if importlib.util.find_spec(name)]
    peers = "; ".join(PEERS[name][0].format_map(_Versions()) for name in installed)
    text = f"""# The CPU kernels beside other frameworks' CTC

Written by `python -m tests.bench.ctc_peers`: one thread, forward and backward from float32 logits, medians of {PAIRS}
interleaved pairs. {peers}. Errors are the gradient's largest, against float64.

| | | theirs, ms | ours, ms | theirs / ours | their error | our error |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(rows())}
"""
    write_text(Path(__file__).with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
