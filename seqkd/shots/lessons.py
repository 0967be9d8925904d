"""What a network learns from: songs at its frame rate, with their shots and, where there is a teacher, its posteriors.

Legend: B songs, T frames, F features, C shot classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seqkd.errors import DataError
from seqkd.losses.outputs import IGNORE
from seqkd.shots.audio.features import Track, read_features
from seqkd.shots.data import Shot, data_fingerprint, frame_classes, read_songs
from seqkd.shots.model import check_names
from seqkd.shots.rates import averaged
from seqkd.stages import again
from seqkd.uptodate import CACHE


@dataclass(frozen=True)
class SongSet:
    """Songs of one or several sets.

    Attributes:
        names: of the F features.
        tracks: by song id.
        shots: by song id; empty where only the audio is used.
        classes: (T,) the class of each second, by song id; `seqkd.losses.outputs.IGNORE` where only audio is used.
        fingerprint: of the songs and their shots.
    """

    names: tuple[str, ...]
    tracks: dict[str, Track]
    shots: dict[str, tuple[Shot, ...]]
    classes: dict[str, np.ndarray]
    fingerprint: str

    @property
    def frames(self) -> dict[str, np.ndarray]:
        """(T, F) one-second frames by song id."""
        return {key: track.frames for key, track in self.tracks.items()}

    def and_also(self, other: SongSet) -> SongSet:
        """The songs of both. Raises DataError if a song is in both, or features differ."""
        if both := sorted(self.tracks.keys() & other.tracks.keys()):
            raise DataError(f"song {both[0]!r} is in two sets that are used together; give one of them another id")
        check_names(self.names, other.names)
        return SongSet(
            self.names,
            self.tracks | other.tracks,
            self.shots | other.shots,
            self.classes | other.classes,
            hashlib.sha256(f"{self.fingerprint} {other.fingerprint}".encode()).hexdigest()[:16],
        )


@dataclass
class Lesson:
    """A song, or a batch of pieces of songs: frames (..., T, F), classes (..., T), soft (..., T, C) or None."""

    frames: Tensor
    classes: Tensor
    soft: Tensor | None = None

    def share(self, rank: int, world: int) -> Lesson:
        """Every ``world``-th piece of a batch, from ``rank`` on."""
        soft = None if self.soft is None else self.soft[rank::world]
        return Lesson(self.frames[rank::world], self.classes[rank::world], soft)


def load_songs(directory: Path, labelled: bool = True) -> SongSet:
    """Read a set with its features.

    Args:
        directory: of the set.
        labelled: whether its shots are used; if not, it may have none.

    Raises:
        DataError: the set or its features are missing or damaged, its songs have no shots, or features differ.
    """
    songs, tracks = read_songs(directory), read_features(directory)
    shots = {}
    if not labelled:
        songs = [replace(song, shots=None) for song in songs]
    for song in songs:
        if labelled and song.shots is None:
            raise DataError(
                f"{directory} has no shots.csv, but is used as a labelled set; write it: id,start,end,type."
            )
        if song.id not in tracks:
            raise DataError(f"{directory}: song {song.id!r} has no features; {again('prepare')}")
        shots[song.id] = song.shots or ()
    names = tuple(tracks[songs[0].id].names)
    for song in songs:
        check_names(names, tracks[song.id].names)
    lengths = {song.id: len(tracks[song.id].frames) for song in songs}
    if labelled:
        classes = {key: frame_classes(shots[key], length) for key, length in lengths.items()}
    else:
        classes = {key: np.full(length, IGNORE) for key, length in lengths.items()}
    return SongSet(
        names, {key: tracks[key] for key in shots}, shots, classes, data_fingerprint(songs, directory / CACHE)
    )


def lessons(corpus: SongSet, seconds: int = 1, soft: Mapping[str, np.ndarray] | None = None) -> list[Lesson]:
    """A lesson a song, at frames of ``seconds``.

    Args:
        corpus: what there is to learn.
        seconds: of a frame: features and soft targets are averaged, the class is the one that fills most of a frame.
        soft: (T, C) probabilities at one second by song id, of whoever teaches.
    """
    made = []
    for key, track in corpus.tracks.items():
        frames = np.ascontiguousarray(averaged(track.frames, seconds), np.float32)
        classes = corpus.classes[key] if seconds == 1 else frame_classes(corpus.shots[key], len(frames), seconds)
        target = None if soft is None else torch.from_numpy(averaged(soft[key], seconds).astype(np.float32))
        made.append(Lesson(torch.from_numpy(frames), torch.from_numpy(classes), target))
    return made


def draw(known: Sequence[Lesson], *, batch: int, window: int, seed: int, update: int) -> Lesson:
    """A batch for one update: pieces of equal length, at random places of songs drawn at random.

    Depends on nothing but the arguments, so that an interrupted training goes on with the same batches.

    Args:
        known: the songs.
        batch: B; songs are drawn without repetition while there are enough.
        window: frames of a piece; less where a drawn song is shorter.
        seed, update: what the draw depends on.
    """
    rng = np.random.default_rng([seed, update])
    chosen = [known[i] for i in rng.choice(len(known), batch, replace=batch > len(known))]
    length = min(window, *(len(lesson.frames) for lesson in chosen))
    pieces = []
    for lesson in chosen:
        start = int(rng.integers(len(lesson.frames) - length + 1))
        pieces.append([lesson.frames, lesson.classes, lesson.soft, slice(start, start + length)])
    frames, classes = (torch.stack([piece[i][piece[3]] for piece in pieces]) for i in (0, 1))
    soft = None if chosen[0].soft is None else torch.stack([piece[2][piece[3]] for piece in pieces])
    return Lesson(frames, classes, soft)
