"""What the reports of all tasks are put together from: tables, lists, settings and where the numbers come from."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from seqkd.experiment.provenance import describe_commit, describe_environment, without_paths


class AnyRun(Protocol):
    """One seed of a system, as far as the parts that all tasks share need it.

    Attributes:
        config: resolved settings.
        history: a row a validation, with ``step``.
        summary: at least ``steps``, ``passes`` and ``train_seconds``.
    """

    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]


class AnySystem(Protocol):
    """All finished seeds of a system; see `seqkd.experiment.speech.System`."""

    label: str
    control: str | None
    runs: Sequence[AnyRun]
    unfinished: list[int]

    def mean(self, key: str) -> float:
        """Return a number of the summaries, averaged over seeds."""


class AnyExperiment(Protocol):
    """Systems in display order, whatever their task."""

    systems: Mapping[str, AnySystem]

    @property
    def finished(self) -> Mapping[str, AnySystem]:
        """The systems with at least one finished seed."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])


def bullets(lines: Sequence[str]) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def thousands(parameters: float) -> str:
    """Say how large a model is."""
    return f"{parameters / 1e6:.2f} M" if parameters >= 1e6 else f"{parameters / 1e3:.0f} k"


def settings(experiment: AnyExperiment) -> str:
    """What most systems share in one block, and for each system what it sets differently."""
    configs = {name: _flatten(system.runs[0].config) for name, system in experiment.finished.items()}
    keys = sorted({key for config in configs.values() for key in config})
    common = {key: Counter(config.get(key) for config in configs.values()).most_common(1)[0][0] for key in keys}
    lines = []
    for name, config in configs.items():
        differing = [f"`{key}={config.get(key)}`" for key in keys if config.get(key) != common[key]]
        if differing:
            lines.append(f"{experiment.systems[name].label}: {', '.join(differing)}")
    shared = "\n".join(f"{key}: {value}" for key, value in common.items() if value is not None)
    details = f"<details><summary>Settings of most systems</summary>\n\n```yaml\n{shared}\n```\n\n</details>"
    return f"{bullets(lines)}\n\n{details}" if lines else details


def _flatten(config: Any, prefix: str = "") -> dict[str, str]:
    """Return settings by dotted key, absolute paths shortened, without the seeds, in which runs differ."""
    if not isinstance(config, dict) or not config:
        return {prefix.rstrip("."): without_paths(str(config))}
    flat: dict[str, str] = {}
    for key, value in config.items():
        if key != "seed":
            flat |= _flatten(value, f"{prefix}{key}.")
    return flat


def origin(
    experiment: AnyExperiment,
    command: str,
    environment: Mapping[str, str] | None,
    out: Path,
    now: datetime.datetime | None,
) -> str:
    """Say what made the report: command, commit, date, training time and machine.

    Args:
        experiment: the finished runs.
        command: what a reader types to get the report.
        environment: lines about software and processor; by default this machine's.
        out: the report, which does not count as an uncommitted change.
        now: date of the report.
    """
    runs = [run for system in experiment.finished.values() for run in system.runs]
    seconds = sum(run.summary["train_seconds"] for run in runs)
    facts = {
        "Command": f"`{without_paths(command)}`",
        "Commit": describe_commit(out.parent, ignore=[out, out.parent / "figures"]),
        "Date": f"{now or datetime.datetime.now():%Y-%m-%d}",
        "Training time": f"{seconds / 60:.0f} minutes for {len(runs)} runs",
        **(describe_environment() if environment is None else environment),
    }
    return bullets([f"{name}: {fact}" for name, fact in facts.items() if fact])
