"""Every loss under every transform: `python -m tests.losses.transforms_table` writes transforms.md beside this file.

A cell is the largest difference of the gradient (or of the value) from the plain one, in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import vmap

from seqkd.files import write_text
from tests.losses.test_transforms import DATA, LOGITS, LOSSES, TRANSFORMS, one


def values_under_vmap(loss: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """By torch.func.vmap, and plainly."""
    return vmap(partial(one, loss))(LOGITS, DATA), loss(LOGITS, DATA, "none")


def values_of_an_export(loss: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """By torch.export, for other logits, and plainly."""

    class Model(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return loss(z, DATA, "sum")

    program = torch.export.export(Model(), (LOGITS,))
    return program.module()(LOGITS + 1), loss(LOGITS + 1, DATA, "sum")


def cell(loss: Callable[..., Tensor], transform: Callable[..., Tensor]) -> str:
    """The difference, or the kind of error."""
    try:
        z = LOGITS.clone().requires_grad_()
        found = transform(loss)
        expected = torch.autograd.grad(loss(z, DATA, "sum"), z)[0]
        found, expected = found if isinstance(found, tuple) else (found, expected)
        return f"{(found - expected).abs().max().item():.0e}".replace("0e+00", "0")
    except Exception as error:  # whatever it is belongs into the table
        return f"**{type(error).__name__}**"


def main() -> None:
    """Compute and write the table."""
    columns = [*TRANSFORMS, values_under_vmap, values_of_an_export]
    names = [function.__name__.removeprefix("under_").replace("_", " ") for function in columns]
    lines = ["| loss | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for name, loss in LOSSES.items():
        lines.append(f"| `{name}` | " + " | ".join(cell(loss, transform) for transform in columns) + " |")
    head = "# Losses under torch's transforms\n\nWritten by `python -m tests.losses.transforms_table`, torch "
    text = f"""{head}{torch.__version__}. A cell is the largest difference of
the gradient (of the value in the last two columns) from the plain one, in float64; compile is with `fullgraph=True`.
`after changes`: what was given as lengths and targets is overwritten between forward and backward.
"""
    write_text(Path(__file__).with_name("transforms.md"), text + "\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
