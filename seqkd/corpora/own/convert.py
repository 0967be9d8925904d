"""Copies of audio that cannot be used as it is: of another sample rate, with several channels, cut from recordings."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from seqkd.corpora.speech.audio_sets import Header
from seqkd.data.kaldi import Utterance
from seqkd.data.sound import CANCEL, Mono, WholeSound
from seqkd.data.whole import torn
from seqkd.errors import DataError
from seqkd.files import atomic_path, write_json
from seqkd.uptodate import CACHE, content_hashes, fingerprint

COPIES = ".copies.json"  # in the folder of copies: their names
_BLOCK = 10  # seconds that are converted at a time
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

    A copy is named after its utterance, what it was made from and how; those that are there are kept. Others go, if an
    earlier import made them: a list of those is kept in the folder, since recordings may lie there, too.

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
            copy = folder / f"{short_name(utterance.id.replace('/', '_'))}.{mark}.flac"
            jobs.append((utterance, copy))
            converted[name].append(replace(utterance, audio=copy, start=0.0, end=None))
    keep = {copy.name for _, copy in jobs}
    known = _known_copies(folder)
    if known != keep:
        write_json(folder / COPIES, sorted(known | keep))  # first: what is written from here on is known for a copy
        for leftover in known - keep:
            (folder / leftover).unlink(missing_ok=True)
        write_json(folder / COPIES, sorted(keep))
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


def _known_copies(folder: Path) -> set[str]:
    """Names of the files of a folder that imports have made."""
    try:
        known = json.loads((folder / COPIES).read_text(encoding="utf-8"))
        return {name for name in known if isinstance(name, str) and Path(name).name == name}
    except (OSError, ValueError, TypeError):  # none yet, or damaged: nothing is removed
        return set()


def short_name(name: str) -> str:
    """A name of which a file system with 255 bytes for a name can make one of a file; different ones stay different."""
    return name if len(name.encode()) <= _LONGEST else f"{name[: _LONGEST // 8]}-{fingerprint(name)}"


def _write(utterance: Utterance, copy: Path, sample_rate: int, channel: int | None) -> None:
    """Write a copy, some seconds at a time: a recording may last for hours."""
    import soundfile

    if fault := torn(utterance.audio):
        raise DataError(f"{_who(utterance)} {fault}; get it again.")
    mono = Mono(channel)
    try:
        with (
            atomic_path(copy) as temporary,
            soundfile.SoundFile(temporary, "w", sample_rate, 1, "PCM_16", format="FLAC") as file,
        ):
            for block in _resampled(_read(utterance, channel), mono, sample_rate):
                file.write(np.clip(np.round(block * 32767), -32768, 32767).astype(np.int16))
            if mono.cancels and utterance.start == 0.0 and utterance.end is None:
                raise DataError(f"{_who(utterance)} {CANCEL}; set corpus.channel=1 to take the first.")
    except soundfile.SoundFileError as error:  # libsndfile does not say why
        reason = str(error).rstrip(". ") or "no reason is given"
        raise DataError(f"{copy} cannot be written ({reason}); make room, or name another --data.") from error


def _who(utterance: Utterance) -> str:
    return f"{utterance.audio} ({utterance.id})"


def _resampled(blocks: Iterator[tuple[np.ndarray, int]], mono: Mono, sample_rate: int) -> Iterator[np.ndarray]:
    """Blocks (N, C) with their rate, as blocks (M,) at another rate."""
    import soxr

    stream = None
    for block, rate in blocks:
        if stream is None and rate != sample_rate:
            stream = soxr.ResampleStream(rate, sample_rate, 1)
        yield mono(block) if stream is None else stream.resample_chunk(mono(block))
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _read(utterance: Utterance, channel: int | None) -> Iterator[tuple[np.ndarray, int]]:
    """Yield an utterance's samples (N, C) and their rate, checked as the original is.

    Copies come to the other checks as whole files of sound numbers.
    """
    import soundfile

    who, seen = _who(utterance), 0
    try:
        with soundfile.SoundFile(utterance.audio) as file:
            rate = file.samplerate
            begin = file.seek(round(utterance.start * rate))
            stop = file.frames if utterance.end is None else min(round(utterance.end * rate), file.frames)
            estimate = utterance.end is None and file.format in ("MP3", "MPEG")  # a length that is not exact
            if channel is not None and 1 < file.channels < channel:
                raise DataError(
                    f"{who} has {file.channels} channels, but corpus.channel is {channel}; set it to null or less."
                )
            while estimate or begin + seen < stop:
                want = _BLOCK * rate if estimate else min(_BLOCK * rate, stop - begin - seen)
                block = file.read(want, dtype="float32", always_2d=True)
                if not len(block):
                    break
                if not np.isfinite(block).all():
                    raise DataError(f"{who} has samples that are no numbers; write the audio again.")
                seen += len(block)
                yield block, rate
    except soundfile.SoundFileError as error:
        raise DataError(f"{who} cannot be read as audio ({error}).") from error
    except OSError as error:
        raise DataError(f"{who} cannot be read as audio ({error.strerror or error}).") from error
    if seen < (1 if estimate else stop - begin):
        raise DataError(f"{who} breaks off after {seen} of {stop - begin} samples; get it again.")
