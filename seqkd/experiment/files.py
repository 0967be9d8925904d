"""The files that every finished run leaves, whatever its task: settings, history and summary."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqkd.errors import DataError

COUNTS, SCORE = "counts.npz", "score.json"  # what scoring leaves in a decoding


def seed_directories(directory: Path) -> list[tuple[int, Path]]:
    """Return the seeds of a system, in order, and where each is."""
    found = [(re.fullmatch(r"seed(\d+)", path.name), path) for path in directory.glob("seed*")]
    return sorted((int(match[1]), path) for match, path in found if match)


def read_json(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Read a JSON object; DataError unless it has ``keys``."""
    try:
        value = json.loads(_read(path))
    except json.JSONDecodeError as fault:
        raise DataError(f"{path}, line {fault.lineno}: not JSON ({fault.msg}).") from None
    absent = [key for key in keys if key not in value]
    if absent:
        raise DataError(f"{path} lacks {', '.join(absent)}.")
    return value


def read_yaml(path: Path) -> dict[str, Any]:
    """Read settings."""
    import yaml

    try:
        return yaml.safe_load(_read(path)) or {}
    except yaml.YAMLError as fault:
        raise DataError(f"{path} is not YAML: {' '.join(str(fault).split())}") from None


def flatten(config: Any, prefix: str = "") -> dict[str, str]:
    """Return nested settings by dotted key, as text."""
    if not isinstance(config, dict) or not config:
        return {prefix.rstrip("."): str(config)}
    flat: dict[str, str] = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.")
    return flat


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file, although the run has a summary.") from None


def is_scored(run: Path, name: str) -> bool:
    """Whether a run has scores of the test set ``name``, of whatever age."""
    return all((run / f"decode_{name}" / file).is_file() for file in (COUNTS, SCORE))
