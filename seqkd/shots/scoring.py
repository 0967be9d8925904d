"""The measures of every decoded set: ``decode_<set>/score.json``, and the sums behind them, song by song."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqkd.errors import ConfigError, DataError, SeqkdError
from seqkd.files import atomic_path, write_json
from seqkd.layout import run_directory
from seqkd.shots.data import data_fingerprint, read_songs
from seqkd.shots.decoding import read_decoded
from seqkd.shots.listening.features import read_features
from seqkd.shots.metrics import MEASURES, ShotScores, score_song
from seqkd.shots.truth import read_truth
from seqkd.stages import again

if TYPE_CHECKING:
    from omegaconf import DictConfig

LOWER_IS_BETTER = (
    "dst_ac",
    "segment_edit_distance",
    "transition_kl",
    "length_distance",
    "mean_nll",
    "ece",
    "director_kl",
)


def score_run(cfg: DictConfig, system: str, seed: int, name: str) -> None:
    """Score a decoded set; do nothing if that was done with the same decoding and the same shots."""
    output, data = run_directory(cfg, system, seed) / f"decode_{name}", Path(cfg.data) / name
    songs, decoded = read_songs(data), read_decoded(output)
    made_by = {
        "decode": json.loads((output / "decode.json").read_text(encoding="utf-8")),
        "songs": data_fingerprint(songs),
    }
    result = output / "score.json"
    if result.is_file() and json.loads(result.read_text(encoding="utf-8"))["made_by"] == made_by:
        return
    tracks = read_features(data)
    truths = read_truth(data) if (data / "director.safetensors").is_file() else {}
    scores = {}
    for song in songs:
        if song.shots is None:
            raise DataError(f"{data} has no shots.csv: a test set needs shots; name another set in sets.test")
        if song.id not in decoded:
            raise DataError(f"{output} lacks song {song.id!r} of {data}; {again('decode')}")
        said = decoded[song.id]
        scores[song.id] = score_song(
            song.shots,
            said.shots,
            frames=len(said.shots),
            beats=tracks[song.id].beats,
            posteriors=said.posteriors,
            director=truths[song.id].marginal if song.id in truths else None,
        )
    write_sums(output / "score.safetensors", scores)
    summary = {key: value if math.isfinite(value) else None for key, value in sum(scores.values()).summary().items()}
    write_json(result, {"made_by": made_by, "songs": len(scores), **summary})
    print(f"{output}: ASC {100 * summary['asc']:.2f} %")


def write_sums(path: Path, scores: dict[str, ShotScores]) -> None:
    """Write the sums of each song; field by field, (N, ...) each."""
    from safetensors.numpy import save_file

    arrays = {
        field.name: np.stack([np.asarray(getattr(song, field.name), float) for song in scores.values()])
        for field in fields(ShotScores)
    }
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, {"songs": json.dumps(list(scores))})


def read_sums(path: Path) -> dict[str, ShotScores]:
    """What `write_sums` wrote, by song id; DataError if it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as tensors:
            songs = json.loads(tensors.metadata()["songs"])
            arrays = {field.name: tensors.get_tensor(field.name) for field in fields(ShotScores)}
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is missing or damaged ({error}); {again('score')}") from error
    return {
        song: ShotScores(**{name: rows[n] if rows.ndim > 1 else float(rows[n]) for name, rows in arrays.items()})
        for n, song in enumerate(songs)
    }


def check_expected(cfg: DictConfig) -> None:
    """Raise SeqkdError when a system misses the share that its preset says it must reach (report.expect)."""
    metric = cfg.report.expect_metric
    known = [name for name in MEASURES if name not in (*LOWER_IS_BETTER, "ds")]
    if metric not in known:
        raise ConfigError(f"report.expect_metric is {metric!r}; expected one of {', '.join(known)}")
    for system, least in cfg.report.expect.items():
        for name in cfg.sets.test:
            path = run_directory(cfg, system, 0) / f"decode_{name}" / "score.json"
            if not path.is_file():
                raise SeqkdError(f"{path} is missing; {again('score')}")
            found = 100 * json.loads(path.read_text(encoding="utf-8"))[metric]
            said = f"{found:.2f} % {metric.upper()}"
            if found < least:
                raise SeqkdError(f"{system} has {said} on {name}; this preset must reach {least:g} %")
            print(f"{system} on {name}: {said}, must be at least {least:g} %: reached")
