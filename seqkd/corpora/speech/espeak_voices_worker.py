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
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from seqkd.corpora.speech.acoustics import Conditions, record
from seqkd.files import atomic_path

# Constants of espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_RATE, _PITCH, _RANGE = 1, 3, 4
_CHARS_UTF8 = 1
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Voice(ctypes.Structure):
    """The head of espeak_VOICE."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
    )


class Espeak:
    """The synthesiser. ``speak`` may be called once or more in a forked process, never in this one."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        self._library.espeak_GetCurrentVoice.restype = ctypes.POINTER(_Voice)
        data = os.fsencode(espeakng_loader.get_data_path())
        self.sample_rate = self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data, 0)
        if self.sample_rate <= 0:
            raise RuntimeError("espeak-ng could not be initialised")
        self._pcm: list[bytes] = []
        self._callback = _CALLBACK(self._collect)  # kept: ctypes does not own it
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._pcm.append(ctypes.string_at(samples, 2 * count))
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
        data = text.encode() + b"\0"
        if library.espeak_Synth(data, len(data), 0, 1, 0, _CHARS_UTF8, None, None) != 0:
            raise RuntimeError(f"espeak-ng could not say {text!r}")
        return b"".join(self._pcm)


def _read_block(pipe: BinaryIO) -> bytes | None:
    head = pipe.read(4)
    if len(head) < 4:
        return None
    (size,) = struct.unpack("<I", head)
    block = pipe.read(size)
    return block if len(block) == size else None


def speak_apart(espeak: Espeak, requests: list[dict[str, Any]]) -> list[np.ndarray]:
    """Synthesise ``requests`` (arguments of ``Espeak.speak``) in one forked process; float32 within ±1."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                for request in requests:
                    pcm = espeak.speak(**request)
                    pipe.write(struct.pack("<I", len(pcm)) + pcm)
            status = 0
        except BaseException as error:
            os.write(2, f"espeak voices: {error}\n".encode())
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        blocks = [_read_block(pipe) for _ in requests]
    _, status = os.waitpid(child, 0)
    if status != 0 or not all(blocks):
        raise RuntimeError(f"espeak-ng failed (process status {status}) on {requests[0]}")
    return [np.frombuffer(block, np.int16).astype(np.float32) / 32768 for block in blocks if block]


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
