"""Sound that comes in: a recording, standard input, a microphone. Blocks are mono, at the rate that is wanted.

Letters: N samples, C channels.
"""

from __future__ import annotations

import queue
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from seqkd.data.sound import CANCEL, Mono
from seqkd.deploy.audio import read_blocks
from seqkd.errors import ConfigError, DataError

BLOCK = 0.08  # seconds that are read at a time, where sound comes as it is spoken
CERTAIN = 10.0  # seconds after which channels that have cancelled each other so far will go on to
WIDTHS = {1: "u1", 2: "<i2", 4: "<i4"}  # bytes of a sample of PCM, in numpy's names; 8 bits have no sign


def of_file(audio: Path, rate: int, channel: int | None = None) -> Iterator[np.ndarray]:
    """Blocks (N,) of a recording; faults as `seqkd.deploy.audio.read_blocks`."""
    yield from read_blocks(audio, rate, channel=channel)


def of_pipe(stream: BinaryIO, rate: int, raw: int | None = None, channel: int | None = None) -> Iterator[np.ndarray]:
    """Blocks (N,) of a pipe, as they come: of a WAV file, or of bare samples.

    Args:
        stream: is read, never sought in. Of WAV, PCM of 8, 16, 24 and 32 bits is read; the length that its header
            states is not: what writes into a pipe does not know it.
        rate: of the blocks, in Hz.
        raw: the rate of bare samples: one channel, 16 bits, little-endian. None for WAV.
        channel: which channel of WAV to take, from 1, rather than their average.

    Raises:
        DataError: there is neither, the WAV is of another kind, or has no such channel.
    """
    if raw is not None:
        found, channels, width = raw, 1, 2
    else:
        found, channels, width = _header(stream)
    if channel is not None and 1 < channels < channel:
        raise DataError(f"standard input has {channels} channels; expected --channel 1 to {channels}")
    yield from _resampled(_blocks(stream, found, channels, width), found, rate, Mono(channel))


def of_microphone(rate: int) -> Iterator[np.ndarray]:
    """Blocks (N,) of the default microphone, until the process is interrupted.

    Raises:
        ConfigError: sounddevice is not installed, or there is no microphone that gives this rate.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: PortAudio, which it needs, is not there
        raise ConfigError(
            f"the microphone needs sounddevice ({error}); get it with: pip install sounddevice (Debian, Ubuntu: "
            "apt install libportaudio2)"
        ) from error
    blocks: queue.Queue[np.ndarray] = queue.Queue()

    def take(block: np.ndarray, frames: int, time: object, status: object) -> None:
        blocks.put(block[:, 0].copy())

    try:
        with sounddevice.InputStream(rate, round(BLOCK * rate), channels=1, dtype="float32", callback=take):
            while True:
                yield blocks.get()
    except sounddevice.PortAudioError as error:
        raise ConfigError(f"the microphone cannot be opened at {rate} Hz ({error}); choose another one") from error


def _header(stream: BinaryIO) -> tuple[int, int, int]:
    """Rate, channels and bytes a sample of a WAV file, of which the samples come next."""
    try:
        header = wave.open(stream, "rb")  # noqa: SIM115 - closing it would close the stream
    except (wave.Error, EOFError) as error:
        reason = str(error) or "it is empty"
        raise DataError(
            f"standard input is no WAV of PCM samples ({reason}); of bare samples of 16 bits, give the rate by "
            "--raw 16000, or let ffmpeg write them: ffmpeg -i talk.mp3 -f wav -"
        ) from error
    return header.getframerate(), header.getnchannels(), header.getsampwidth()


def _blocks(stream: BinaryIO, rate: int, channels: int, width: int) -> Iterator[np.ndarray]:
    """Blocks (N, C) in [-1, 1], until the stream ends; an unfinished sample at the end is left out."""
    size, left = width * channels, b""
    read = getattr(stream, "read1", stream.read)
    while data := read(max(1, round(BLOCK * rate)) * size):
        data = left + data
        whole = len(data) // size * size
        data, left = data[:whole], data[whole:]
        if data:
            yield _samples(data, width).reshape(-1, channels)


def _check_channels(mono: Mono) -> None:
    if mono.cancels:
        raise DataError(f"standard input {CANCEL}; take one of them by --channel 1")


def _samples(data: bytes, width: int) -> np.ndarray:
    """PCM as float32 in [-1, 1]."""
    if width == 3:
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return padded.view("<i4")[:, 0].astype(np.float32) / 2**31
    found = np.frombuffer(data, WIDTHS[width]).astype(np.float32)
    return (found - 128) / 128 if width == 1 else found / 2.0 ** (8 * width - 1)


def _resampled(blocks: Iterator[np.ndarray], found: int, rate: int, mono: Mono) -> Iterator[np.ndarray]:
    """Blocks (N, C) at ``found`` Hz to blocks (N,) at ``rate`` Hz.

    Raises DataError once channels have cancelled each other for `CERTAIN` seconds, or at the end.
    """
    import soxr

    resampler, seen = None if found == rate else soxr.ResampleStream(found, rate, 1, dtype="float32"), 0
    for block in blocks:
        one = mono(block)
        seen += len(block)
        if seen >= CERTAIN * found:
            _check_channels(mono)
        yield one if resampler is None else resampler.resample_chunk(one)
    _check_channels(mono)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
