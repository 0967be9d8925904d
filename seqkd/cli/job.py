"""A command line to run with a log file, and what runs it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from seqkd.processes import Needs


@dataclass
class Job:
    """A ``seqkd`` command line without the program name, where its output goes, and what it runs on."""

    name: str
    arguments: list[str]
    log: Path
    needs: Needs = field(default_factory=Needs)

    @property
    def command(self) -> list[str]:
        """The whole command line."""
        return [sys.executable, "-m", "seqkd.cli.main", *self.arguments]


class Backend(Protocol):
    """Where jobs run. A job is known there by what ``start`` returned: its handle."""

    pause: float  # seconds between two looks
    news_every: float  # seconds between two questions for news

    def start(self, job: Job) -> Any:
        """Start a job, its output going to ``job.log``, or put it into a queue."""

    def ended(self, running: dict[Any, Job]) -> dict[Any, int | str]:
        """Exit statuses of the jobs that have ended; a word where there is none, such as TIMEOUT."""

    def news(self, running: dict[Any, Job]) -> list[str]:
        """Lines on how far the jobs are, or what they wait for."""

    def stop(self, running: dict[Any, Job]) -> None:
        """End these jobs."""
