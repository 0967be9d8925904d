"""Beats and bars from onset strength, in windows so that memory does not grow with the song.

Legend: N hops of 1/50 s; K beats.
"""

from __future__ import annotations

import itertools

import numpy as np

from seqkd.shots.audio.compiled import load_librosa
from seqkd.shots.audio.spectrum import HOP, HOPS, RATE
from seqkd.shots.chain import most_likely

BAR = 4  # beats; Chosen: concert songs are in four nearly always, and no metre is estimated
_WINDOW = 240 * HOPS  # hops that librosa's tempogram sees at once
_OVERLAP = 20 * HOPS
_FEWEST = 3 * HOPS  # hops below which there is no tempo to find
_QUIET = 1e-3  # dB of mean onset strength below which nothing beats
_FAINT = 0.1  # of the strongest onsets
_SPAN = 30 * HOPS  # hops whose tempo is taken for steady
_CLEAR = 1.0  # dB that a beat's rise has on average over the bands, for it to count in full
LEAST_CONFIDENCE = 0.15  # confidence below which there is no beat to cut on
_SLIP = 0.02  # chance that the tracker drops or adds a beat, which shifts the bar


def track_beats(onsets: np.ndarray) -> np.ndarray:
    """Return the times (K,) in seconds of the beats that librosa's dynamic programming finds (Ellis 2007).

    Args:
        onsets: (N,), onset strength; a song of more than four minutes is tracked in overlapping windows.
    """
    librosa = load_librosa()
    from scipy.ndimage import maximum_filter1d

    # Where nothing rises for two seconds on either side there is no beat to cut on, whatever the tracker bridges.
    alive = maximum_filter1d(onsets, 4 * HOPS) > _FAINT * np.percentile(onsets, 99) if len(onsets) else onsets
    beats: list[float] = []
    for start in range(0, max(len(onsets) - _OVERLAP, 1), _WINDOW - _OVERLAP):
        part = onsets[start : start + _WINDOW]
        if len(part) < _FEWEST or part.mean() < _QUIET:
            continue
        _, found = librosa.beat.beat_track(onset_envelope=part, sr=RATE, hop_length=HOP, trim=False)
        hops = np.asarray(found, int) + start
        times = hops[alive[hops]] / HOPS
        # Within the overlap the earlier window counts up to its middle.
        seam = (start + _OVERLAP / 2) / HOPS if start else -1.0
        beats = [*[beat for beat in beats if beat < seam], *times[times >= seam].tolist()]
    times = np.asarray(beats)
    # Two windows may disagree by a hair at the seam.
    return times[np.r_[True, np.diff(times) > 0.15]] if len(times) else times


