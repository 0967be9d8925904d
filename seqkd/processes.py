"""How many processes a training run has, on which machines, and which of them this one is.

They are started from outside: by torchrun on one machine or several, or by Slurm's ``srun``, which say in the
environment what each is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqkd.errors import ConfigError, SeqkdError

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Needs:
    """What a job runs on.

    Attributes:
        nodes: machines.
        ngpu: GPUs on each of them, with one process a GPU; 0 is the CPU.
        processes: on each machine where there is no GPU.
    """

    nodes: int = 1
    ngpu: int = 0
    processes: int = 1

    @property
    def per_node(self) -> int:
        """Processes on each machine."""
        return self.ngpu or self.processes

    @property
    def world(self) -> int:
        """Processes on all of them."""
        return self.nodes * self.per_node

    def __str__(self) -> str:
        return f"{self.nodes} node(s) × {self.per_node} {'GPU' if self.ngpu else 'process'}(es)"


@dataclass(frozen=True)
class Place:
    """Which process of a run this is: number ``rank`` of ``world``, started by ``starter`` (torchrun or srun)."""

    rank: int
    world: int
    starter: str


def needs_of(cfg: DictConfig) -> Needs:
    """Of one training run. A task without the settings ``nodes`` and ``processes`` trains in one process.

    Raises ConfigError for less than one of either.
    """
    if "processes" not in cfg:
        return Needs()
    for name in ("nodes", "processes"):
        if cfg[name] < 1:
            raise ConfigError(f"setting {name} is {cfg[name]}; expected at least 1")
    return Needs(cfg.nodes, cfg.ngpu, cfg.processes)


def place() -> Place | None:
    """This process's place among those that torchrun or srun has started; None if it was started by itself.

    Inside an sbatch script, but not under srun, a process is by itself, though Slurm's variables are there.
    """
    told = os.environ
    if "TORCHELASTIC_RUN_ID" in told:
        return Place(int(told["RANK"]), int(told["WORLD_SIZE"]), "torchrun")
    if "SLURM_STEP_ID" in told and "SLURM_STEP_NUM_TASKS" in told:
        return Place(int(told["SLURM_PROCID"]), int(told["SLURM_STEP_NUM_TASKS"]), "srun")
    return None


def rank() -> int:
    """0 in the process that holds a run's directory, writes and reports; another number in the others."""
    here = place()
    # LOCAL_RANK alone is what Lightning tells the processes it starts, in a program of one's own.
    return here.rank if here else int(os.environ.get("LOCAL_RANK", 0))


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 600.0) -> None:
    """Wait for what another process does. Raises SeqkdError, naming ``what``, when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SeqkdError(f"waited {seconds:.0f} s in vain for {what}; look into the log of that process")
        time.sleep(0.1)


def check_place(needs: Needs) -> None:
    """Raise ConfigError when other processes were started than the settings say, which would wait for ever."""
    here = place()
    if here and here.world != needs.world:
        raise ConfigError(
            f"{here.starter} started {here.world} process(es), but nodes=, --ngpu and processes= ask for {needs}, "
            f"{needs.world} in all; start as many as they say"
        )
