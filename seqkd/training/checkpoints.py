"""Resume points that survive ``kill -9``, and weight averaging."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor


class ResumePoint(Checkpoint):
    """Writes ``resume-step=<k>.ckpt`` after every validation, atomically, and keeps the one before it too.

    A ``Checkpoint``, so that Lightning calls it last: what the callback for the best checkpoints knows is inside.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def on_validation_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Write when validation is over and nothing of the next update has begun."""
        step = trainer.global_step
        path = self.directory / f"resume-step={step}.ckpt"
        if path.exists():
            return
        temporary = self.directory / "resume.tmp"
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            temporary.replace(path)
            for old in resume_points(self.directory)[:-2]:
                old.unlink()


def resume_points(directory: Path) -> list[Path]:
    """Resume points, oldest first."""
    return sorted(directory.glob("resume-step=*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))


def newest_resume_point(directory: Path) -> Path | None:
    """The newest resume point that can be read; a damaged one is passed over for the one before it."""
    for path in reversed(resume_points(directory)):
        try:
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # any damage: torn zip, missing key, truncated file
            path.unlink()
            continue
        return path
    return None


def average_weights(paths: list[str], prefix: str) -> dict[str, Tensor]:
    """Average the tensors whose names begin with ``prefix``, which is taken off, in float64."""
    states = [torch.load(path, map_location="cpu", weights_only=True)["state_dict"] for path in paths]
    return {
        name.removeprefix(prefix): torch.stack([s[name].double() for s in states]).mean(0).to(states[0][name].dtype)
        for name in states[0]
        if name.startswith(prefix)
    }
