"""Songs and their shot lists on disk.

A set is a directory ``<data>/<set>/`` with ``wav.scp`` (Kaldi's: ``<id> <audio file>`` a line, sorted by id) and, where
the songs are labelled, ``shots.csv``: ``id,start,end,type`` a line, times in seconds, sorted by song and start. The
shots of a song follow one another without gap or overlap from 0 to its end.

Legend: T one-second frames, frame t lasting from t to t + 1 s.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.data.tables import Entry, number, read_table
from seqkd.errors import DataError
from seqkd.files import write_text
from seqkd.shots.classes import SHOTS, class_number
from seqkd.stages import again
from seqkd.uptodate import content_hashes

if TYPE_CHECKING:
    import numpy as np

HEADER = ("id", "start", "end", "type")
TOUCH = 1e-3  # seconds by which two neighbouring shots may miss one another: lists round times to milliseconds


@dataclass(frozen=True)
class Shot:
    """One shot of a song: start and end in seconds, ``kind`` one of ``SHOTS``."""

    start: float
    end: float
    kind: str


@dataclass(frozen=True)
class Song:
    """One song of a set.

    Attributes:
        id: Song id, unique in its set.
        audio: Audio file.
        shots: From 0 to the end of the song without gap or overlap; None where the set is unlabelled.
    """

    id: str
    audio: Path
    shots: tuple[Shot, ...] | None = None


def frame_count(duration: float, seconds: float = 1.0) -> int:
    """How many frames of ``seconds`` a song of ``duration`` (s) has, rounded up: the last may be a part; at least 1.

    A last part below a hundredth of a second does not count: decoders of MP3 and Ogg differ by that much.
    """
    return max(1, math.ceil((duration - 0.01) / seconds))


def frame_classes(shots: Sequence[Shot], frames: int, seconds: float = 1.0) -> np.ndarray:
    """Return the class that covers most of each frame.

    Args:
        shots: Of one song, in order, without gaps.
        frames: T, as by ``frame_count``.
        seconds: How long a frame lasts.

    Returns:
        (T,) int64, numbers into ``SHOTS``. Of classes that cover as much, the one that comes first in the frame wins.
        A frame after the last shot has the class of that shot: it is held.

    Raises:
        DataError: There are no shots, or one has an unknown type.
    """
    import numpy as np

    if not shots:
        raise DataError("A song has an empty shot list; expected at least one shot.")
    classes = np.full(frames, class_number(shots[-1].kind), np.int64)
    covered = np.zeros((frames, len(SHOTS)))
    first = np.full((frames, len(SHOTS)), np.inf)  # where in the frame a class begins
    for shot in shots:
        kind = class_number(shot.kind)
        for t in range(max(0, math.floor(shot.start / seconds)), min(frames, math.ceil(shot.end / seconds))):
            low, high = max(shot.start, t * seconds), min(shot.end, (t + 1) * seconds)
            covered[t, kind] += max(high - low, 0.0)
            first[t, kind] = min(first[t, kind], low)
    for t in np.flatnonzero(covered.sum(axis=1) > 0):
        most = covered[t].max()
        best = np.flatnonzero(covered[t] > most - 1e-9)
        classes[t] = best[first[t, best].argmin()]
    return classes


def shots_of(classes: Sequence[int] | np.ndarray, seconds: float = 1.0) -> list[Shot]:
    """Return the runs of equal classes (T,) as shots; the first begins at 0 and the last ends at T × ``seconds``."""
    import numpy as np

    values = np.asarray(classes)
    if not len(values):
        return []
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    ends = np.r_[starts[1:], len(values)]
    return [
        Shot(float(start * seconds), float(end * seconds), SHOTS[values[start]])
        for start, end in zip(starts, ends, strict=True)
    ]


def read_songs(directory: Path | str) -> list[Song]:
    """Read and validate a set; returns its songs sorted by id. Audio files must exist but are not opened.

    Raises:
        DataError: Whatever is wrong, with file, line, what was found, what was expected and what to do.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise DataError(f"{directory} does not exist; expected a directory with wav.scp and, if labelled, shots.csv.")
    file = directory / "wav.scp"
    if not file.is_file():
        raise DataError(f"{file} is missing; a set of songs needs wav.scp; write it, or {again('corpus')}")
    table = read_table(file, "an id and an audio file")
    for key, entry in table.items():
        if "/" in key or key.startswith("."):
            raise DataError(
                f"{file}, line {entry.line}: id {key!r} cannot name a file; expected one without '/' that does not "
                "start with '.'."
            )
    audio = {key: _find_audio(directory, file, key, entry) for key, entry in table.items()}
    lists = _read_shots(directory / "shots.csv", file, audio) if (directory / "shots.csv").is_file() else {}
    return [Song(key, path, lists.get(key)) for key, path in audio.items()]


