"""The files that transcripts are kept in: a manifest, and lines with digests."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seqkd.errors import DataError
from seqkd.files import decode_line
from seqkd.stages import again
from seqkd.teachers.external.agreement import agreement
from seqkd.teachers.external.audio import TeacherTranscript, TeacherWord

VERSION = 1


@dataclass(frozen=True)
class TranscriptEntry:
    """One utterance: its hypotheses, best first, and how far they agree, from 0 to 1.

    ``content`` is the hash of the audio that was transcribed; "" if that is not known.
    """

    hypotheses: tuple[TeacherTranscript, ...]
    agreement: float
    content: str = ""


def read_manifest(directory: Path) -> dict[str, Any]:
    """``manifest.json`` of a directory; DataError if it is missing or damaged."""
    path = directory / "manifest.json"
    if not path.is_file():
        raise DataError(f"{directory} has no transcripts: {path.name} is missing; {again('book')}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        _ = found["teacher"]["name"], found["teacher"]["hash"], found["n"], found["settings"]
        if found["version"] != VERSION:
            raise DataError(f"{path} is of version {found['version']} and this seqkd reads {VERSION}; update seqkd")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({error!r}); restore it, or delete {directory} and write it again"
        ) from error
    return found


def line_of(utterance: str, hypotheses: list[TeacherTranscript], teacher: str, content: str = "") -> str:
    """One line of a file of transcripts; DataError, naming the teacher, for a log-probability that is none."""
    for one in hypotheses:
        if not math.isfinite(one.log_prob):
            raise DataError(f"{teacher} gives utterance {utterance!r} a log-probability of {one.log_prob}; check it")
    entry = {
        "id": utterance,
        # Without word times a line is what it was before there were any.
        "hypotheses": [{key: value for key, value in asdict(one).items() if value != ()} for one in hypotheses],
        "agreement": agreement([one.text for one in hypotheses]),
        **({"content": content} if content else {}),
    }
    return json.dumps({**entry, "digest": _digest(entry)}, ensure_ascii=False) + "\n"


def append(path: Path, lines: list[str]) -> None:
    """Add lines to a file, so that they are on the disk when this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(lines))
        file.flush()
        os.fsync(file.fileno())


def _digest(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:16]


def read_lines(path: Path) -> dict[str, TranscriptEntry]:
    """Entries by utterance id, but for a last line that breaks off; DataError naming a line that is damaged."""
    found = {}
    for number, raw in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not raw.endswith(b"\n"):
            break  # being written, or its writer was killed
        where = f"{path}, line {number}"
        try:
            value = json.loads(decode_line(raw, where))
            if value.pop("digest") != _digest(value):
                raise ValueError("its digest is another")
            found[value["id"]] = TranscriptEntry(
                tuple(_hypothesis(**one) for one in value["hypotheses"]), value["agreement"], value.get("content", "")
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{where}: damaged ({error}); delete the line and {again('book')}") from error
    return found


def _hypothesis(text: str, log_prob: float, words: Sequence[Mapping[str, Any]] = ()) -> TeacherTranscript:
    return TeacherTranscript(text, log_prob, tuple(TeacherWord(**word) for word in words))


def cut_off_unfinished(path: Path) -> None:
    """Remove a last line that breaks off, if there is a file."""
    content = path.read_bytes() if path.is_file() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
