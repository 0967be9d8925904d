"""Sections of a song, where its sound changes for longer than a few seconds.

Novelty after Foote (ICME 2000, 10.1109/ICME.2000.869637): a checkerboard kernel slides along the diagonal of the
self-similarity matrix. Only the band that the kernel touches is computed, of one-second frames, so that memory grows
with the song's length and not with its square.

Legend: T one-second frames; D numbers that describe one; W half the kernel's width.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

_CHUNK = 256  # frames whose similarities are in memory at once
_GAP = 6  # seconds that two boundaries are apart, at least
_PROMINENCE = 0.06  # of novelty, which is at most 1
_ALIKE = 0.45  # cosine distance below which two sections share a letter


@dataclass(frozen=True)
class Section:
    """Part of a song, in seconds; parts that sound alike share a ``label`` (A, B, ...)."""

    start: float
    end: float
    label: str


def describe(mel: np.ndarray, chroma: np.ndarray, loudness: np.ndarray) -> np.ndarray:
    """Timbre, harmony and loudness as one vector a frame, each of the three of equal weight.

    Args:
        mel: (T, M) in dB.
        chroma: (T, 12).
        loudness: (T,) in dB.

    Returns:
        (T, D); every column has mean 0 over the song.
    """
    from scipy.fft import dct

    cepstrum = dct(mel, norm="ortho", axis=1)[:, 1:14]
    groups = []
    for part in (cepstrum, chroma, np.maximum(loudness, loudness.max() - 40.0)[:, None]):
        centred = part - part.mean(axis=0)
        spread = np.sqrt((centred**2).sum(axis=1).mean())
        groups.append(centred / max(spread, 1e-6))
    return np.concatenate(groups, axis=1)


def novelty(features: np.ndarray, half: int = 12) -> np.ndarray:
    """Return the checkerboard novelty (T,), from about 0 to 1, of the boundary at the start of each frame.

    Args:
        features: (T, D).
        half: W, the seconds that are compared on either side; the kernel tapers as a Gaussian.
    """
    frames = len(features)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-6)
    # Beyond either end the song is like itself there: silence would be a boundary.
    padded = np.pad(unit, ((half, half), (0, 0)), mode="edge")  # (T + 2W, D)
    offsets = np.arange(-half, half) + 0.5
    taper = np.exp(-0.5 * (offsets / (half / 2)) ** 2)
    kernel = np.outer(np.sign(offsets) * taper, np.sign(offsets) * taper)
    kernel /= np.abs(kernel).sum()
    curve = np.empty(frames)
    for start in range(0, frames, _CHUNK):
        stop = min(frames, start + _CHUNK)
        windows = np.lib.stride_tricks.sliding_window_view(padded[start : stop + 2 * half - 1], 2 * half, axis=0)
        similar = np.einsum("tdi,tdj->tij", windows, windows, optimize=True)  # (chunk, 2W, 2W)
        curve[start:stop] = np.einsum("tij,ij->t", similar, kernel)
    return np.maximum(curve, 0.0)


def find_sections(features: np.ndarray, curve: np.ndarray, duration: float, downbeats: np.ndarray) -> list[Section]:
    """Cut a song at the peaks of its novelty and give parts that sound alike one letter.

    Args:
        features: (T, D), as by ``describe``.
        curve: (T,), as by ``novelty``.
        duration: Seconds.
        downbeats: Seconds; a boundary within a second of one moves onto it.

    Returns:
        Sections from 0 to ``duration`` without gap, at least one.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.signal import find_peaks

    peaks, _ = find_peaks(curve, distance=_GAP, prominence=_PROMINENCE)
    peaks = peaks[(peaks >= _GAP // 2) & (peaks < duration - _GAP // 2)]
    edges = np.r_[0, peaks, len(features)].astype(int)
    means = np.stack([features[a:b].mean(axis=0) for a, b in itertools.pairwise(edges)])
    unit = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)
    groups = np.ones(len(unit), int)
    if len(unit) > 1:
        groups = fcluster(linkage(unit, "average", metric="sqeuclidean"), 2 * _ALIKE, "distance")
    letters = {group: number for number, group in enumerate(dict.fromkeys(groups.tolist()))}
    times = [0.0, *(_snap(float(peak), downbeats) for peak in peaks), duration]
    return [
        Section(start, end, _letter(letters[int(group)]))
        for start, end, group in zip(times[:-1], times[1:], groups, strict=True)
    ]


def _snap(time: float, downbeats: np.ndarray) -> float:
    if not len(downbeats):
        return time
    nearest = float(downbeats[np.abs(downbeats - time).argmin()])
    return nearest if abs(nearest - time) <= 1.0 else time


def _letter(number: int) -> str:
    """0 to A, 25 to Z, 26 to AA."""
    return (_letter(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)
