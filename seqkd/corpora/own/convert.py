"""Copies of audio that cannot be used as it is: of another sample rate, with several channels, cut from recordings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from seqkd.corpora.speech.audio_sets import Header
from seqkd.data.kaldi import Utterance
from seqkd.data.sound import CANCEL, Mono, WholeSound
from seqkd.data.whole import torn
from seqkd.errors import DataError
from seqkd.files import atomic_path
from seqkd.uptodate import CACHE, content_hashes, fingerprint

_LONGEST = 160  # bytes of an id that is used as a name


def convert_audio(
    sets: Mapping[str, Sequence[Utterance]],
    headers: Mapping[Path, Header | WholeSound],
    folder: Path,
    sample_rate: int,
    nj: int,
    channel: int | None = None,
) -> dict[str, list[Utterance]]:
    """Return the sets with copies in place of audio that needs one: 16-bit mono FLAC at ``sample_rate``, whole files.

    A copy is named after its utterance, what it was made from and how; those that are there are kept, others removed.

    Args:
        sets: Utterances by set name; those that begin or end within a file get a file of their own.
        headers: Of all their files.
        folder: Where copies go.
        sample_rate: In Hz.
        nj: Files written at the same time.
        channel: Which channel to take of a file of several, from 1; their average if None.

    Raises:
        DataError: A file is damaged, or its channels cancel each other.
    """
    from seqkd.progress import ProgressBar

    def as_it_is(utterance: Utterance) -> bool:
        header = headers[utterance.audio]
        fits = (header.sample_rate, header.channels) == (sample_rate, 1)
        return fits and utterance.start == 0.0 and utterance.end is None

    every = itertools.chain.from_iterable(sets.values())
    contents = content_hashes((u.audio for u in every if not as_it_is(u)), folder / CACHE)
    converted: dict[str, list[Utterance]] = {}
    jobs: list[tuple[Utterance, Path]] = []
    for name, utterances in sets.items():
        converted[name] = []
        for utterance in utterances:
            if as_it_is(utterance):
                converted[name].append(utterance)
                continue
            how = [utterance.start, utterance.end, sample_rate, *([] if channel is None else [channel])]
            mark = fingerprint(contents[utterance.audio], *how)[:8]
            copy = folder / f"{_short(utterance.id.replace('/', '_'))}.{mark}.flac"
            jobs.append((utterance, copy))
            converted[name].append(replace(utterance, audio=copy, start=0.0, end=None))
    keep = {copy for _, copy in jobs}
    for leftover in set(folder.glob("*.flac")) - keep if folder.is_dir() else ():
        leftover.unlink()
    todo = [(utterance, copy) for utterance, copy in jobs if not copy.is_file()]
    if todo:
        with ThreadPoolExecutor(max(nj, 1)) as pool:
            try:
                written = pool.map(lambda job: _write(*job, sample_rate, channel), todo)
                for _ in ProgressBar(written, desc="converting", total=len(todo), unit="file"):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return converted


def _short(name: str) -> str:
    """A name of which a file system with 255 bytes for a name can make one of a file; different ones stay different."""
    return name if len(name.encode()) <= _LONGEST else f"{name[: _LONGEST // 8]}-{fingerprint(name)}"


def _write(utterance: Utterance, copy: Path, sample_rate: int, channel: int | None) -> None:
    import soundfile
    import soxr

    who = f"{utterance.audio} ({utterance.id})"
    mono = Mono(channel)
    if fault := torn(utterance.audio):
        raise DataError(f"{who} {fault}; get it again.")
    try:
        with soundfile.SoundFile(utterance.audio) as file:
            begin = round(utterance.start * file.samplerate)
            stop = file.frames if utterance.end is None else min(round(utterance.end * file.samplerate), file.frames)
            file.seek(begin)
            samples = file.read(stop - begin, dtype="float32", always_2d=True)  # (N, channels)
            rate, estimate = file.samplerate, utterance.end is None and file.format in ("MP3", "MPEG")
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{who} cannot be read as audio ({error}).") from error
    # As the original is checked, for copies come to the other checks as whole files of sound numbers.
    if len(samples) < (1 if estimate else stop - begin):
        raise DataError(f"{who} breaks off after {len(samples)} of {stop - begin} samples; get it again.")
    if not np.isfinite(samples).all():
        raise DataError(f"{who} has samples that are no numbers; write the audio again.")
    if channel is not None and samples.shape[1] not in (1, *range(channel, 1 << 16)):
        raise DataError(
            f"{who} has {samples.shape[1]} channels, but corpus.channel is {channel}; set it to null or less."
        )
    mixed = mono(samples)
    if mono.cancels and utterance.start == 0.0 and utterance.end is None:
        raise DataError(f"{who} {CANCEL}; set corpus.channel=1 to take the first.")
    resampled = soxr.resample(mixed, rate, sample_rate)
    with atomic_path(copy) as temporary:
        rounded = np.clip(np.round(resampled * 32767), -32768, 32767).astype(np.int16)
        soundfile.write(temporary, rounded, sample_rate, "PCM_16", format="FLAC")
