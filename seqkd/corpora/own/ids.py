"""What utterances are called: ids that stay when files are added, copied elsewhere or packed anew."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from seqkd.corpora.own.sources import KALDI, Source
from seqkd.corpora.own.tables import Item
from seqkd.errors import DataError


def make_ids(source: Source, items: Sequence[Item], name: str, taken: Mapping[str, str]) -> list[str]:
    """Return ids: those of Kaldi; or given ones or names of files, with the speaker before them, as Kaldi wants it."""
    stems = _name_files(source, items)
    ids: dict[str, None] = {}
    for item in items:
        key = stems[item.audio] if item.id is None else "_".join(item.id.split())
        if not key:
            raise DataError(f"{item.where}: the id is {item.id!r}; expected one word.")
        if item.id is None and (item.start or item.end is not None):
            key = f"{key}-{round(100 * item.start):07d}" + (f"-{round(100 * item.end):07d}" if item.end else "")
        speaker = speaker_of(item)
        if speaker and source.kind != KALDI and not key.startswith(speaker):
            key = f"{speaker}-{key}"
        if item.id is None and key in taken:
            key = f"{key}-{name}"
        if key in ids:
            raise DataError(f"{item.where}: id {key!r} is there already in {name}; every id must be unique.")
        if key in taken:
            raise DataError(f"{item.where}: id {key!r} is in {taken[key]}, too; ids must differ between sets.")
        ids[key] = None
    return list(ids)


def _name_files(source: Source, items: Sequence[Item]) -> dict[Path, str]:
    """Return what the ids of files without ids of their own are made of.

    Of files that would be called alike, the first keeps the name: those that come later do not rename it.
    """
    stems: dict[Path, str] = {}
    taken: set[str] = set()
    for item in items:
        if item.id is not None or item.audio in stems:
            continue
        path = Path(item.name or os.path.relpath(item.audio, source.root))
        outside = item.name is None and path.parts[0] == ".."
        key = re.sub(r"[^\w.+-]+", "_", str(Path(path.name if outside else path).with_suffix("")).replace("/", "-"))
        if outside:
            # By as few of the folders above it as tell it from others: a disk may be mounted elsewhere one day.
            parts = [part for part in path.parts if part != ".."]
            names = [f"{key}-{_short('/'.join(parts[-depth:]))}" for depth in range(min(2, len(parts)), len(parts) + 1)]
        else:
            names = [key, *([f"{key}-{item.apart}"] if item.apart else [])]
            names.append(f"{key}-{_short(f'{item.apart} {path}' if item.apart else str(path))}")
        stems[item.audio] = next((one for one in names if one not in taken), names[-1])
        taken.add(stems[item.audio])
    return stems


def _short(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:6]


def speaker_of(item: Item) -> str | None:
    """The speaker of an utterance as one word; None if it is not given."""
    return re.sub(r"\s+", "_", item.speaker) if item.speaker else None
