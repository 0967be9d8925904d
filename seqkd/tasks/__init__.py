"""The four tasks: asr, translation, classification and shots. Each is a package with an object ``TASK``.

The commands read their settings from ``seqkd/conf/<task>`` and hand the task to ``seqkd.training`` and
``seqkd.experiment``, which know no task. `seqkd.task` says what one has.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from seqkd.task import Task


def task_of(cfg: DictConfig) -> Task:
    """The task of the settings."""
    return importlib.import_module(f"seqkd.tasks.{cfg.task}").TASK
