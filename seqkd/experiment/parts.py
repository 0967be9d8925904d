"""What the reports of all tasks are put together from: tables, lists, settings and where the numbers come from."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqkd.experiment.files import flatten
from seqkd.experiment.numbers import path_beside
from seqkd.experiment.provenance import describe_commit, describe_environment, without_paths

if TYPE_CHECKING:
    from seqkd.experiment.read import Experiment


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])


def bullets(lines: Sequence[str]) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def capital(sentence: str) -> str:
    """Return a sentence with a capital first letter, the others as they are."""
    return sentence[:1].upper() + sentence[1:]


def thousands(parameters: float) -> str:
    """Say how large a model is; a dash for one without parameters."""
    if not parameters:
        return "–"
    return f"{parameters / 1e6:.2f} M" if parameters >= 1e6 else f"{parameters / 1e3:.0f} k"


def settings(experiment: Experiment) -> str:
    """What most systems share in one block, and for each system what it sets differently."""
    configs = {name: _shown(system.runs[0].config) for name, system in experiment.finished.items()}
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


def _shown(config: dict[str, Any]) -> dict[str, str]:
    """Return settings by dotted key, absolute paths shortened, without the seed, in which runs differ."""
    flat = flatten({key: value for key, value in config.items() if key != "seed"})
    return {key: without_paths(value) for key, value in flat.items()}


def written(out: Path) -> list[Path]:
    """What a report consists of, and so is no change that it could be about."""
    return [out, path_beside(out), out.parent / "figures"]


def origin(
    experiment: Experiment,
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
        "Commit": describe_commit(out.parent, ignore=written(out)),
        "Date": f"{now or datetime.datetime.now():%Y-%m-%d}",
        "Training time": f"{seconds / 60:.0f} minutes for {len(runs)} runs",
        **(describe_environment() if environment is None else environment),
    }
    return bullets([f"{name}: {fact}" for name, fact in facts.items() if fact])
