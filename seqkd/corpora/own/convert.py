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
from seqkd.errors import DataError
from seqkd.files import atomic_path
from seqkd.parallel import bar_interval
from seqkd.uptodate import CACHE, content_hashes, fingerprint


def convert_audio(
    sets: Mapping[str, Sequence[Utterance]], headers: Mapping[Path, Header], folder: Path, sample_rate: int, nj: int
) -> dict[str, list[Utterance]]:
    """Return the sets with copies in place of audio that needs one: 16-bit mono FLAC at ``sample_rate``, whole files.

    A copy is named after its utterance, what it was made from and how; those that are there are kept, others removed.

    Args:
        sets: Utterances by set name; those that begin or end within a file get a file of their own.
        headers: Of all their files.
        folder: Where copies go.
        sample_rate: In Hz.
        nj: Files written at the same time.

    Raises:
        DataError: A file breaks off or cannot be read.
    """
    from tqdm import tqdm

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
            mark = fingerprint(contents[utterance.audio], utterance.start, utterance.end, sample_rate)[:8]
            copy = folder / f"{utterance.id.replace('/', '_')}.{mark}.flac"
            jobs.append((utterance, copy))
            converted[name].append(replace(utterance, audio=copy, start=0.0, end=None))
    keep = {copy for _, copy in jobs}
    for leftover in set(folder.glob("*.flac")) - keep if folder.is_dir() else ():
        leftover.unlink()
    todo = [(utterance, copy) for utterance, copy in jobs if not copy.is_file()]
    if todo:
        with ThreadPoolExecutor(max(nj, 1)) as pool:
            try:
                written = pool.map(lambda job: _write(*job, sample_rate), todo)
                for _ in tqdm(written, "converting", len(todo), unit="file", mininterval=bar_interval()):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return converted


def _write(utterance: Utterance, copy: Path, sample_rate: int) -> None:
    import soundfile
    import soxr

    try:
        with soundfile.SoundFile(utterance.audio) as file:
            begin = round(utterance.start * file.samplerate)
            stop = file.frames if utterance.end is None else min(round(utterance.end * file.samplerate), file.frames)
            file.seek(begin)
            samples = file.read(stop - begin, dtype="float32", always_2d=True)  # (N, channels)
            rate = file.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{utterance.audio} ({utterance.id}) cannot be read as audio ({error}).") from error
    mono = soxr.resample(samples.mean(axis=1), rate, sample_rate)
    with atomic_path(copy) as temporary:
        rounded = np.clip(np.round(mono * 32767), -32768, 32767).astype(np.int16)
        soundfile.write(temporary, rounded, sample_rate, "PCM_16", format="FLAC")
