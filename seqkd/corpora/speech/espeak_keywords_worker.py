"""Worker process of the made-up command words: a JSON batch a line on stdin, a JSON answer a line on stdout.

espeak-ng keeps state from one word to the next, so that what comes out depends on what was said before. A whole batch
is therefore said in one forked process, always from its first word on; that is much faster than one process a word.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.corpora.speech.acoustics import Conditions, loud_part, record
from seqkd.corpora.speech.espeak_voices_worker import Espeak, in_child
from seqkd.files import atomic_path

SILENCE = "sil"
_FASTEST = 450  # words a minute, the most that espeak-ng can do
_PAUSES = ("_", "_:", "")


def phone_times(events: list[tuple[float, str]], lead: float, seconds: float) -> list[tuple[float, float, str]]:
    """Return (start, end, phone) of a whole clip, in seconds; pauses and what is around the word are silence.

    Args:
        events: When each phoneme begins, in seconds from where the word can be heard; and its name.
        lead: Seconds in the clip before that.
        seconds: Duration of the clip.
    """
    marks = [(0.0, SILENCE)]
    marks += [(round(min(max(lead + at, 0.0), seconds), 4), name) for at, name in events]
    marks += [(seconds, SILENCE)]
    spans: list[tuple[float, float, str]] = []
    for (start, name), (end, _) in itertools.pairwise(marks):
        phone = SILENCE if name in _PAUSES else name
        if spans and phone == SILENCE == spans[-1][2]:
            spans[-1] = (spans[-1][0], end, SILENCE)
        elif end > start:
            spans.append((start, end, phone))
    return spans


def _say(
    espeak: Espeak, request: dict[str, Any], sample_rate: int, seconds: float
) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Return a word without silence around it, and when its phonemes begin; faster speech if it would not fit."""
    import soxr

    for _ in range(2):
        pcm = np.frombuffer(espeak.speak(**request), np.int16).astype(np.float32) / 32768
        speech = soxr.resample(pcm, espeak.sample_rate, sample_rate)
        loud = loud_part(speech)
        if loud.stop == loud.start:
            raise RuntimeError(f"espeak-ng gave no sound for {request}")
        length = (loud.stop - loud.start) / sample_rate
        if length <= seconds or request["rate"] >= _FASTEST:
            break
        request = {**request, "rate": min(round(1.1 * request["rate"] * length / seconds), _FASTEST)}
    begin = loud.start / sample_rate
    return speech[loud], [(sample / espeak.sample_rate - begin, name) for sample, name in espeak.phonemes]


def make_clip(espeak: Espeak, clip: dict[str, Any], sample_rate: int, seconds: float) -> list[tuple[float, float, str]]:
    """Say and record one word, and write it unless its file is there; returns its phones' starts, ends and names."""
    import soundfile

    # Words are said even if the file is there: what is said after them depends on it.
    word, events = _say(espeak, clip["speech"], sample_rate, seconds)
    talkers = [_say(espeak, talker, sample_rate, 60.0)[0] for talker in clip["talkers"]]
    samples = round(seconds * sample_rate)
    lead = round(clip["place"] * max(samples - len(word), 0))
    path = Path(clip["path"])
    if not path.is_file():
        trail = max(samples - lead - len(word), 0)
        conditions = Conditions(**clip["conditions"], lead=lead / sample_rate, trail=trail / sample_rate)
        audio = record(word, conditions, sample_rate, np.random.default_rng(clip["seed"]), talkers)[:samples]
        with atomic_path(path) as temporary:
            soundfile.write(temporary, np.round(audio * 32767).astype(np.int16), sample_rate, "PCM_16", format="FLAC")
    return phone_times(events, lead / sample_rate, seconds)


def make_batch(espeak: Espeak, job: dict[str, Any]) -> None:
    """Make all clips of a batch, and when that is done the file with the phones of each, by id."""

    def work() -> bytes:
        phones = {}
        for clip in job["clips"]:
            try:
                phones[clip["id"]] = make_clip(espeak, clip, job["sample_rate"], job["seconds"])
            except Exception as error:
                raise RuntimeError(f"clip {clip['id']!r}: {type(error).__name__}: {error}") from error
        with atomic_path(Path(job["phones"])) as temporary:
            temporary.write_text(json.dumps(phones), encoding="utf-8")
        return b""

    in_child(work)


def main() -> None:
    """Answer jobs until stdin ends (also when the parent is killed)."""
    import soundfile  # noqa: F401 - here, once, rather than in every child
    import soxr  # noqa: F401

    espeak = Espeak(phonemes=True)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            make_batch(espeak, job)
            answer = {"id": job["id"]}
        except Exception as error:
            answer = {"id": job["id"], "error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
