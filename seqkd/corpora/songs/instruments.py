"""The sounds of a made-up band and its audience, by additive and subtractive synthesis.

Every function returns float32 samples (N,) at 22,050 Hz, at a level of about 1 unless said otherwise. Pitches are MIDI
numbers (69 is 440 Hz); ``rng`` decides what is random.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from scipy.signal import butter, lfilter, oaconvolve, sosfilt

from seqkd.shots.audio.spectrum import RATE

# Formants (Hz) of five vowels, and their bandwidths: Peterson and Barney (1952), rounded.
_VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (390, 1990, 2550), (570, 840, 2410), (440, 1020, 2240))
_BANDWIDTHS = (80, 100, 140)


def hertz(pitch: float) -> float:
    """Return the frequency of a MIDI pitch."""
    return 440.0 * 2 ** ((pitch - 69) / 12)


def tone(pitch: float, seconds: float, harmonics: Sequence[float], decay: float, attack: float = 0.01) -> np.ndarray:
    """A note of given harmonic amplitudes that decays by 1/e in ``decay`` seconds and is released at its end."""
    count = int(seconds * RATE)
    times = np.arange(count, dtype=np.float32) / RATE
    base = hertz(pitch)
    phase = 2 * np.pi * base * times
    wave = np.zeros(count, np.float32)
    for number, amplitude in enumerate(harmonics, start=1):
        if base * number < 0.45 * RATE:
            wave += amplitude * np.sin(number * phase)
    return wave * np.exp(-times / decay) * _edges(count, attack, 0.03)


def kick() -> np.ndarray:
    """A bass drum: a sine that falls from 140 to 45 Hz."""
    times = np.arange(int(0.25 * RATE)) / RATE
    phase = 2 * np.pi * (45 * times + 95 * 0.03 * (1 - np.exp(-times / 0.03)))
    return (np.sin(phase) * np.exp(-times / 0.09)).astype(np.float32)


def snare(rng: np.random.Generator) -> np.ndarray:
    """A snare drum: noise above a short tone."""
    times = np.arange(int(0.2 * RATE)) / RATE
    noise = lfilter([1, -0.85], [1], rng.standard_normal(len(times))) * np.exp(-times / 0.06)
    return (0.5 * noise + 0.5 * np.sin(2 * np.pi * 190 * times) * np.exp(-times / 0.04)).astype(np.float32)


def hat(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A hi-hat, or with a long ``seconds`` a crash cymbal."""
    times = np.arange(int(4 * seconds * RATE)) / RATE
    noise = lfilter([1, -1.9, 0.95], [1], rng.standard_normal(len(times)))
    return (0.25 * noise * np.exp(-times / seconds)).astype(np.float32)


def tom(pitch: float) -> np.ndarray:
    """A tom-tom."""
    times = np.arange(int(0.25 * RATE)) / RATE
    return (np.sin(2 * np.pi * hertz(pitch) * times * (1 - 0.4 * times)) * np.exp(-times / 0.1)).astype(np.float32)


def voice(notes: Sequence[tuple[float, float, float, int]], count: int, rng: np.random.Generator) -> np.ndarray:
    """A singing voice: a pulse train with vibrato, shaped by the formants of vowels, and a hiss before each note.

    Args:
        notes: Start and length (s), pitch, and vowel (0 to 4) of each, in order.
        count: N, samples of the whole song; beyond the last note there is silence.
        rng: For vibrato and hiss.
    """
    output = np.zeros(count, np.float32)
    for vowel, formants in enumerate(_VOWELS):
        sung = [note for note in notes if note[3] == vowel]
        if not sung:
            continue
        pieces, places = [], []
        for start, seconds, pitch, _ in sung:
            place, length = int(start * RATE), int(seconds * RATE)
            length = min(length, count - place)
            if length < 64:
                continue
            times = np.arange(length) / RATE
            depth = 0.25 * np.clip((times - 0.15) / 0.3, 0, 1)  # semitones: vibrato sets in late
            bend = depth * np.sin(2 * np.pi * (5.5 * times + rng.random())) - 0.8 * np.exp(-times / 0.04)
            phase = np.cumsum(hertz(pitch) * 2 ** (bend / 12)) / RATE
            source = 2 * (phase % 1.0) - 1 + 0.05 * rng.standard_normal(length)
            pieces.append((source * _edges(length, 0.04, 0.06)).astype(np.float32))
            places.append(place)
        # One filter run for all notes of a vowel: between them are the silences in which it rings out.
        joined = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        shaped = np.zeros_like(joined)
        for number, (formant, width) in enumerate(zip(formants, _BANDWIDTHS, strict=True)):
            shaped += _resonance(joined, formant * 1.06, width) / (1 + number)
        at = 0
        for place, piece in zip(places, pieces, strict=True):
            output[place : place + len(piece)] += shaped[at : at + len(piece)]
            at += len(piece)
    consonant = 0.25 * _hiss(rng)
    for start, *_ in notes:
        add(output, consonant, start - len(consonant) / RATE)
    return output


