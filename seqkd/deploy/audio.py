"""Recordings of any length, rate and number of channels as pieces that a model can take one after the other.

Letters: N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqkd.errors import DataError

LONGEST = 30.0  # seconds of a piece
WINDOW = 0.2  # seconds that must be quiet where a recording is cut
HOP = 0.01  # seconds between the windows that are compared


@dataclass(frozen=True)
class Piece:
    """``samples`` (N,) float32 in [-1, 1] of one channel, which begin ``start`` seconds into the recording."""

    start: float
    samples: np.ndarray


def read_pieces(audio: Path, rate: int, progress: Callable[[float], object] | None = None) -> Iterator[Piece]:
    """Read a recording and cut it; about a minute of it is in memory at any time.

    Args:
        audio: what soundfile reads: wav, flac, ogg, mp3 and more. Channels are averaged.
        rate: samples a second of what is wanted, in Hz; soxr resamples.
        progress: called with the seconds that were read since the last call.

    Raises:
        DataError: the file is not there, is not audio, is empty, damaged or breaks off.
    """
    return cut(read_blocks(audio, rate, progress), rate)


def seconds(audio: Path) -> float:
    """Length of a recording by its header, in seconds; 0 if it cannot be read, of which `read_pieces` will complain."""
    import soundfile

    try:
        info = soundfile.info(audio)
    except (soundfile.SoundFileError, OSError):
        return 0.0
    return info.duration if info.frames < 2**62 else 0.0


def read_blocks(audio: Path, rate: int, progress: Callable[[float], object] | None = None) -> Iterator[np.ndarray]:
    """Yield a recording's samples, mono at ``rate`` Hz, some 10 s at a time; arguments and faults as `read_pieces`."""
    import soundfile
    import soxr

    try:
        sound = soundfile.SoundFile(audio)
    except (soundfile.SoundFileError, OSError) as error:
        what = "it is a directory" if Path(audio).is_dir() else str(error).rstrip(".")
        reason = what if Path(audio).exists() else "it does not exist"
        raise DataError(f"{audio} cannot be read as audio ({reason}); expected a wav, flac, ogg or mp3 file") from error
    with sound:
        found, promised, seen = sound.samplerate, sound.frames, 0
        resampler = soxr.ResampleStream(found, rate, 1, dtype="float32") if found != rate else None
        while True:
            try:
                block = sound.read(10 * found, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, OSError) as error:
                raise DataError(f"{audio} is damaged after {seen / found:.1f} s ({error}); get it again") from error
            if not len(block):
                break
            if not np.isfinite(block).all():
                bad = int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
                raise DataError(
                    f"{audio} has a sample that is no number at {(seen + bad) / found:.2f} s; write the audio again"
                )
            seen += len(block)
            mono = np.ascontiguousarray(block.mean(axis=1))
            yield mono if resampler is None else resampler.resample_chunk(mono)
            if progress is not None:
                progress(len(block) / found)
        if not seen:
            raise DataError(f"{audio} holds no samples; expected a recording of speech")
        # The length in the header of an MP3 file is an estimate.
        if promised < 2**62 and seen < promised - max(found, 0.01 * promised):
            raise DataError(
                f"{audio} breaks off at {seen / found:.1f} s of {promised / found:.1f} s; it is damaged, get it again"
            )
        if resampler is not None:
            yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def cut(blocks: Iterable[np.ndarray], rate: int, longest: float = LONGEST) -> Iterator[Piece]:
    """Cut a stream of samples into pieces of at most ``longest`` seconds.

    What is left of the stream is one piece if it is short enough. Otherwise it is cut in the middle of the quietest
    `WINDOW` (by energy) of the second half of the next ``longest`` seconds, the latest one if several are as quiet.
    The pieces joined are the stream: nothing is dropped or heard twice.
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
