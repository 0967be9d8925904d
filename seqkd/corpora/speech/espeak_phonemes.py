"""The phonemes that espeak-ng makes of texts, as transcripts: names of its own, separated by spaces, without stress.

espeak-ng is GPL-3 software, so it runs in a process of its own; run as a program, this module is that process: a JSON
object of texts by voice on stdin, one of phonemes on stdout.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from seqkd.errors import DataError

_AUDIO_OUTPUT_SYNCHRONOUS, _CHARS_UTF8 = 2, 1  # espeak-ng's speak_lib.h
_SEPARATOR = "_"  # between the phonemes of a word
_STRESS = "',%=|"  # marks that come with the name of a phoneme
_PAUSE = ":"  # what a pause looks like, once separators are gone


def phonemes_of(texts: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]:
    """The phonemes of texts, by voice (such as ``gmw/en-US``) and text.

    Raises:
        DataError: espeak-ng does not know a voice, or could not be asked.
    """
    wanted = {voice: sorted(set(of_voice)) for voice, of_voice in texts.items()}
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-m", "seqkd.corpora.speech.espeak_phonemes"],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode:
        raise DataError(f"espeak-ng gave no phonemes: {done.stderr.strip().splitlines()[-1:] or 'the process ended'}")
    found = json.loads(done.stdout)
    return {voice: dict(zip(of_voice, found[voice], strict=True)) for voice, of_voice in wanted.items()}


def cleaned(shown: str) -> str:
    """espeak-ng's ``t_'3:_n O2_n`` as ``t 3: n O2 n``: phonemes of all words, without stress and pauses."""
    names = (name.strip(_STRESS) for word in shown.split() for name in word.split(_SEPARATOR))
    return " ".join(name for name in names if name and name != _PAUSE)


def main() -> None:
    """Answer."""
    import espeakng_loader

    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    if library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(espeakng_loader.get_data_path()), 0) <= 0:
        sys.exit("espeak-ng could not be initialised")
    answers: dict[str, list[str]] = {}
    for voice, texts in json.loads(sys.stdin.read()).items():
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            sys.exit(f"espeak-ng knows no voice {voice!r}")
        answers[voice] = [cleaned(_shown(library, text)) for text in texts]
    print(json.dumps(answers))


def _shown(library: ctypes.CDLL, text: str) -> str:
    """All clauses of a text."""
    left, parts = ctypes.c_char_p(text.encode()), []
    while left.value is not None:
        place = ctypes.cast(ctypes.pointer(left), ctypes.POINTER(ctypes.c_void_p))
        part = library.espeak_TextToPhonemes(place, _CHARS_UTF8, ord(_SEPARATOR) << 8)
        parts.append((part or b"").decode("ascii", "replace"))
    return " ".join(parts)


if __name__ == "__main__":
    main()
