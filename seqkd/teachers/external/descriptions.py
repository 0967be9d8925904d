"""Reading the JSON files that describe a teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seqkd.errors import ConfigError, DataError


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; DataError if the file is missing or holds something else."""
    if not path.is_file():
        raise DataError(f"{path} is missing; it describes the teacher")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}); write it again") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} is no JSON object but a {type(value).__name__}; write it again")
    return value


def check_fields(path: Path, value: dict[str, Any], fields: set[str]) -> None:
    """Raise ConfigError unless ``value`` has exactly these fields."""
    for does, wrong in (("lacks", fields - set(value)), ("has the unknown", set(value) - fields)):
        if wrong:
            raise ConfigError(f"{path} {does} {', '.join(sorted(wrong))}; expected {', '.join(sorted(fields))}")


def one_line(error: BaseException) -> str:
    """A message of many lines as a part of one sentence."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 200 else text[:197] + "..."
