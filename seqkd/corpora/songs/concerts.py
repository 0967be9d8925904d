"""Made-up concerts: songs by a made-up band, cut by a director whose taste is known.

Sets share no song. The corpus depends on the settings alone, not on how many jobs made it; it can be interrupted and
goes on where it stopped. ``<data>/audio/<set>/*.flac`` are the songs, ``<data>/<set>/`` has ``wav.scp``, ``shots.csv``,
and what is attainable (``seqkd.shots.truth``).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.corpora.corpus import Ledger, check_keys, check_sets, interval, plain
from seqkd.corpora.songs.director import Director
from seqkd.corpora.songs.songwriting import SongScore, context_of, write_score
from seqkd.errors import ConfigError
from seqkd.files import atomic_path, mark
from seqkd.parallel import or_one_sentence
from seqkd.settings import number
from seqkd.shots.audio.spectrum import RATE
from seqkd.shots.data import Shot, Song, shots_of, write_songs
from seqkd.shots.truth import Truth, write_truth
from seqkd.uptodate import fingerprint

# What decides the sound: audio of an older version must never be kept with the shots of a newer one.
_MAKERS = ("songwriting.py", "instruments.py", "synth.py")
_NEAR = 0.24  # seconds a cut may leave the full second for a beat; below 1/4, so that each shot keeps its frames


def make_corpus(
    data_dir: Path | str,
    *,
    nj: int,
    seed: int,
    sets: Mapping[str, Any],
    seconds: Sequence[float] = (70, 130),
    director: Mapping[str, float] | None = None,
) -> None:
    """Make the corpus: audio in ``<data_dir>/audio/<set>/``, sets in ``<data_dir>/<set>/``.

    What is there and was made from the same settings is kept. Prints what is attainable on each set.

    Args:
        data_dir: Where to put it.
        nj: Processes; the result does not depend on it.
        seed: Decides everything that is random.
        sets: ``{name: {songs: count}}``.
        seconds: [shortest, longest] song, roughly, from 40 on.
        director: Parameters of ``seqkd.corpora.songs.director.Director`` that differ from its defaults.

    Raises:
        ConfigError: A setting is wrong; the message names it and what was expected.
    """
    from seqkd.progress import ProgressBar

    data_dir, sets = Path(data_dir), plain(sets)
    limits = interval("seconds", plain(seconds), 40, 3600)
    taste = _director(plain(director or {}))
    makers = [hashlib.sha256((Path(__file__).parent / name).read_bytes()).hexdigest() for name in _MAKERS]
    mark = fingerprint(makers, int(number("seed", seed, 0, 2**31)), limits)
    ledger = Ledger(data_dir)
    jobs: list[tuple[Path, int, str, int, tuple[float, float]]] = []
    counts = {}
    for name in check_sets(sets, ("songs",)):
        if "songs" not in sets[name]:
            raise ConfigError(f"Set {name!r} has no 'songs', the number of songs to make.")
        counts[name] = int(number(f"Set {name!r}: songs", sets[name]["songs"], 1, 9999))
        folder = ledger.begin_audio(name, mark)
        wanted = [folder / f"{_song_id(name, index)}.flac" for index in range(counts[name])]
        for leftover in set(folder.iterdir()) - set(wanted):  # half-written, or of a set that was larger once
            leftover.unlink()
        jobs += [(file, seed, name, i, limits) for i, file in enumerate(wanted) if not file.exists()]
    if jobs:
        total = sum(counts.values())
        bar = ProgressBar(total=total, initial=total - len(jobs), desc="songs", unit="song")
        with bar:
            if nj <= 1:
                for job in jobs:
                    bar.update(_make_song(job))
            else:
                with ProcessPoolExecutor(min(nj, len(jobs))) as pool:
                    try:
                        for made in or_one_sentence(pool.map(_make_song, jobs), "songs: one of the worker processes"):
                            bar.update(made)
                    except BaseException:
                        pool.shutdown(cancel_futures=True)
                        raise
    for name, count in counts.items():
        _write_set(data_dir, name, count, seed, limits, taste)


def plan_song(seed: int, name: str, index: int, seconds: tuple[float, float]) -> SongScore:
    """Write song number ``index`` of a set; the same whatever else is in the set."""
    return write_score(_rng(seed, name, index, 0), seconds)


def _rng(seed: int, name: str, index: int, purpose: int) -> np.random.Generator:
    """Purposes: 0 the score, 1 its sound, 2 the director's draws."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), index, purpose])


def _song_id(name: str, index: int) -> str:
    return f"{name}{index:04d}"


def _director(settings: dict[str, Any]) -> Director:
    known = {field.name: field.default for field in fields(Director)}
    check_keys("director", settings, known)
    for key, value in settings.items():
        number(f"director.{key}", value, 0, 2**31 if key == "seed" else 20)
    return Director(**settings)


def _make_song(job: tuple[Path, int, str, int, tuple[float, float]]) -> int:
    import soundfile

    from seqkd.corpora.songs.synth import render

    file, seed, name, index, seconds = job
    samples = render(plan_song(seed, name, index, seconds), _rng(seed, name, index, 1))
    with atomic_path(file) as temporary:
        soundfile.write(temporary, samples, RATE, subtype="PCM_16")
    return 1


def _write_set(
    data_dir: Path, name: str, count: int, seed: int, seconds: tuple[float, float], director: Director
) -> None:
    songs, truths = [], {}
    for index in range(count):
        key, score = _song_id(name, index), plan_song(seed, name, index, seconds)
        context = context_of(score)
        initial, transition = director.transitions(context)
        classes = director.direct(context, _rng(seed, name, index, 2))
        truths[key] = Truth.of(initial, transition, classes)
        shots = on_beats(shots_of(classes), score.beats, score.duration)
        songs.append(Song(key, data_dir / "audio" / name / f"{key}.flac", tuple(shots)))
    (data_dir / name).mkdir(parents=True, exist_ok=True)
    mark(data_dir / name)  # that it is ours, the ledger of its audio has made sure of
    bound = write_truth(data_dir / name, truths)
    write_songs(data_dir / name, songs)
    print(
        f"{name}: {count} songs, {bound.frames / 60:.0f} minutes, shots of {bound.shot_length:.2f} s; attainable "
        f"accuracy {100 * bound.accuracy:.1f} %, with the previous shot known "
        f"{100 * bound.accuracy_given_previous:.1f} %"
    )


def on_beats(shots: Sequence[Shot], beats: np.ndarray, duration: float) -> list[Shot]:
    """Move cuts from full seconds to the nearest beat, where one is near; the last shot ends with the song.

    Frames keep their classes, since no cut moves by a quarter of a second.
    """
    cuts = [shot.end for shot in shots[:-1]]
    moved = []
    for cut in cuts:
        nearest = float(beats[np.abs(beats - cut).argmin()])
        moved.append(round(nearest, 3) if abs(nearest - cut) <= _NEAR else cut)
    edges = [0.0, *moved, round(duration, 3)]
    return [Shot(edges[k], edges[k + 1], shot.kind) for k, shot in enumerate(shots)]
