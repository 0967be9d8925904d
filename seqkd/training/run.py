"""From settings to a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.losses.build import imported
from seqkd.training.study import Study

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from seqkd.task import Task


def train(task: Task, cfg: DictConfig) -> Path:
    """Train ``cfg.system`` with ``cfg.seed``; return the run's directory. A finished, unchanged run is left alone.

    The system's ``procedure`` does it: a function of a `Study`, by default one phase of training.

    Raises:
        ConfigError: settings that cannot be, or a teacher that is not trained yet.
    """
    study = Study(task, cfg)
    procedure = imported(cfg.system.procedure, "setting system.procedure")
    procedure(study)
    return study.directory
