"""What a task is: the only things in which speech, translation, songs and classes differ.

``training/``, ``experiment/`` and ``cli/`` import no task: they are handed one. A task says what its data are, how its
model is built and run, how it decodes, which sums it counts for its measures, and what only its report shows.

Letters: P passes, B items, T frames, target positions or seconds (1 for a classifier), C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from seqkd.experiment.read import Experiment
    from seqkd.losses.objective import Objective
    from seqkd.statistics.measures import Measure
    from seqkd.statistics.table import Table
    from seqkd.training.study import Study
    from seqkd.training.workload import Workload

RunName = tuple[str, int]  # a system and a seed


@dataclass(frozen=True)
class Monitor:
    """What training watches on dev, the lower the better, and how it is shown.

    Attributes:
        key: its name in a row of history.json.
        name: its name for people.
        unit: of the value as it is shown, such as "%".
        scale: what it is multiplied by for people.
        decimals: to show.
    """

    key: str
    name: str
    unit: str = ""
    scale: float = 1.0
    decimals: int = 2

    @property
    def label(self) -> str:
        """Name and unit, for a column or an axis."""
        return f"{self.name} {self.unit}".rstrip()

    def with_unit(self, value: float) -> str:
        """As in ``dev WER 3.21 %``."""
        return f"{self.name} {self.scale * value:.{self.decimals}f} {self.unit}".rstrip()


class Task(Protocol):
    """One kind of recipe: settings in ``seqkd/conf/<name>``, the object ``TASK`` in ``seqkd/tasks/<name>/``.

    A task inherits `seqkd.experiment.scores.Scores`, where what only concerns scores has its usual values.
    """

    name: str
    measures: tuple[Measure, ...]  # the first ranks systems, and is compared with controls
    further: tuple[Measure, ...]  # in score.json, too, but only in the task's own sections of the report
    teacher: str  # the system whose lead over ``student`` others keep a share of
    student: str  # the system without any teacher
    baseline: str | None  # the system that all are compared with, besides each one's control
    monitor: Monitor  # what training watches on dev
    items: str  # what an item of a test set is called, in the plural
    units: tuple[tuple[str, str], ...]  # columns of counts that say how large a test set is, and what they count
    outputs: tuple[str, ...]  # files that scoring leaves in a decoding

    # -- before training

    def prepare(self, cfg: DictConfig) -> None:
        """Validate every set the recipe uses, make features and units; what is done and unchanged is skipped."""

    def teachers_of(self, cfg: DictConfig, system: DictConfig, seed: int) -> list[RunName]:
        """The runs that must be finished before this one: whose outputs it is trained on, if any."""

    def check_teachers(self, cfg: DictConfig) -> str:
        """What the stage "check" prints of the teachers before anyone learns from them; may be empty."""

    def make_book(self, cfg: DictConfig, systems: Sequence[DictConfig], shard: int, shards: int) -> None:
        """Write what teachers give to the training data, or a share of it, for ``systems``, the settings of each."""

    def entries_to_make(self, cfg: DictConfig, systems: Sequence[DictConfig]) -> int:
        """How many entries of the book are missing."""

    # -- training

    def describe(self, cfg: DictConfig, objective: Objective) -> dict[str, Any]:
        """Everything, besides the objective and the seed, that decides the weights that training ends with."""

    def workload(self, study: Study) -> Workload:
        """Data, model and teachers of one run."""

    # -- after training

    def decode(self, cfg: DictConfig, run: Path, name: str) -> None:
        """Fill ``<run>/decode_<name>`` for the test set ``name``; done and unchanged, it is left alone."""

    def evidence(self, cfg: DictConfig, run: Path, name: str) -> Mapping[str, Any]:
        """Content hashes and settings of all that `count` looks at: a score of other evidence is out of date."""

    def count(self, cfg: DictConfig, run: Path, name: str) -> Table:
        """One row of sums an item of the test set ``name``, from ``<run>/decode_<name>`` and the references."""

    def details(self, cfg: DictConfig, run: Path, name: str, table: Table) -> dict[str, Any]:
        """What else score.json holds; what else of ``outputs`` there is gets written here."""

    def legend(self, cfg: DictConfig, experiment: Experiment) -> list[str]:
        """Sentences for the legend of the results that the measures do not carry themselves."""

    def sections(self, cfg: DictConfig, experiment: Experiment) -> list[str]:
        """Markdown that only this task's RESULTS.md has; figures go to ``figures`` beside ``report.out``."""

    def export(self, cfg: DictConfig, systems: Sequence[DictConfig]) -> None:
        """Files to deploy, of the trained ``systems``, the settings of each."""