def beat_confidence(beats: np.ndarray, rises: np.ndarray) -> float:
    """Return how sure it is that there is a beat, from 0 to 1: how far the sound repeats itself from beat to beat.

    The mean autocorrelation of ``rises`` at one to four beats, in windows of half a minute with a tempo each, so that a
    song may change its tempo; less in proportion where beats rise by less than ``_CLEAR``. A tracker finds beats in
    anything: noise repeats nothing, and a tone repeats what windows leak, which hardly rises.

    Chosen: ``LEAST_CONFIDENCE``, the windows and ``_CLEAR``. Made-up concerts and a game's soundtrack have .3 to .8,
    noise, speech-like noise and clicks at random times less than .1, steady tones and chords less than .02.

    Args:
        beats: (K,) in seconds.
        rises: (N,), of `seqkd.shots.audio.spectrum.Spectrum`.
    """
    found, weights = [], []
    for start in range(0, max(len(rises) - _SPAN // 2, 1), _SPAN // 2):
        part = np.asarray(rises[start : start + _SPAN], float)
        inside = beats[(beats * HOPS >= start) & (beats * HOPS < start + len(part))]
        if len(inside) < BAR:
            continue
        hops = np.round(inside * HOPS).astype(int) - start
        peaks = np.stack([part[max(0, hop - 2) : hop + 3].max() for hop in hops])
        clear = min(1.0, float(peaks.mean()) / _CLEAR)
        found.append(clear * _repeats(part, HOPS * 60 / tempo_of(inside)))
        weights.append(len(inside))
    return float(np.clip(np.average(found, weights=weights), 0.0, 1.0)) if found else 0.0


def _repeats(curve: np.ndarray, period: float) -> float:
    """Mean autocorrelation (at most 1) of a curve (N,) at one to four periods in hops, give or take a hop each."""
    from scipy.signal import correlate

    centred = curve - curve.mean()
    power = float(centred @ centred)
    if power < 1e-9:
        return 0.0
    full = correlate(centred, centred, method="fft")[len(curve) - 1 :]
    # What the window does not hold of later periods is no lack of repetition.
    full = full / power * len(curve) / np.arange(len(curve), 0, -1)
    lags = [round(period * number) for number in range(1, BAR + 1) if period * number < 0.75 * len(curve)]
    return float(np.mean([full[lag - 1 : lag + 2].max() for lag in lags])) if lags else 0.0


def tempo_of(beats: np.ndarray) -> float:
    """Return beats a minute, from the mean of the intervals near their median; 0 without beats."""
    if len(beats) < 2:
        return 0.0
    intervals = np.diff(beats)
    usual = np.median(intervals)  # in whole hops, and so too coarse to be the tempo
    return float(60 / intervals[np.abs(intervals - usual) <= 0.1 * usual].mean())


def find_downbeats(beats: np.ndarray, low_onsets: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Return the times in seconds of the beats that begin a bar of four.

    Chosen: bars begin where the bass drum falls and the harmony changes. The evidence of each beat is the sum of both,
    each over its mean; the most likely position in the bar of every beat is found by Viterbi, a slip being rare.

    Args:
        beats: (K,) in seconds.
        low_onsets: (N,), onset strength below 200 Hz.
        chroma: (N, 12).
    """
    if len(beats) < 2 * BAR:
        return np.zeros(0)
    hops = np.clip(np.round(beats * HOPS).astype(int), 0, len(chroma) - 1)
    edges = np.r_[hops, len(chroma)]
    harmony = np.stack([chroma[a : max(b, a + 1)].mean(axis=0) for a, b in itertools.pairwise(edges)])
    harmony /= np.maximum(np.linalg.norm(harmony, axis=1, keepdims=True), 1e-6)
    change = np.r_[0.0, 1 - (harmony[1:] * harmony[:-1]).sum(axis=1)]  # (K,)
    kick = np.stack([low_onsets[max(0, hop - 3) : hop + 4].max() for hop in hops])
    evidence = change / max(change.mean(), 1e-6) + kick / max(kick.mean(), 1e-6)
    evidence = np.clip(evidence - evidence.mean(), -2.0, 2.0)
    likelihood = np.stack([np.exp(evidence), *[np.exp(-evidence / (BAR - 1))] * (BAR - 1)], axis=1)  # (K, 4)
    step = np.full((BAR, BAR), _SLIP / (BAR - 1))
    step[np.arange(BAR), (np.arange(BAR) + 1) % BAR] = 1 - _SLIP
    positions = most_likely(likelihood[0], step * likelihood[:, None, :])
    return beats[positions == 0]


def beat_columns(beats: np.ndarray, downbeats: np.ndarray, frames: int) -> dict[str, np.ndarray]:
    """Return columns that describe the beat in each one-second frame, each (T,).

    ``tempo`` (beats a minute), ``beats`` and ``downbeats`` (how many begin in the frame), and the position of the
    frame's middle within its beat and its bar as sine and cosine; all 0 where no beat is.
    """
    middles = np.arange(frames) + 0.5
    columns: dict[str, np.ndarray] = {"tempo": np.zeros(frames)}
    for name, times in (("beat", beats), ("bar", downbeats)):
        sine, cosine = np.zeros(frames), np.zeros(frames)
        if len(times) > 1:
            before = np.clip(np.searchsorted(times, middles, side="right") - 1, 0, len(times) - 2)
            length = np.diff(times)[before]
            inside = (middles >= times[0]) & (middles < times[-1] + length)
            turn = 2 * np.pi * (middles - times[before]) / length
            sine, cosine = np.sin(turn) * inside, np.cos(turn) * inside
            if name == "beat":
                columns["tempo"] = inside * 60 / length
        columns |= {f"{name}_sin": sine, f"{name}_cos": cosine}
    for name, times in (("beats", beats), ("downbeats", downbeats)):
        seconds = times[times < frames].astype(int)
        columns[name] = np.bincount(seconds, minlength=frames).astype(float)
    return columns