def write_songs(directory: Path | str, songs: Iterable[Song]) -> None:
    """Write ``wav.scp`` and, where the songs are labelled, ``shots.csv``.

    Audio paths are written relative to the directory. ``wav.scp`` goes first and comes last, so that a set whose
    writing was interrupted is not taken for a whole one.

    Raises:
        DataError: No songs, an id twice, or shot lists for some only.
    """
    directory = Path(directory).resolve()
    songs = sorted(songs, key=lambda song: song.id)
    if not songs:
        raise DataError(f"{directory} would be an empty set: no songs to write.")
    for left, right in itertools.pairwise(songs):
        if left.id == right.id:
            raise DataError(f"{directory} would have song id {left.id!r} twice.")
    unlabelled = [song.id for song in songs if song.shots is None]
    if unlabelled and len(unlabelled) < len(songs):
        raise DataError(f"{directory}: song {unlabelled[0]!r} has no shots, but others have.")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "wav.scp").unlink(missing_ok=True)
    if unlabelled:
        (directory / "shots.csv").unlink(missing_ok=True)
    else:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(HEADER)
        for song in songs:
            table.writerows((song.id, _seconds(shot.start), _seconds(shot.end), shot.kind) for shot in song.shots or ())
        write_text(directory / "shots.csv", text.getvalue())
    lines = [f"{song.id} {os.path.relpath(song.audio.resolve(), directory)}\n" for song in songs]
    write_text(directory / "wav.scp", "".join(lines))


def data_fingerprint(songs: Iterable[Song], cache: Path | None = None) -> str:
    """Hash of ids, shot lists, and the content of every audio file; ``cache`` keeps the latter."""
    songs, digest = list(songs), hashlib.sha256()
    contents = content_hashes((song.audio for song in songs), cache)
    for song in songs:
        shots = None if song.shots is None else [(shot.start, shot.end, shot.kind) for shot in song.shots]
        digest.update(repr((song.id, contents[song.audio], shots)).encode())
    return digest.hexdigest()[:16]


def _seconds(time: float) -> str:
    return f"{time:.6f}".rstrip("0").rstrip(".")


def _find_audio(directory: Path, file: Path, key: str, entry: Entry) -> Path:
    """Return the audio file of one line of wav.scp, looked for from the set first, then from the current directory."""
    where = f"{file}, line {entry.line}"
    if entry.value.startswith("|") or entry.value.endswith("|"):
        raise DataError(
            f"{where}: {key!r} is a command ({entry.value!r}), expected an audio file; commands in data files are "
            "never executed, write the audio to files first and name those."
        )
    for candidate in (directory / entry.value, Path(entry.value)):
        if candidate.is_file():
            return candidate
    raise DataError(f"{where}: the audio file of {key!r} is missing; looked for {directory / entry.value}.")


def _read_shots(file: Path, wav_scp: Path, audio: dict[str, Path]) -> dict[str, tuple[Shot, ...]]:
    """Return the shots of every song."""
    try:
        rows = list(csv.reader(io.StringIO(file.read_bytes().decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as a table in UTF-8 ({error}); write it again.") from error
    if not rows or tuple(rows[0]) != HEADER:
        found = ",".join(rows[0]) if rows else "an empty file"
        raise DataError(f"{file}, line 1: found {found!r}, expected the header {','.join(HEADER)!r}.")
    lists: dict[str, list[Shot]] = {}
    for line, row in enumerate(rows[1:], start=2):
        where = f"{file}, line {line}"
        if len(row) != 4:
            raise DataError(f"{where}: found {len(row)} fields, expected four: {', '.join(HEADER)}.")
        key, start, end, kind = row[0], number(row[1]), number(row[2]), row[3]
        if key not in audio:
            raise DataError(f"{where}: song {key!r} is not in {wav_scp}; add it there or remove it here.")
        if kind not in SHOTS:
            raise DataError(f"{where}: shot type {kind!r} of {key!r} is not known; expected one of {', '.join(SHOTS)}.")
        if not end > start >= 0:
            raise DataError(
                f"{where}: the shot of {key!r} lasts from {row[1]!r} to {row[2]!r}; expected seconds from 0 on, the "
                "end after the start."
            )
        before = lists.setdefault(key, [])
        due = before[-1].end if before else 0.0
        if abs(start - due) > TOUCH:
            raise DataError(
                f"{where}: the shot of {key!r} starts at {start:g} s, expected {due:g} s, where the one "
                "before it ends; shots follow one another from 0 on without gap or overlap, in order."
            )
        before.append(Shot(due, end, kind))
    for key in audio:
        if key not in lists:
            raise DataError(f"{file}: song {key!r} of {wav_scp} has no shots; add them, or remove the song there.")
    return {key: tuple(shots) for key, shots in lists.items()}
