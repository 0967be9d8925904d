"""Kaldi filterbank features, computed once and kept in safetensors shards beside their data directory.

``<data>/<set>/feats/`` holds ``00000.safetensors`` ... (utterance id -> (T, F) float32), ``durations.json``,
``stats.json`` (sums for mean and variance normalisation) and ``done.json`` (a fingerprint of everything the
features depend on). Shards appear whole, so an interrupted run carries on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqkd.data.kaldi import Utterance, check_audio, read_data_dir
from seqkd.errors import DataError
from seqkd.files import atomic_path, write_json
from seqkd.parallel import in_parallel
from seqkd.settings import at_least
from seqkd.stages import again
from seqkd.uptodate import CACHE, content_hashes, fingerprint, is_current, write_stamp

SHARD = 500  # utterances: about 60 MB of 80-bin features


@dataclass(frozen=True)
class FeatureSettings:
    """Kaldi's log-mel filterbank. Sample rate in Hz, times in milliseconds."""

    sample_rate: int = 16000
    num_mel_bins: int = 80
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0

    def __post_init__(self) -> None:
        at_least(1, sample_rate=self.sample_rate)
        at_least(4, num_mel_bins=self.num_mel_bins)
        at_least(1, frame_length_ms=self.frame_length_ms, frame_shift_ms=self.frame_shift_ms)


def fbank(samples: Tensor, settings: FeatureSettings, *, edges: bool = True) -> Tensor:
    """Samples (N,) in [-1, 1] to log-mel energies (T, F), as Kaldi computes them, without dither.

    ``edges``: frames whose window reaches beyond the samples are made, too, of mirrored samples.
    """
    import torchaudio

    return torchaudio.compliance.kaldi.fbank(
        samples[None] * 32768.0,  # Kaldi works on 16-bit sample values
        sample_frequency=settings.sample_rate,
        num_mel_bins=settings.num_mel_bins,
        frame_length=settings.frame_length_ms,
        frame_shift=settings.frame_shift_ms,
        dither=0.0,
        snip_edges=not edges,
    )


def make_features(directory: Path, settings: FeatureSettings, nj: int) -> int:
    """Validate a data directory and its audio, and write its features; return how many utterances it has.

    Does nothing when they are there and neither the directory nor the settings changed.
    """
    utterances = read_data_dir(directory)
    feats = directory / "feats"
    made_by = {"settings": asdict(settings), "data": data_fingerprint(utterances, directory / CACHE)}
    done, started = feats / "done.json", feats / "started.json"
    shards = [utterances[i : i + SHARD] for i in range(0, len(utterances), SHARD)]
    jobs = [(feats / f"{n:05d}.safetensors", shard, settings) for n, shard in enumerate(shards)]
    written = [*(job[0] for job in jobs), feats / "durations.json", feats / "stats.json"]
    if is_current(done, made_by, *written):
        return len(utterances)
    durations = check_audio(utterances, settings.sample_rate, nj)
    for u in utterances:
        if 1000 * durations[u.id] < settings.frame_length_ms:
            raise DataError(
                f"Utterance {u.id!r}, {u.audio}: lasts {1000 * durations[u.id]:g} ms, less than one frame of "
                f"{settings.frame_length_ms:g} ms; remove it."
            )
    done.unlink(missing_ok=True)  # before what it vouches for
    if not is_current(started, made_by):
        started.unlink(missing_ok=True)
        for stale in feats.glob("*"):
            stale.unlink()
        write_stamp(started, made_by)
    todo = [job for job in jobs if not job[0].is_file()]
    for _ in in_parallel(_write_shard, todo, nj, f"features of {directory.name}", "shard"):
        pass
    write_json(feats / "durations.json", {u.id: durations[u.id] for u in utterances})
    write_json(feats / "stats.json", _statistics([job[0] for job in jobs], settings))
    write_stamp(done, made_by)
    return len(utterances)


def finished_features(directory: Path) -> dict[str, Any]:
    """``settings`` and ``data`` (a fingerprint) of a data directory's features; DataError if they are not finished."""
    done = directory / "feats" / "done.json"
    if not done.is_file():
        raise DataError(f"{directory} has no finished features; {again('prepare')}")
    return json.loads(done.read_text(encoding="utf-8"))


