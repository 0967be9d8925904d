"""Decode the songs of a set with a trained system, into ``decode_<set>/``.

``decoded.safetensors`` holds ``<id>/shots`` (T,) int64, the classes of the one-second frames, and ``<id>/posteriors``
(T, C) float32; ``shots.csv`` is the same for people: ``id,start,end,type``. ``decode.json`` records its inputs.

How a sequence is made of probabilities is part of a system, as in the paper: assistants and students take the most
probable shot of each second, as a teacher that is a pool does; a teacher that is a product takes the best sequence
under the film language. The commonest shot stays the
same throughout; the film language alone is drawn from, once a seed.

Legend: T seconds, C shot classes.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path, write_text
from seqkd.shots.audio.features import read_features
from seqkd.shots.data import HEADER, shots_of
from seqkd.shots.fusion import load_teacher
from seqkd.shots.language import FilmLanguage
from seqkd.shots.model import directory_hash, load_shot_model
from seqkd.stages import again
from seqkd.uptodate import is_current, write_stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from omegaconf import DictConfig

    from seqkd.shots.audio.features import Track

log = logging.getLogger("seqkd")


@dataclass(frozen=True)
class DecodedSong:
    """``shots`` (T,) and ``posteriors`` (T, C) of a song."""

    shots: np.ndarray
    posteriors: np.ndarray


def decode_run(cfg: DictConfig, run: Path, name: str) -> None:
    """Decode set ``name`` with ``<run>/model``; do nothing if that was done with the same model."""
    if not (run / "summary.json").is_file():
        raise ConfigError(f"{run} has no finished model; {again('teachers')}")
    output, data = run / f"decode_{name}", Path(cfg.data) / name
    tracks = read_features(data)
    made_by = {
        "model": directory_hash(run / "model"),
        "features": json.loads((data / "features" / "done.json").read_text(encoding="utf-8")),
    }
    stamp = output / "decode.json"
    if is_current(stamp, made_by):
        return
    read = reader(run / "model", run.parent.name, int(run.name.removeprefix("seed")))
    write_decoded(output, {key: read(key, track) for key, track in tracks.items()}, made_by)
    log.info("%s: %d songs", output, len(tracks))


def reader(model: Path, system: str, seed: int) -> Callable[[str, Track], DecodedSong]:
    """How a system reads a song, from the directory of its model."""
    match system:
        case "majority":
            language = FilmLanguage.load(model / "language.json")
            return lambda key, track: constant(language, len(track.frames))
        case "bigram":
            language = FilmLanguage.load(model / "language.json")
            return lambda key, track: drawn(language, len(track.frames), seed=seed, song=key)
        case _ if (model / "fusion.json").is_file():
            teacher = load_teacher(model)
            return lambda key, track: DecodedSong(teacher.decode(track), teacher.posteriors(track))
        case _:
            network = load_shot_model(model)
            return lambda key, track: most_probable(network.posteriors(track))


def most_probable(posteriors: np.ndarray) -> DecodedSong:
    """The most probable shot of each second."""
    return DecodedSong(posteriors.argmax(-1), posteriors)


def constant(language: FilmLanguage, frames: int) -> DecodedSong:
    """The commonest shot of the training songs, all the time."""
    return most_probable(np.tile(language.prior, (frames, 1)))


def drawn(language: FilmLanguage, frames: int, *, seed: int, song: str) -> DecodedSong:
    """A sequence drawn from the film language without any music; its own for each seed and song."""
    silence = np.zeros((frames, len(language.prior)))
    rng = np.random.default_rng([seed, zlib.crc32(song.encode())])
    return DecodedSong(language.sample(silence, rng), language.posterior(silence))


def write_decoded(output: Path, songs: dict[str, DecodedSong], made_by: dict[str, Any]) -> None:
    """Write the shots and probabilities of each song; ``decode.json`` comes last."""
    from safetensors.numpy import save_file

    output.mkdir(parents=True, exist_ok=True)
    (output / "decode.json").unlink(missing_ok=True)
    arrays = {f"{key}/shots": song.shots.astype(np.int64) for key, song in songs.items()}
    arrays |= {f"{key}/posteriors": np.ascontiguousarray(s.posteriors, np.float32) for key, s in songs.items()}
    with atomic_path(output / "decoded.safetensors") as path:
        save_file(arrays, path)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(HEADER)
    for key, song in sorted(songs.items()):
        rows.writerows((key, f"{shot.start:g}", f"{shot.end:g}", shot.kind) for shot in shots_of(song.shots))
    write_text(output / "shots.csv", text.getvalue())
    write_stamp(output / "decode.json", made_by)


def read_decoded(output: Path) -> dict[str, DecodedSong]:
    """What `write_decoded` wrote, by song id.

    Raises:
        DataError: there is nothing finished, or it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (output / "decode.json").is_file():
        raise DataError(f"{output} has nothing decoded; {again('decode')}")
    try:
        arrays = load_file(output / "decoded.safetensors")
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{output}/decoded.safetensors is damaged ({error}); delete it and {again('decode')}"
        ) from error
    keys = [name.removesuffix("/shots") for name in arrays if name.endswith("/shots")]
    return {key: DecodedSong(arrays[f"{key}/shots"], arrays[f"{key}/posteriors"]) for key in sorted(keys)}
