"""Soft targets on disk: a book of the probabilities that a teacher gives every second of every training song.

Legend: T seconds, C shot classes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from seqkd.errors import ConfigError, DataError
from seqkd.knowledge import Book, Manifest, TeacherId, TeacherOutput, write_book
from seqkd.shots.classes import SHOTS
from seqkd.shots.lessons import SongSet

UNITS = hashlib.sha256(" ".join(SHOTS).encode()).hexdigest()[:16]


def write_targets(directory: Path, posteriors: Mapping[str, np.ndarray], *, teacher: str, songs: SongSet) -> None:
    """Write the probabilities (T, C) of each of the songs; ``teacher`` is a hash of whose they are."""
    if directory.exists() and not has_targets(directory, teacher=teacher, songs=songs):
        shutil.rmtree(directory)
    manifest = Manifest(
        teachers=(TeacherId(directory.parent.name, teacher),),
        units=UNITS,
        classes=len(SHOTS),
        frame_shift_ms=1000.0,
        features={"songs": songs.fingerprint},
    )

    def answers(missing: list[tuple[str, int]]) -> Iterator[TeacherOutput]:
        for key, _ in missing:
            yield TeacherOutput(key, torch.from_numpy(np.log(np.maximum(posteriors[key], 1e-30))).float())

    write_book(directory, manifest, list(posteriors), answers)


def has_targets(directory: Path, *, teacher: str, songs: SongSet) -> bool:
    """Whether the directory holds this teacher's targets for these songs."""
    try:
        _opened(directory, teacher, songs)
    except (ConfigError, DataError):
        return False
    return True


def read_targets(directory: Path, *, teacher: str, songs: SongSet) -> dict[str, np.ndarray]:
    """(T, C) probabilities by song id, to the precision of 16 bits.

    Raises:
        ConfigError: they are another teacher's or of other songs.
        DataError: there are none, or they are damaged.
    """
    book = _opened(directory, teacher, songs)
    return {key: book.read(key).probs().numpy() for key in songs.shots}


def _opened(directory: Path, teacher: str, songs: SongSet) -> Book:
    return Book.open(directory).require(
        teachers=[teacher],
        units=UNITS,
        classes=len(SHOTS),
        frame_shift_ms=1000.0,
        features={"songs": songs.fingerprint},
        utterances=songs.shots,
    )
