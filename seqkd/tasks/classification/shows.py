"""What each published method is to show, and against what: a section a method, where its systems were trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from seqkd.experiment.read import Experiment


def sections(cfg: DictConfig, experiment: Experiment, figures: Path) -> list[str]:
    """Return the sections of the methods that were run."""
    return []
