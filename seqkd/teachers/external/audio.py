"""The input and output of an external teacher: speech in, posteriors over its own units or transcripts out.

Letters: n samples, T frames of the teacher, C classes of the teacher.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from seqkd.data.kaldi import Utterance, read_data_dir
from seqkd.data.whole import torn
from seqkd.errors import ConfigError, DataError
from seqkd.teachers.external.vocabulary import Vocabulary


@dataclass(frozen=True)
class Speech:
    """One utterance as input.

    Attributes:
        id: of the utterance.
        samples: (n,) float32 in [-1, 1]; none if the teacher takes no audio.
        sample_rate: in Hz; None if the teacher takes no audio.
    """

    id: str
    samples: Tensor
    sample_rate: int | None


@dataclass(frozen=True)
class TeacherWord:
    """A word of a transcript: when it begins and ends, in seconds, and its probability."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class TeacherTranscript:
    """A transcript, words between single spaces, and the natural log of what the teacher gives it.

    ``words`` has the times of the words; () from a teacher that gives none.
    """

    text: str
    log_prob: float
    words: tuple[TeacherWord, ...] = ()


@runtime_checkable
class FrameTeacher(Protocol):
    """A frozen teacher with log-probabilities over its own units for each frame.

    The result for an utterance does not depend on the others in the call.
    """

    name: str
    hash: str
    vocabulary: Vocabulary
    frame_shift_ms: float
    sample_rate: int | None

    def log_probs(self, speech: Sequence[Speech]) -> list[Tensor]:
        """(T, C) float32 on the CPU for each utterance; rows sum to 1."""
        ...


@runtime_checkable
class SequenceTeacher(Protocol):
    """A frozen teacher that gives N-best transcripts with log-probabilities."""

    name: str
    hash: str
    sample_rate: int | None

    def transcribe(self, speech: Sequence[Speech], n: int) -> list[list[TeacherTranscript]]:
        """At most n hypotheses for each utterance, best first, all different."""
        ...


def hash_among(teacher: FrameTeacher | SequenceTeacher, known: Collection[str]) -> str:
    """The hash by which what a teacher gave is known.

    Hashes of teachers in files covered less once (``earlier_hash``): what is known by such a one stays valid.
    """
    earlier = getattr(teacher, "earlier_hash", None)
    return earlier if earlier in known else teacher.hash


def read_speech(
    directories: Path | str | Sequence[Path | str], ids: Iterable[str] | None, sample_rate: int | None
) -> Iterator[Speech]:
    """Utterances of Kaldi data directories at a teacher's sample rate, in the order of ``ids``.

    Args:
        directories: one or several, with ``wav.scp``, perhaps ``segments``; the first that has an utterance gives it.
        ids: of the utterances; None for all of them.
        sample_rate: of the teacher, in Hz: audio of another rate is resampled (soxr, high quality), with one
            warning if it has less than the teacher is used to. None for a teacher that takes no audio: no audio
            is read.

    Raises:
        DataError: a fault of a directory, an id that none has, audio that is missing, damaged or not mono.
    """
    recordings = Recordings.of(directories)
    return recordings.speech(sorted(recordings.utterances) if ids is None else list(ids), sample_rate)


@dataclass(frozen=True)
class Recordings:
    """The utterances of data directories by id, to be read many times; ``where`` names the directories."""

    utterances: Mapping[str, Utterance]
    where: str

    @classmethod
    def of(cls, directories: Path | str | Sequence[Path | str]) -> Recordings:
        """See `read_speech`."""
        directories = [directories] if isinstance(directories, (str, Path)) else list(directories)
        known = {utterance.id: utterance for one in reversed(directories) for utterance in read_data_dir(one)}
        return cls(known, " and ".join(map(str, directories)))

    def speech(self, ids: Sequence[str], sample_rate: int | None) -> Iterator[Speech]:
        """See `read_speech`."""
        for name in ids:
            if name not in self.utterances:
                raise DataError(f"utterance {name!r} is not in {self.where}; name the directory that has it")
        if sample_rate is None:
            return (Speech(name, torch.zeros(0), None) for name in ids)
        return _hear([self.utterances[name] for name in ids], sample_rate, self.where)


def _hear(utterances: list[Utterance], sample_rate: int, where: str) -> Iterator[Speech]:
    import soxr

    warned = False
    for utterance in utterances:
        samples, rate = _read(utterance)
        if rate < sample_rate and not warned:
            warned = True
            warnings.warn(
                f"{where}: audio of {rate} Hz is resampled to the teacher's {sample_rate} Hz; it has nothing above "
                f"{rate // 2} Hz, which the teacher is used to, so check the teacher's WER on it.",
                stacklevel=2,
            )
        if rate != sample_rate:
            samples = soxr.resample(samples, rate, sample_rate)
        yield Speech(utterance.id, torch.from_numpy(samples), sample_rate)


def _read(utterance: Utterance) -> tuple[np.ndarray, int]:
    """Samples (n,), and Hz."""
    import soundfile

    who = f"utterance {utterance.id!r}, {utterance.audio}"
    if fault := torn(utterance.audio):
        raise DataError(f"{who}: {fault}; write the audio again")
    try:
        with soundfile.SoundFile(utterance.audio) as sound:
            rate, channels = sound.samplerate, sound.channels
            start = round(utterance.start * rate)
            stop = sound.frames if utterance.end is None else min(round(utterance.end * rate), sound.frames)
            sound.seek(min(start, sound.frames))
            samples = sound.read(max(0, stop - start), dtype="float32")
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{who}: cannot be read as audio ({error}); write the audio again") from error
    if channels != 1:
        raise DataError(f"{who}: has {channels} channels, expected one; mix them down or pick one")
    if stop <= start:
        raise DataError(f"{who}: has no samples; remove the utterance or write its audio again")
    if len(samples) < stop - start:
        raise DataError(f"{who}: breaks off after {len(samples)} of {stop - start} samples; the file is damaged")
    if not np.isfinite(samples).all():
        raise DataError(f"{who}: has samples that are no finite numbers; write the audio again")
    return samples, rate


def check_rate(speech: Speech, sample_rate: int, teacher: str) -> None:
    """Raise ConfigError unless ``speech`` has the sample rate of the teacher."""
    if speech.sample_rate != sample_rate:
        found = "was not read" if speech.sample_rate is None else f"has {speech.sample_rate} Hz"
        raise ConfigError(
            f"utterance {speech.id!r} {found} and {teacher} takes {sample_rate} Hz; give it speech at its own rate"
        )
