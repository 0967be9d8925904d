"""Where things are in an experiment directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run_directory(cfg: DictConfig, system: str | None = None, seed: int | None = None) -> Path:
    """``<exp>/<system>/seed<k>``, by default of the settings' own system and seed."""
    return Path(cfg.exp) / (system or cfg.system.name) / f"seed{cfg.seed if seed is None else seed}"


def teacher_directory(cfg: DictConfig) -> Path:
    """The model directory that teaches: imported, or trained in stage 3."""
    return Path(cfg.teacher.import_from or run_directory(cfg, "teacher", 0) / "model")
