"""What a task gives to the training of one model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol

from torch import nn
from torch.utils.data import DataLoader

from seqkd.losses import Hypotheses, Labels, Outputs
from seqkd.task import Monitor
from seqkd.training.settings import TrainingSettings

# What gives another model's outputs for what the student was given (see `Workload.views`) and its outputs.
Source = Callable[[Any, Outputs], Outputs | Hypotheses]


class Workload(Protocol):
    """Data, model and teachers of one training.

    Attributes:
        model: what is trained.
        settings: of the training.
        monitor: by which checkpoints are chosen.
        sources: "teacher", if the objective looks at one. A source may have ``to(device)``, and ``counts``, numbers by
            name that are kept through interruptions and written to the run's summary.
    """

    model: nn.Module
    settings: TrainingSettings
    monitor: Monitor
    sources: dict[str, Source]

    def training(self, start: int, rank: int, world: int) -> DataLoader:
        """Batches from update ``start`` on, of process ``rank`` of ``world``."""

    def dev(self, rank: int, world: int) -> DataLoader:
        """Every item of the development set once; processes take turns."""

    def views(self, batch: Any) -> Any:
        """What the passes are given: masks, mixtures or other augmentation, drawn from torch's generator."""

    def outputs(self, model: nn.Module, seen: Any, layers: Collection[str] = (), passes: int = 1) -> Outputs:
        """The model's outputs for ``passes`` passes, with the layers asked for."""

    def labels(self, seen: Any) -> Labels:
        """What the items are to be."""

    def count(self, batch: Any) -> float:
        """What a loss summed over the batch is divided by: items, or positions."""

    def measure(self, model: nn.Module, batch: Any) -> dict[str, tuple[float, float]]:
        """Of a batch of dev, by name: a sum, and what it is divided by when all batches are added up.

        The first is the monitor's, and has its name.
        """

    def further(self, model: nn.Module) -> dict[str, float]:
        """Measures of dev of which more is better, for ``training.keep``; a task that has none needs no such method."""

    def save(self, directory: Path) -> None:
        """Write the model directory."""

    def summary(self) -> dict[str, Any]:
        """What only this task's reports say of a run."""
