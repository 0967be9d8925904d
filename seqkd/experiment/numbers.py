"""RESULTS.json beside RESULTS.md: the numbers of its tables, for programs; `seqkd.experiment.claims` reads it.

    {"schema": 1, "title": ..., "command": ..., "commit": ..., "items": N, "replicates": R,
     "measures": {"wer": {"name": "WER", "unit": "%", "scale": 100, "decimals": 2, "higher_is_better": false}},
     "systems": {"kd": {"label": "KD", "control": "student", "parameters": ..., "minutes": ..., "lead_kept": ...,
                        "wer": {"value": .0361, "ci95": [.031, .041], "by_seed": {"0": .0361}}}},
     "comparisons": [{"system": "kd", "other": "student", "measure": "wer", "delta": -.025, "ci95": [-.03, -.02],
                      "p_value": .0002, "holm": true, "items_only": true}]}

Values are not scaled: a WER of 3.61 % is .0361. What is undefined is null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seqkd.errors import DataError
from seqkd.experiment.files import read_json
from seqkd.experiment.findings import Comparisons, share_kept
from seqkd.experiment.read import Experiment
from seqkd.files import write_text
from seqkd.statistics.bootstrap import Difference
from seqkd.statistics.measures import Measure, ratio

SCHEMA = 1
_OF_A_MEASURE = ("name", "unit", "scale", "decimals", "higher_is_better")


def path_beside(report: Path) -> Path:
    """Where the numbers of a report are."""
    return report.with_suffix(".json")


def write_numbers(
    path: Path, experiment: Experiment, comparisons: Comparisons, *, title: str, command: str, commit: str | None
) -> None:
    """Write the numbers of a report, one system and one comparison a line; a file that holds them already is left.

    Args:
        path: of the file.
        experiment, comparisons: what the report shows.
        title, command, commit: of the report.
    """
    measures = {one.key: one for one in (*experiment.task.measures, *experiment.task.further)}
    head = {
        "schema": SCHEMA,
        "title": title,
        "command": command,
        "commit": commit,
        "items": len(experiment.some_run.table),
        "replicates": experiment.replicates,
        "measures": {key: {name: getattr(one, name) for name in _OF_A_MEASURE} for key, one in measures.items()},
    }
    systems = [f"{_text(name)}: {_text(_system(experiment, name))}" for name in experiment.finished]
    compared = [
        {
            "system": name,
            "other": other,
            "measure": key,
            "delta": _number(one.difference.delta),
            "ci95": _pair(one.difference.ci95),
            "p_value": _number(one.difference.p_value),
            "holm": one.survives,
            "items_only": one.difference.items_only,
        }
        for (name, other), by_measure in comparisons.items()
        for key, one in by_measure.items()
    ]
    lines = [f"{_text(key)}: {_text(value)}" for key, value in head.items()]
    lines.append('"systems": {\n  ' + ",\n  ".join(systems) + "\n}")
    lines.append('"comparisons": [\n  ' + ",\n  ".join(map(_text, compared)) + "\n]")
    text = "{" + ",\n".join(lines) + "}\n"
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:  # the same numbers are not new
        write_text(path, text)


def _system(experiment: Experiment, name: str) -> dict[str, Any]:
    system = experiment.finished[name]
    kept = share_kept(experiment, name)
    return {
        "label": system.label,
        "control": system.control,
        "parameters": _number(system.mean("parameters")),
        "minutes": _number(system.mean("train_seconds") / 60),
        "lead_kept": None if kept is None else _number(kept),
        **{
            key: {
                "value": _number(one.value),
                "ci95": _pair(one.ci95),
                "by_seed": {str(seed): _number(value) for seed, value in one.seeds.items()},
            }
            for key, one in experiment.estimates[name].items()
        },
    }


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _number(value: float) -> float | None:
    """Six digits: more are noise of the machine."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _pair(ends: tuple[float, float] | None) -> list[float | None] | None:
    return None if ends is None else [_number(end) for end in ends]


@dataclass(frozen=True)
class Numbers:
    """What a report's file of numbers holds; see the head of this module.

    Attributes:
        path: of the file.
        measures: by key, to be shown with; they compute nothing.
        systems: by name, as in the file.
        differences: by (system, other, key of the measure).
    """

    path: Path
    measures: Mapping[str, Measure]
    systems: Mapping[str, Mapping[str, Any]]
    differences: Mapping[tuple[str, str, str], Difference]

    def difference(self, system: str, other: str, key: str) -> Difference:
        """The first system less the other. Raises DataError if the report does not compare them in that measure."""
        if (system, other, key) in self.differences:
            return self.differences[system, other, key]
        if (other, system, key) not in self.differences:
            raise DataError(
                f"{self.path} does not compare {system} with {other} in {key}; add [{system}, {other}] to "
                "report.compare of its preset, and write the report anew"
            )
        one = self.differences[other, system, key]
        return replace(one, delta=-one.delta, ci95=None if one.ci95 is None else (-one.ci95[1], -one.ci95[0]))

    def seeds(self, system: str, key: str) -> int:
        """How many trainings of a system there are."""
        return len(self.systems[system][key]["by_seed"])


def read_numbers(path: Path) -> Numbers:
    """Read the numbers of a report. Raises DataError, naming the file, if it is missing or damaged."""
    found = read_json(path, ("schema", "measures", "systems", "comparisons"))
    if found["schema"] != SCHEMA:
        raise DataError(f"{path} has schema {found['schema']!r}; expected {SCHEMA}: write the report anew")
    try:
        measures = {key: Measure(key, columns=(), of=ratio, **one) for key, one in found["measures"].items()}
        differences = {
            (one["system"], one["other"], one["measure"]): Difference(
                measures[one["measure"]],
                math.nan if one["delta"] is None else one["delta"],
                None if one["ci95"] is None else tuple(one["ci95"]),
                one["p_value"],
                one["items_only"],
            )
            for one in found["comparisons"]
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error}); write the report anew") from error
    return Numbers(path, measures, found["systems"], differences)
