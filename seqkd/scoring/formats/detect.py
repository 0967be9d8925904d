"""Which format a file has: from its content, with its name as a hint. What stays open is an error."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from seqkd.errors import ConfigError, DataError
from seqkd.scoring.formats.columns import heading
from seqkd.scoring.formats.reading import Reading, split

FORMATS = {
    "text": "Kaldi's text: id words",
    "trn": "sclite's words (id)",
    "stm": "NIST's file channel speaker begin end words: references by time",
    "ctm": "NIST's file channel begin duration word: hypotheses by time",
    "seglst": "a JSON list of segments",
    "jsonl": "a JSON object a line, with id and text",
    "nemo": "NeMo's manifest: a JSON object a line, with audio_filepath and text",
    "csv": "a table with a heading, separated by commas, semicolons or tabs",
    "lines": "lines of words without ids, in the same order on both sides",
}
# ``.txt``, ``.ref``, ``.hyp`` and the like are no hint.
_NAMES = {
    "text": "text", "trn": "trn", "stm": "stm", "ctm": "ctm", "seglst": "seglst", "json": "json", "jsonl": "json",
    "ndjson": "json", "manifest": "json", "csv": "csv", "tsv": "csv",
}  # fmt: skip
_SAMPLE = 2000  # lines that are looked at
_TRN = re.compile(r".*\(([^()]+)\)\s*")
_LIKE_AN_ID = re.compile(r"[\d_/\\.:@#|]|.-.")
BY_OPTION, BY_NAME, BY_CONTENT = "by --format", "by its name", "by its content"


def detect(path: Path | str, reading: Reading, wanted: str | None = None) -> tuple[str, str]:
    """Return one of `FORMATS`, and how it was found.

    Args:
        path: of the file.
        reading: reads it, once.
        wanted: the format, if the user names one.

    Raises:
        ConfigError: there is no format of that name.
        DataError: the content is of none, or may be of two, or is of another than the name suggests.
    """
    if wanted is not None:
        if wanted not in FORMATS:
            raise ConfigError(f"there is no format {wanted!r}; known: {', '.join(FORMATS)}")
        return wanted, BY_OPTION
    named = by_name(path)
    lines = sample(Path(path), reading)
    first = lines[0].lstrip() if lines else ""
    if first[:1] in ("[", "{") and (named in (None, "json") or named == "seglst"):
        return _json(Path(path), first, lines), BY_CONTENT
    if named == "json":
        raise DataError(f"{path}: named as JSON, and begins with neither [ nor {{; say what it is with --format.")
    if named is not None:
        seen = certain(lines)
        if seen is not None and seen != named:
            raise DataError(f"{path}: named as {named}, and looks like {seen}; say which with --format.")
        return named, BY_NAME
    if not lines:
        raise DataError(f"{path} holds no transcripts, so that its format cannot be recognised.")
    seen = certain(lines)
    if seen is not None:
        return seen, BY_CONTENT
    if _has_ids(lines):
        return "text", BY_CONTENT
    raise DataError(
        f"{path}: the format cannot be recognised: the lines begin with no ids that could be distinguished from words; "
        "say --format text (Kaldi's: id words) or --format lines (no ids)."
    )


def by_name(path: Path | str) -> str | None:
    """The format that the name suggests: its last part that is known, in any case, as of ``x.TRN``, ``x.trn.txt`` or
    ``stm.gz``.
    """
    parts = [part for part in Path(path).name.lower().split(".") if part not in ("gz", "txt")]
    return next((_NAMES[part] for part in reversed(parts[1:] or parts) if part in _NAMES), None)


def certain(lines: Sequence[str]) -> str | None:
    """The format that all of the lines are of, if it can be no other."""
    data = [line for line in lines if line.strip() and not line.startswith(";;")]
    if not data:
        return None
    if heading(data[0]) is not None:
        return "csv"
    fields = [line.split() for line in data]
    if all(map(_is_stm, fields)):
        return "stm"
    if all(5 <= len(one) <= 8 and _is_ctm(one) for one in fields):
        return "ctm"
    ids = [found[1].strip() if (found := _TRN.fullmatch(line)) else "" for line in data]
    if all(ids) and len(set(ids)) == len(ids):
        return "trn"
    return None


def _has_ids(lines: Sequence[str]) -> bool:
    firsts = [line.split()[0] for line in lines if line.strip()]
    return bool(firsts) and all(_LIKE_AN_ID.search(first) for first in firsts)


def _is_stm(fields: Sequence[str]) -> bool:
    return len(fields) >= 5 and all(map(_is_time, fields[3:5])) and float(fields[3]) <= float(fields[4])


def _is_ctm(fields: Sequence[str]) -> bool:
    return (_is_time(fields[2]) and _is_time(fields[3])) or fields[4][:4].upper() == "<ALT"


def _is_time(text: str) -> bool:
    try:
        return float(text) >= 0
    except ValueError:
        return False


def sample(path: Path, reading: Reading) -> list[str]:
    """The first lines that are not blank."""
    lines = []
    for _, line in split(path, reading.content(path), reading.encoding):
        if line.strip():
            lines.append(line)
        if len(lines) == _SAMPLE:
            break
    return lines


def _json(path: Path, first: str, lines: Sequence[str]) -> str:
    if first.startswith("["):
        return "seglst"
    try:
        entry = json.loads(first)
    except json.JSONDecodeError:
        entry = None
    if isinstance(entry, dict) and "audio_filepath" in entry and "id" not in entry:
        return "nemo"
    if isinstance(entry, dict) and len(lines) == 1 and by_name(path) == "json" and "id" not in entry:
        return "seglst"  # whose fault is then named
    return "jsonl"
