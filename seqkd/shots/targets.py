"""Soft targets on disk: what a teacher believes of every second of every training song, written once.

``targets.safetensors`` holds (T, C) float32 probabilities by song id, not tempered; ``targets.json`` says whose they
are: the hash of the teacher's directory and the fingerprint of the songs. Training refuses those of another.

Legend: T seconds, C shot classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from seqkd.errors import DataError
from seqkd.files import atomic_path, write_json
from seqkd.shots.classes import SHOTS


def write_targets(directory: Path, beliefs: Mapping[str, np.ndarray], *, teacher: str, songs: str) -> None:
    """Write the probabilities (T, C) of each song; ``teacher`` and ``songs`` are hashes of what they come from."""
    from safetensors.numpy import save_file

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "targets.json").unlink(missing_ok=True)  # written last: it says that the others are whole
    with atomic_path(directory / "targets.safetensors") as path:
        save_file({key: np.ascontiguousarray(rows, np.float32) for key, rows in beliefs.items()}, path)
    about = {"teacher": teacher, "songs": songs, "classes": list(SHOTS), "frame_seconds": 1.0, "tempered": False}
    write_json(directory / "targets.json", about)


def has_targets(directory: Path, *, teacher: str, songs: str) -> bool:
    """Whether the directory holds this teacher's targets for these songs."""
    file = directory / "targets.json"
    if not file.is_file():
        return False
    about = json.loads(file.read_text(encoding="utf-8"))
    return (about["teacher"], about["songs"]) == (teacher, songs)


def read_targets(directory: Path, *, teacher: str, songs: str) -> dict[str, np.ndarray]:
    """(T, C) probabilities by song id.

    Raises:
        DataError: there are none, they are damaged, or they are another teacher's or of other songs.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (directory / "targets.json").is_file():
        raise DataError(f"{directory} holds no finished soft targets; run stage 3 (teacher) first.")
    if not has_targets(directory, teacher=teacher, songs=songs):
        raise DataError(f"{directory} holds the soft targets of another teacher or other songs; run stage 3 again.")
    try:
        return load_file(directory / "targets.safetensors")
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{directory}/targets.safetensors is damaged ({error}); delete {directory} and run stage 3 again."
        ) from error
