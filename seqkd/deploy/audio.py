"""Recordings of any length, rate and number of channels as pieces that a model can take one after the other.

Letters: N samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqkd.data.sound import DamagedSound, Mono, advice, read_sound, without_cancelling
from seqkd.errors import DataError

LONGEST = 30.0  # seconds of a piece
WINDOW = 0.2  # seconds that must be quiet where a recording is cut
HOP = 0.01  # seconds between the windows that are compared


@dataclass(frozen=True)
class Piece:
    """``samples`` (N,) float32 in [-1, 1] of one channel, which begin ``start`` seconds into the recording."""

    start: float
    samples: np.ndarray


def read_pieces(
    audio: Path, rate: int, progress: Callable[[float], object] | None = None, channel: int | None = None
) -> Iterator[Piece]:
    """Read a recording and cut it; about a minute of it is in memory at any time.

    Args:
        audio: what soundfile reads: wav, flac, ogg, mp3 and more. Channels are averaged.
        rate: samples a second of what is wanted, in Hz; soxr resamples.
        progress: called with the seconds that were read since the last call.
        channel: which channel to take, from 1, rather than their average.

    Raises:
        DataError: the file is not there, is not audio, is empty, damaged or breaks off; or its channels cancel each
            other.
    """
    return cut(read_blocks(audio, rate, progress, channel), rate)


def seconds(audio: Path) -> float:
    """Length of a recording by its header, in seconds; 0 if it cannot be read, of which `read_pieces` will complain."""
    import soundfile

    try:
        info = soundfile.info(audio)
    except (soundfile.SoundFileError, OSError):
        return 0.0
    return info.duration if info.frames < 2**62 else 0.0


def read_blocks(
    audio: Path,
    rate: int,
    progress: Callable[[float], object] | None = None,
    channel: int | None = None,
    longest: float = math.inf,
) -> Iterator[np.ndarray]:
    """Yield a recording's samples, mono at ``rate`` Hz, some 10 s at a time, until ``longest`` seconds have been read.

    The other arguments and faults are those of `read_pieces`.
    """
    import soxr

    mono, resampler, seen = Mono(channel), None, 0
    try:
        for block, found, _ in read_sound(audio):
            if channel is not None and 1 < block.shape[1] < channel:
                raise DataError(f"{audio} has {block.shape[1]} channels; expected --channel 1 to {block.shape[1]}")
            if not seen and found != rate:
                resampler = soxr.ResampleStream(found, rate, 1, dtype="float32")
            seen += len(block)
            one = mono(block)
            yield one if resampler is None else resampler.resample_chunk(one)
            if progress is not None:
                progress(len(block) / found)
            if seen >= longest * found:
                break
    except DamagedSound as fault:
        if fault.reason == "has no samples":
            raise DataError(f"{audio} holds no samples; expected a recording of speech") from fault
        raise DataError(f"{audio} {advice(audio, fault.reason)}") from fault
    if mono.cancels:
        raise DataError(f"{audio} {without_cancelling(audio)} (seqkd transcribe has --channel 1 for that)")
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def cut(blocks: Iterable[np.ndarray], rate: int, longest: float = LONGEST) -> Iterator[Piece]:
    """Cut a stream of samples into pieces of at most ``longest`` seconds.

    What is left of the stream is one piece if it is short enough. Otherwise it is cut in the middle of the quietest
    `WINDOW` (by energy) of the second half of the next ``longest`` seconds, the latest one if several are as quiet.
    The pieces joined are the stream: nothing is dropped or repeated.
    """
    limit, start = round(longest * rate), 0
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > limit:
            end = quietest(held[:limit], rate)
            yield Piece(start / rate, held[:end])
            held, start = held[end:], start + end
    if len(held):
        yield Piece(start / rate, held)


def quietest(samples: np.ndarray, rate: int) -> int:
    """Position in the second half of ``samples`` (N,) that is in the middle of its quietest `WINDOW`."""
    window, hop, half = round(WINDOW * rate), max(1, round(HOP * rate)), len(samples) // 2
    total = np.concatenate([[0.0], np.cumsum(np.square(samples[half:], dtype=np.float64))])  # (N/2 + 1,)
    begins = np.arange(0, len(total) - window, hop)
    energy = total[begins + window] - total[begins]
    latest = len(energy) - 1 - int(np.argmin(energy[::-1]))
    return half + int(begins[latest]) + window // 2