def applause(level: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An audience: claps of many hands and a murmur.

    Args:
        level: (T,), how loud it is in each second, from 0 up; interpolated.
        rng: Of the hands.
    """
    count = len(level) * RATE
    loud = np.interp(np.arange(count) / RATE, np.arange(len(level)) + 0.5, level).astype(np.float32)
    claps = np.zeros(count, np.float32)
    # So many hands that single ones are not heard; few where it is quiet.
    number = int(700 * level.sum())
    where = rng.choice(len(level), number, p=level / level.sum()) if number else np.zeros(0, int)
    where = ((where + rng.random(number)) * RATE).astype(int)
    np.add.at(claps, where, rng.exponential(1.0, number).astype(np.float32))
    times = np.arange(int(0.03 * RATE)) / RATE
    hands = _band(rng.standard_normal(len(times)) * np.exp(-times / 0.006), 700, 3500)
    claps = oaconvolve(claps, hands.astype(np.float32))[:count]
    # The murmur is a loop: nobody hears that it repeats, and it costs nothing.
    murmur = _band(rng.standard_normal(8 * RATE), 250, 1800)
    murmur = np.resize(murmur / murmur.std(), count)
    return (0.12 * claps + 0.1 * murmur * loud).astype(np.float32)


def reverberate(samples: np.ndarray, seconds: float, share: float, rng: np.random.Generator) -> np.ndarray:
    """The hall: noise that decays by 60 dB in ``seconds``, mixed in by ``share``."""
    count = int(seconds * RATE)
    response = rng.standard_normal(count) * np.exp(-6.9 * np.arange(count) / count)
    response /= np.sqrt((response**2).sum())
    wet = oaconvolve(samples, response.astype(np.float32))[: len(samples)]
    return samples + share * wet


def add(track: np.ndarray, sound: np.ndarray, start: float, level: float = 1.0) -> None:
    """Add a sound to a track from ``start`` (s) on; what does not fit is left out."""
    place = int(start * RATE)
    if place < 0:
        sound, place = sound[-place:], 0
    end = min(len(track), place + len(sound))
    if end > place:
        track[place:end] += level * sound[: end - place]


def _edges(count: int, attack: float, release: float) -> np.ndarray:
    """A trapezoid from 0 to 1 to 0."""
    rise, fall = min(int(attack * RATE), count // 2), min(int(release * RATE), count // 2)
    envelope = np.ones(count, np.float32)
    envelope[:rise] = np.linspace(0, 1, rise, endpoint=False)
    envelope[count - fall :] = np.linspace(1, 0, fall)
    return envelope


def _resonance(samples: np.ndarray, centre: float, width: float) -> np.ndarray:
    """A two-pole resonator with a gain of about 1 at its centre."""
    radius = np.exp(-np.pi * width / RATE)
    angle = 2 * np.pi * centre / RATE
    gain = (1 - radius) * np.sqrt(1 - 2 * radius * np.cos(2 * angle) + radius**2)
    return lfilter([gain], [1, -2 * radius * np.cos(angle), radius**2], samples).astype(np.float32)


@functools.cache
def _band_filter(low: float, high: float) -> np.ndarray:
    return butter(2, (low, high), "bandpass", fs=RATE, output="sos")


def _band(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    return sosfilt(_band_filter(low, high), samples)


def _hiss(rng: np.random.Generator) -> np.ndarray:
    times = np.arange(int(0.06 * RATE)) / RATE
    return (_band(rng.standard_normal(len(times)), 3000, 9000) * np.sin(np.pi * times / 0.06)).astype(np.float32)