def data_fingerprint(utterances: list[Utterance], cache: Path | None = None) -> str:
    """Hash of ids, segments, speakers, transcripts, and the content of every audio file; ``cache`` keeps the latter."""
    digest = hashlib.sha256()
    contents = content_hashes((u.audio for u in utterances), cache)
    for u in utterances:
        digest.update(repr((u.id, contents[u.audio], u.start, u.end, u.speaker, u.text)).encode())
    return digest.hexdigest()[:16]


def utterance_contents(directory: Path, *, text: bool = False) -> dict[str, str]:
    """Short hashes of the content of each utterance's audio, and of its transcript if ``text``, by id."""
    utterances = read_data_dir(directory)
    contents = content_hashes((u.audio for u in utterances), directory / CACHE)
    return {u.id: fingerprint(contents[u.audio], u.start, u.end, u.text if text else None) for u in utterances}


def _write_shard(job: tuple[Path, list[Utterance], FeatureSettings]) -> None:
    from safetensors.torch import save_file

    path, utterances, settings = job
    torch.set_num_threads(1)
    features = {u.id: fbank(read_samples(u, settings.sample_rate), settings).contiguous() for u in utterances}
    with atomic_path(path) as temporary:
        save_file(features, temporary)


def read_samples(utterance: Utterance, sample_rate: int) -> Tensor:
    """The utterance's samples (N,) in [-1, 1]."""
    import soundfile

    start = round(utterance.start * sample_rate)
    stop = None if utterance.end is None else round(utterance.end * sample_rate)
    samples, _ = soundfile.read(utterance.audio, start=start, stop=stop, dtype="float32")
    return torch.from_numpy(samples)


def _statistics(shards: list[Path], settings: FeatureSettings) -> dict[str, Any]:
    from safetensors import safe_open

    total = torch.zeros(settings.num_mel_bins, dtype=torch.float64)
    squares, frames = total.clone(), 0
    for shard in shards:
        with safe_open(shard, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                x = tensors.get_tensor(name).double()
                total += x.sum(0)
                squares += x.square().sum(0)
                frames += len(x)
    return {"frames": frames, "sum": total.tolist(), "squares": squares.tolist()}


class FeatureStore:
    """Random access to the features of one or several data directories by utterance id, read through mmap."""

    def __init__(self, directories: list[Path]) -> None:
        self._directories = [Path(d) / "feats" for d in directories]
        self._made = [finished_features(feats.parent) for feats in self._directories]

    @cached_property
    def _where(self) -> dict[str, Any]:
        from safetensors import SafetensorError, safe_open

        where = {}
        for feats in self._directories:
            for shard in sorted(feats.glob("*.safetensors")):
                try:
                    tensors = safe_open(shard, "pt")
                except SafetensorError as error:
                    raise DataError(f"{shard} is damaged ({error}); delete {feats} and {again('prepare')}") from error
                where.update(dict.fromkeys(tensors.keys(), tensors))
            durations = feats / "durations.json"
            made = json.loads(durations.read_text(encoding="utf-8")) if durations.is_file() else {}
            lost = [utterance for utterance in made if utterance not in where]
            if lost:
                raise DataError(
                    f"{feats} has no features of {len(lost)} utterances, such as {lost[0]!r}: a file was removed; "
                    f"{again('prepare')}"
                )
        return where

    def __getitem__(self, utterance: str) -> Tensor:
        """(T, F) features; the system keeps what is read often in memory, and shares it between processes."""
        return self._where[utterance].get_tensor(utterance)

    @cached_property
    def settings(self) -> FeatureSettings:
        """How the features were made; all directories must agree."""
        found = {FeatureSettings(**made["settings"]) for made in self._made}
        if len(found) != 1:
            names = ", ".join(str(feats.parent) for feats in self._directories)
            raise DataError(f"{names} have features of different settings; {again('prepare')}")
        return found.pop()

    @cached_property
    def frames(self) -> dict[str, int]:
        """Utterance id -> number of feature frames."""
        return {name: tensors.get_slice(name).get_shape()[0] for name, tensors in self._where.items()}

    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Global mean (F,) and 1 / standard deviation (F,) over all frames of all directories."""
        rows = [json.loads((feats / "stats.json").read_text()) for feats in self._directories]
        frames = sum(row["frames"] for row in rows)
        mean = torch.tensor([row["sum"] for row in rows], dtype=torch.float64).sum(0) / frames
        square = torch.tensor([row["squares"] for row in rows], dtype=torch.float64).sum(0) / frames
        scale = (square - mean.square()).clamp_min(1e-8).rsqrt()
        return mean.float(), scale.float()
