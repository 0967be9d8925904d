"""Rooms, noises and levels: turns clean speech into recordings under stated conditions.

Needs numpy only, so that the light worker processes of the corpora can import it. Every random draw comes
from the generator that the caller passes in. Signals are float arrays of shape (N,), full scale is 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NOISES = ("white", "pink", "brown", "hum")
"""Noises made here; ``babble`` is also a kind, but the caller has to supply the talkers."""

_PEAK = 0.98  # of full scale: louder mixtures are turned down rather than clipped


@dataclass(frozen=True)
class Conditions:
    """How one utterance is recorded.

    Attributes:
        noise: One of ``NOISES``, ``"babble"``, or None for no noise.
        snr_db: Power of the reverberant speech, averaged from its first to its last sample, over the power
            of the noise, in dB. Ignored without noise.
        rt60: Time in which the room's echo decays by 60 dB, in seconds; None for no room.
        drr_db: Power of the direct sound over that of its echoes, in dB.
        level_db: RMS level of the finished recording over the span of the speech, in dB below full scale.
        lead: Silence (noise only) before the speech, in seconds.
        trail: The same after the speech, in seconds; the room's echo fades into it.
    """

    noise: str | None = None
    snr_db: float = 20.0
    rt60: float | None = None
    drr_db: float = 3.0
    level_db: float = -24.0
    lead: float = 0.2
    trail: float = 0.2


def loud_part(speech: np.ndarray, threshold: float = 1e-3) -> slice:
    """Return ``speech`` without what is quieter than ``threshold`` times the peak at both ends, as a slice."""
    magnitude = np.abs(speech)
    loud = np.flatnonzero(magnitude > threshold * magnitude.max()) if len(speech) else np.empty(0, int)
    return slice(int(loud[0]), int(loud[-1]) + 1) if len(loud) else slice(0, 0)


def trim(speech: np.ndarray, threshold: float = 1e-3) -> np.ndarray:
    """Cut off what is quieter than ``threshold`` times the peak at both ends of ``speech``."""
    return speech[loud_part(speech, threshold)]


def _power(signal: np.ndarray) -> float:
    return float(np.mean(np.square(signal))) if len(signal) else 0.0


def _fast_length(samples: int) -> int:
    """Return the smallest 2^k or 3*2^k that is at least ``samples``: FFTs of such lengths are fast."""
    power = 1 << max(samples - 1, 1).bit_length()
    return 3 * power // 4 if 3 * power // 4 >= samples else power


def make_noise(kind: str, samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``samples`` of noise with power 1.

    ``white`` is flat over frequency, ``pink`` falls by 3 and ``brown`` by 6 dB an octave above 40 Hz, ``hum``
    is a mains hum (50 or 60 Hz and its harmonics) over a faint pink floor.
    """
    if kind == "white":
        return rng.standard_normal(samples)
    if kind in ("pink", "brown"):
        length = _fast_length(samples)
        spectrum = np.fft.rfft(rng.standard_normal(length))
        frequency = np.maximum(np.fft.rfftfreq(length, 1 / sample_rate), 40.0)
        spectrum *= frequency ** (-0.5 if kind == "pink" else -1.0)
        noise = np.fft.irfft(spectrum, length)[:samples]
    elif kind == "hum":
        mains = rng.choice([50.0, 60.0]) * (1 + rng.uniform(-0.005, 0.005))
        time = np.arange(samples) / sample_rate
        noise = 0.1 * make_noise("pink", samples, sample_rate, rng)
        for harmonic in range(1, 13):
            amplitude = rng.uniform(0.2, 1.0) / harmonic**0.7
            noise += amplitude * np.sin(2 * np.pi * (harmonic * mains * time + rng.random()))
    else:
        raise ValueError(f"noise kind {kind!r} is not known; known are {', '.join(NOISES)}")
    return noise / np.sqrt(max(_power(noise), 1e-20))


def reverberate(
    speech: np.ndarray, rt60: float, drr_db: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Convolve with a made-up room response: the direct sound, then exponentially decaying white echoes.

    The result has the length of ``speech``; pad it before if the echo of its end matters. ``rt60`` is in s.
    """
    samples = max(int(rt60 * sample_rate), 1)
    delay = int(rng.uniform(0.002, 0.01) * sample_rate)  # no echo returns sooner than from a nearby wall
    decay = 10.0 ** (-3.0 * np.arange(samples) / samples)  # 60 dB of power are a factor 1000 of amplitude
    echo = rng.standard_normal(samples) * decay
    echo *= 10.0 ** (-drr_db / 20) / np.sqrt(np.sum(np.square(echo)))
    response = np.concatenate([[1.0], np.zeros(delay), echo])
    length = _fast_length(len(speech) + len(response))
    wet = np.fft.irfft(np.fft.rfft(speech, length) * np.fft.rfft(response, length), length)
    return wet[: len(speech)]


def _loop(signal: np.ndarray, samples: int, start: int) -> np.ndarray:
    """Return ``samples`` of ``signal`` from ``start`` on, repeated as needed."""
    return np.take(signal, np.arange(start, start + samples), mode="wrap")


def record(
    speech: np.ndarray,
    conditions: Conditions,
    sample_rate: int,
    rng: np.random.Generator,
    talkers: list[np.ndarray] | None = None,
) -> np.ndarray:
    """Record clean ``speech`` under ``conditions``; returns float64 samples within ±0.98.

    Args:
        speech: Clean speech, (N,); cut to its loud part first.
        conditions: Room, noise, level and silences.
        sample_rate: In Hz.
        rng: Where the room, the noise and its phase come from.
        talkers: Other people's speech for ``babble``, any lengths; each is looped from a random point.
    """
    speech = trim(np.asarray(speech, dtype=np.float64))
    lead, trail = (round(seconds * sample_rate) for seconds in (conditions.lead, conditions.trail))
    span = slice(lead, lead + len(speech))
    mixture = np.concatenate([np.zeros(lead), speech, np.zeros(trail)])
    if conditions.rt60 is not None:
        mixture = reverberate(mixture, conditions.rt60, conditions.drr_db, sample_rate, rng)
    if conditions.noise is not None:
        if conditions.noise == "babble":
            if not talkers:
                raise ValueError("babble needs at least one talker")
            noise = np.zeros(len(mixture))
            for talker in map(trim, talkers):
                noise += _loop(talker / np.sqrt(_power(talker)), len(mixture), int(rng.integers(len(talker))))
        else:
            noise = make_noise(conditions.noise, len(mixture), sample_rate, rng)
        wanted = _power(mixture[span]) / 10.0 ** (conditions.snr_db / 10)
        mixture = mixture + noise * np.sqrt(wanted / max(_power(noise), 1e-20))
    gain = 10.0 ** (conditions.level_db / 20) / np.sqrt(max(_power(mixture[span]), 1e-20))
    return mixture * min(gain, _PEAK / max(float(np.abs(mixture).max(initial=0.0)), 1e-20))
