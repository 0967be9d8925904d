"""Resume points that survive ``kill -9``, and weight averaging."""

from __future__ import annotations

import errno
import logging
import pickle
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from seqkd.errors import DataError

log = logging.getLogger("seqkd")

# What torch.load raises for files that were cut off or have changed bytes: torn zips, and pickles that make no sense.
_DAMAGE = (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)


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
    """The newest resume point that is whole. A damaged one is renamed ``*.damaged``, and the one before it is taken.

    Raises:
        DataError: one cannot be read now, but may be whole. Without it the training would begin anew.
    """
    points = resume_points(directory)
    for path in reversed(points):
        damage = damage_of(path)
        if damage is None:
            return path
        kept = path.replace(path.with_name(f"{path.name}.damaged"))
        log.warning("%s is damaged (%s): kept as %s, and not resumed from", path, damage, kept)
    if points:
        log.warning("%s: no resume point is whole, so training begins at update 0", directory)
    return None


def damage_of(path: Path) -> str | None:
    """What is wrong with a resume point; None if it is whole. Raises DataError where that cannot be found out."""
    try:
        with path.open("rb") as file:  # first, so that a fault of the disk is not taken for one of the content
            while file.read(1 << 24):
                pass
        torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError, *_DAMAGE) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a zip's index points out of the file
            raise DataError(
                f"{path} cannot be read ({error.strerror or error}); make it readable and run again: training carries "
                "on from it"
            ) from error
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in reason):
            raise DataError(
                f"{path} does not fit into the memory ({reason}); free memory and run again: training carries on from "
                "it"
            ) from error
        return reason
    return None


def average_weights(paths: list[str], prefix: str) -> dict[str, Tensor]:
    """Average the tensors whose names begin with ``prefix``, which is taken off, in float64."""
    states = [torch.load(path, map_location="cpu", weights_only=True)["state_dict"] for path in paths]
    return {
        name.removeprefix(prefix): torch.stack([s[name].double() for s in states]).mean(0).to(states[0][name].dtype)
        for name in states[0]
        if name.startswith(prefix)
    }
