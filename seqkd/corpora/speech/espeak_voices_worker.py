"""Worker process of the made-up speech corpus: a JSON job a line on stdin, a JSON answer a line on stdout.

espeak-ng keeps state from one utterance to the next and crashes when two threads use it, so every utterance
is synthesised in a process forked from this one: what comes out depends on the job alone, not on what was
made before or beside it. This process stays light (numpy, soundfile, soxr; no torch) to keep forking cheap.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.corpora.speech.acoustics import Conditions, record
from seqkd.files import atomic_path

# Constants of espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_PHONEME_EVENTS = 1  # espeak_Initialize: also report phonemes, by espeak-ng's own names (which are ASCII)
_RATE, _PITCH, _RANGE = 1, 3, 4
_CHARS_UTF8 = 1
_LIST_TERMINATED, _PHONEME = 0, 7  # types of events
_STRESS = "',%=|"  # marks that come with the name of a phoneme


class _Voice(ctypes.Structure):
    """The head of espeak_VOICE."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
    )


class _Event(ctypes.Structure):
    """espeak_EVENT, its union read as the name of a phoneme (up to 8 bytes, then without a final zero)."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_ubyte * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The synthesiser. ``speak`` may be called once or more in a forked process, never in this one.

    Args:
        phonemes: Whether to note where phonemes begin. The sound does not depend on it.

    Attributes:
        sample_rate: In Hz.
        phonemes: Of what was spoken last: the sample at which each begins, and espeak-ng's name for it, without
            marks of stress; ``_`` and ``_:`` are pauses. Empty unless they are asked for.
    """

    def __init__(self, phonemes: bool = False) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        self._library.espeak_GetCurrentVoice.restype = ctypes.POINTER(_Voice)
        data = os.fsencode(espeakng_loader.get_data_path())
        options = _PHONEME_EVENTS if phonemes else 0
        self.sample_rate = self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data, options)
        if self.sample_rate <= 0:
            raise RuntimeError("espeak-ng could not be initialised")
        self._pcm: list[bytes] = []
        self.phonemes: list[tuple[int, str]] = []
        self._callback = _CALLBACK(self._collect)  # kept: ctypes does not own it
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._pcm.append(ctypes.string_at(samples, 2 * count))
        for event in events or ():  # endless, but for the last
            if event.type == _LIST_TERMINATED:
                break
            if event.type == _PHONEME:
                name = bytes(event.name).partition(b"\0")[0].decode("ascii", "replace")
                self.phonemes.append((event.sample, name.strip(_STRESS)))
        return 0

    def speak(self, text: str, voice: str, rate: int, pitch: int, range: int, seed: int) -> bytes:
        """Return 16-bit samples of ``text`` at ``self.sample_rate``.

        Args:
            text: What to say.
            voice: Voice file and variant, such as ``gmw/en-US+f2``.
            rate: Words a minute.
            pitch: 0 to 100, relative to the voice's own.
            range: Liveliness of the pitch, 0 to 100.
            seed: Of the synthesiser's own noise and flutter.
        """
        library = self._library
        status = library.espeak_SetVoiceByName(voice.encode())
        # An unknown variant is not an error for espeak-ng, it just says nothing about it.
        chosen = library.espeak_GetCurrentVoice().contents.identifier if status == 0 else b""
        if chosen != voice.encode():
            raise RuntimeError(f"espeak-ng gave voice {chosen!r} for {voice!r}")
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, range)):
            library.espeak_SetParameter(parameter, value, 0)
        library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._pcm.clear()
        self.phonemes.clear()
        data = text.encode() + b"\0"
        if library.espeak_Synth(data, len(data), 0, 1, 0, _CHARS_UTF8, None, None) != 0:
            raise RuntimeError(f"espeak-ng could not say {text!r}")
        return b"".join(self._pcm)


def in_child(work: Callable[[], bytes]) -> bytes:
    """Return what ``work`` returns in a process forked from this one; RuntimeError if it fails there."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            try:
                answer, status = work(), 0
            except BaseException as error:
                answer = f"{type(error).__name__}: {error}".encode()
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(answer)
        except BaseException:  # nobody reads any more
            status = 1
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise RuntimeError(f"{answer.decode(errors='replace') or 'no message'} (process status {status})")
    return answer


def speak_apart(espeak: Espeak, requests: list[dict[str, Any]]) -> list[np.ndarray]:
    """Synthesise ``requests`` (arguments of ``Espeak.speak``) in one forked process; float32 within ±1."""

    def speak() -> bytes:
        spoken = [espeak.speak(**request) for request in requests]
        if not all(spoken):
            raise RuntimeError("no sound came")
        return b"".join(struct.pack("<I", len(pcm)) + pcm for pcm in spoken)

    try:
        answer = in_child(speak)
    except RuntimeError as error:
        raise RuntimeError(f"espeak-ng failed on {requests[0]}: {error}") from error
    signals = []
    while answer:
        (size,) = struct.unpack_from("<I", answer)
        signals.append(np.frombuffer(answer[4 : 4 + size], np.int16).astype(np.float32) / 32768)
        answer = answer[4 + size :]
    return signals


def render(espeak: Espeak, job: dict[str, Any]) -> float:
    """Synthesise, record and write one utterance; returns its duration in seconds."""
    import soundfile
    import soxr

    rate = job["sample_rate"]
    speech, *talkers = (
        soxr.resample(signal, espeak.sample_rate, rate)
        for signal in speak_apart(espeak, [job["speech"], *job["talkers"]])
    )
    rng = np.random.default_rng(job["seed"])
    audio = record(speech, Conditions(**job["conditions"]), rate, rng, talkers)
    with atomic_path(Path(job["path"])) as temporary:
        soundfile.write(temporary, np.round(audio * 32767).astype(np.int16), rate, "PCM_16", format="FLAC")
    return len(audio) / rate


def main() -> None:
    """Answer jobs until stdin ends (also when the parent is killed)."""
    espeak = Espeak()
    for line in sys.stdin:
        job = json.loads(line)
        try:
            answer = {"id": job["id"], "seconds": render(espeak, job)}
        except Exception as error:
            answer = {"id": job["id"], "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
