"""Audio files read whole and looked at on the way: what is damaged is said, not repaired in silence.

Letters: N samples, C channels.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqkd.data.whole import torn
from seqkd.errors import DataError

_BLOCK = 10  # seconds that are decoded at a time
_CANCELLED = 0.01  # of a channel's energy: channels of different sound keep 1 / C of it when they are averaged
_VIDEO = ("m4a", "m4b", "aac", "mp4", "mov", "mkv", "webm", "wma", "amr", "3gp", "avi")  # what libsndfile cannot read
_SILENCE = 1e-10  # mean energy of digital silence and of dither

CANCEL = "has channels that cancel each other when they are averaged"
"""What is said of stereo in opposite phase: its average is silence, though either channel is not."""


@dataclass(frozen=True)
class WholeSound:
    """A file that is whole.

    Attributes:
        seconds: Its length, by the samples that it has.
        sample_rate: Samples a second.
        channels: How many.
        cancels: Whether they cancel each other when they are averaged.
        digest: Of its samples: the same in whatever format they are kept without loss.
    """

    seconds: float
    sample_rate: int
    channels: int
    cancels: bool = False
    digest: str = ""


class DamagedSound(DataError):
    """An audio file that is not what its header says; ``reason`` is a predicate, such as "has no samples"."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.reason = reason

    def __reduce__(self) -> tuple:
        """For processes that hand it on."""
        return type(self), (Path(str(self).removesuffix(f" {self.reason}")), self.reason)


class Mono:
    """Turns blocks of several channels into one, and notices when the average loses what the channels hold.

    Args:
        channel: which channel to take, from 1; None for the average. Of a file of one channel, that.
    """

    def __init__(self, channel: int | None = None) -> None:
        self.channel = channel
        self._mixed = 0.0
        self._each: np.ndarray | None = None
        self._samples = 0

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """(N, C) to (N,), contiguous."""
        if block.shape[1] == 1:
            return np.ascontiguousarray(block[:, 0])
        if self.channel is not None:
            return np.ascontiguousarray(block[:, self.channel - 1])
        mixed = np.ascontiguousarray(block.mean(axis=1))
        each = np.einsum("nc,nc->c", block, block, dtype=np.float64)
        self._each = each if self._each is None else self._each + each
        self._mixed += float(np.dot(mixed, mixed))
        self._samples += len(block)
        return mixed

    @property
    def cancels(self) -> bool:
        """Whether averaging has made (near) silence of channels that are not silent, in all that was seen."""
        if self._each is None:
            return False
        loudest = float(self._each.max())
        return loudest > _SILENCE * self._samples and self._mixed < _CANCELLED * loudest


def read_sound(path: Path) -> Iterator[tuple[np.ndarray, int, float]]:
    """Yield all of an audio file, some seconds at a time: blocks (N, C) of float32, samples a second, and seconds.

    The latter are those of the whole file by its header, which is an estimate for some MP3 files.

    Raises:
        DamagedSound: it cannot be read, breaks off, has no samples, or samples that are no numbers.
    """
    import soundfile

    if Path(path).is_dir():
        raise DamagedSound(path, "cannot be read as audio (it is a directory)")
    if not Path(path).exists():
        raise DamagedSound(path, "cannot be read as audio (it does not exist)")
    if fault := torn(path):
        raise DamagedSound(path, fault)
    try:
        sound = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError) as error:
        reason = str(error).partition(": ")[2] or str(error)
        raise DamagedSound(path, f"cannot be read as audio ({reason.rstrip('.')})") from error
    with sound:
        rate, promised, seen = sound.samplerate, sound.frames, 0
        while True:
            try:
                block = sound.read(_BLOCK * rate, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, OSError) as error:
                reason = f"is damaged after {seen / rate:.1f} s ({str(error).rstrip('.')})"
                raise DamagedSound(path, reason) from error
            if not len(block):
                break
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                bad = int(np.flatnonzero(~finite)[0])
                raise DamagedSound(path, f"has a sample that is no number at {(seen + bad) / rate:.2f} s")
            seen += len(block)
            yield block, rate, promised / rate
        if not seen:
            raise DamagedSound(path, "has no samples")
        # Without a Xing header the length of an MP3 file is an estimate by its first frame.
        slack = max(rate, 0.01 * promised) if sound.format in ("MPEG", "MP3") else 0
        if promised < 2**62 and seen < promised - slack:
            raise DamagedSound(path, f"breaks off after {seen / rate:.2f} s of {promised / rate:.2f} s")


def look_at(path: Path) -> WholeSound:
    """Decode all of a file and say what it is; its length is that of the samples it has. Raises as `read_sound`."""
    mono, samples, rate, channels = Mono(), 0, 1, 1
    digest = hashlib.blake2b(digest_size=16)
    for block, rate, _ in read_sound(path):  # noqa: B007 - the last rate is that of all
        samples, channels = samples + len(block), block.shape[1]
        mono(block)
        digest.update(np.ascontiguousarray(block))
    return WholeSound(samples / rate, rate, channels, mono.cancels, digest.hexdigest())


def is_video(path: Path) -> bool:
    """Whether a file's name is one of a kind that has sound, and that soundfile cannot read."""
    return path.suffix.lower().removeprefix(".") in _VIDEO


def converted_by_ffmpeg(path: Path) -> str:
    """A predicate of such a file: what it is, and the command that takes its sound out."""
    return (
        f"is {path.suffix.lower().removeprefix('.')}, which is not read as it is; take its sound out with: ffmpeg -i "
        f"{shlex.quote(str(path))} -vn {shlex.quote(str(path.with_suffix('.flac')))}"
    )


def without_cancelling(path: Path) -> str:
    """A predicate of a file whose channels cancel each other, with what to do."""
    one = shlex.quote(str(path.with_suffix(".one.wav")))
    return f"{CANCEL}; keep one of them: sox {shlex.quote(str(path))} {one} remix 1"


def advice(path: Path, reason: str) -> str:
    """What is wrong with a recording that is to be used now, as a predicate, and what to do about it."""
    if reason.startswith("cannot be read"):
        if is_video(path) and "does not exist" not in reason:
            return converted_by_ffmpeg(path)
        return f"{reason}; expected a wav, flac, ogg or mp3 file that is whole"
    return f"{reason}; write the audio again" if "no number" in reason else f"{reason}; get it again"
