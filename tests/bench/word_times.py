"""How far word times are off on speech of which espeak-ng itself says where each word begins."""

from __future__ import annotations

import ctypes
import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

VOICES = ("gmw/en-US", "gmw/en", "gmw/en-GB-x-rp", "gmw/en-US-nyc", "gmw/en-GB-x-gbclan")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
UTTERANCES, SILENCE, RATE = 60, 0.3, 16000  # seconds of silence around each
WORD_EVENT = 1  # of espeak_EVENT_TYPE


class Event(ctypes.Structure):
    """The head of espeak_EVENT of speak_lib.h, and room for its last field."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


@dataclass(frozen=True)
class Spoken:
    """Words, where each begins (seconds), and the samples (N,) at `RATE`, with silence around."""

    words: list[str]
    begins: list[float]
    samples: np.ndarray


def speak() -> list[Spoken]:
    """Synthesise digits in several voices, in a process of its own, as espeak-ng needs it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_speak).result()


def _speak() -> list[Spoken]:
    import soxr

    from seqkd.corpora.speech.espeak_voices_worker import Espeak

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))
    events: list[int] = []
    espeak = Espeak()

    def collect(samples: Any, count: int, found: Any) -> int:
        at = 0
        while found and found[at].type:
            if found[at].type == WORD_EVENT:
                events.append(found[at].audio_position)
            at += 1
        return espeak._collect(samples, count, None)

    kept = callback(collect)
    espeak._library.espeak_SetSynthCallback(kept)
    rng, made, silence = random.Random(0), [], np.zeros(round(SILENCE * RATE), np.float32)
    for number in range(UTTERANCES):
        words = [rng.choice(WORDS) for _ in range(rng.randint(3, 6))]
        events.clear()
        pcm = espeak.speak(" ".join(words), VOICES[number % len(VOICES)], rng.randint(140, 200), 50, 50, number)
        speech = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
        samples = np.concatenate([silence, soxr.resample(speech, espeak.sample_rate, RATE), silence])
        if len(events) == len(words):
            made.append(Spoken(words, [SILENCE + event / 1000 for event in events], samples))
    return made


def with_noise(samples: np.ndarray, snr_db: float | None, seed: int) -> np.ndarray:
    """White noise at this ratio to the speech's mean power; None: 80 dB below full scale."""
    power = 1e-8 if snr_db is None else np.mean(np.square(samples)) / 10 ** (snr_db / 10)
    return (samples + np.sqrt(power) * np.random.default_rng(seed).standard_normal(len(samples))).astype(np.float32)


def table(export: Path) -> str:
    """A section of export.md; ``export`` is an export of the recipe espeak_voices."""
    import torch

    from seqkd.data.features import fbank
    from seqkd.decoding.greedy import greedy_decode
    from seqkd.deploy.boundaries import Sound, widen
    from seqkd.deploy.bundle import open_bundle
    from seqkd.deploy.words import timed_words

    bundle, spoken = open_bundle(export), speak()
    rows = []
    for snr in (None, 10.0, 3.0):
        errors: dict[str, list[float]] = {"spikes": [], "widened": []}
        right = 0
        for number, one in enumerate(spoken):
            features = fbank(torch.from_numpy(with_noise(one.samples, snr, number)), bundle.features)
            output = bundle.network(features[None], torch.tensor([len(features)]))
            (tokens,) = greedy_decode(output.logits, output.lengths)
            if bundle.tokenizer.decode(tokens).split() != one.words:
                continue
            right += 1
            spikes = timed_words(output.logits[0], tokens, bundle.tokenizer.decode, bundle.times)
            wider = widen(spikes, Sound.of(features, bundle.features.frame_shift_ms / 1000))
            for name, words in (("spikes", spikes), ("widened", wider)):
                errors[name] += [w.start - begin for w, begin in zip(words, one.begins, strict=True)]
                # In these phrases a word ends where the next one begins.
                errors[name] += [w.end - begin for w, begin in zip(words, one.begins[1:], strict=False)]
        noise = "clean" if snr is None else f"{snr:g} dB"
        for name, found in errors.items():
            off = np.abs(found)
            cells = [f"{100 * np.mean(off <= limit):.0f} %" for limit in (0.04, 0.08)]
            middle, most = 1000 * np.median(off), 1000 * np.percentile(off, 90)
            rows.append(
                f"| {noise} | {right} of {len(spoken)} | {name} | {middle:.0f} | {most:.0f} | {' | '.join(cells)} |"
            )
    return f"""## Word times

Digits without pauses between them, spoken by espeak-ng ({len(VOICES)} accents), which says where each word begins, with
white noise; model: `cons_kd` of `egs/espeak_voices`, preset default. Only phrases that were recognised without an
error count. Distance of word starts and ends from the truth, in milliseconds; an encoder frame is 40 ms. "Spikes": the
frames in which the network spells the word; "widened": what `seqkd transcribe` gives.

| noise | phrases | times | median | 90th percentile | within 40 ms | within 80 ms |
| --- | ---: | --- | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}
"""
