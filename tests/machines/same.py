"""What makes a training run comparable over processes, and how alike two of them are."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file

# Nothing random but the order of the batches: dropout and masks are drawn by each process for itself.
NO_NOISE = (
    "student.model.dropout=0.0",
    *(f"student.augment.{name}=0" for name in ("freq_masks", "time_masks", "warp")),
)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def rows(run: Path) -> list[dict[str, float]]:
    """The history without what a clock says."""
    history = json.loads((run / "history.json").read_text())["rows"]
    return [{k: v for k, v in row.items() if k not in ("seconds", "train")} | row["train"] for row in history]


def assert_same(one: Path, other: Path) -> None:
    """Bit for bit."""
    assert rows(one) == rows(other)
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys() and all(mine[name].equal(theirs[name]) for name in mine)


def assert_close(one: Path, other: Path) -> None:
    """To what the order of float32 sums leaves after some updates. Training terms are each process' own."""
    for mine, theirs in zip(rows(one), rows(other), strict=True):
        assert all(math.isclose(mine[name], theirs[name], rel_tol=1e-5) for name in ("step", "lr", "dev_wer"))
    mine, theirs = weights(one), weights(other)
    for name, value in mine.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-3, atol=2e-4)
