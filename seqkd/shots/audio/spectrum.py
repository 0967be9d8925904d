"""What one pass over a song's audio gives, read in blocks so that memory does not grow with the samples.

Audio of any rate and number of channels is mixed down, channels of opposite phase turned round first, and resampled to
22,050 Hz as a stream. With a hop of 441 samples there are exactly 50 hops a second, so that one-second frames never
share a hop.

Legend: N hops, hop n centred on n / 50 s; T one-second frames; M mel bands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqkd.data.sound import DamagedSound, advice, read_sound
from seqkd.errors import DataError
from seqkd.shots.audio.compiled import load_librosa
from seqkd.shots.data import frame_count

RATE = 22050  # Hz
HOP = 441
HOPS = RATE // HOP  # a second
N_FFT = 2048
SHORTEST = 1.0  # seconds of audio below which nothing is measured
_BLOCK = 30  # seconds
_FLOOR = 1e-10  # power: -100 dB of full scale
_CANCELS = 0.05  # of the channels' mean power; of two channels without any relation the sum has a half
_HEARD = 50.0  # dB below the loudest band
_LOW = 200.0  # Hz below which bass and drums mark the bar

Progress = Callable[[str, float], object]
"""Called with what is being done, in words, and the share of it that is done (0 to 1)."""


@dataclass(frozen=True)
class Spectrum:
    """Descriptors of a song; dB are of full scale.

    Attributes:
        duration: Seconds.
        mel: (T, M), mean of each second's mel power in dB.
        contrast: (T, 7), mean spectral contrast in dB.
        chroma: (N, 12), energy of the pitch classes, the greatest of each hop 1 (0 in silence).
        loudness: (N,), power in dB.
        onsets: (N,), onset strength: mean rise of the mel bands in dB from hop to hop.
        low_onsets: (N,), the same of the bands below 200 Hz.
        rises: (N,), onset strength of the bands within 50 dB of the loudest: of the audible bands, without what windows
            leak into silent bands, which in dB rises and falls as the sound does.
    """

    duration: float
    mel: np.ndarray
    contrast: np.ndarray
    chroma: np.ndarray
    loudness: np.ndarray
    onsets: np.ndarray
    low_onsets: np.ndarray
    rises: np.ndarray


def per_second(hops: np.ndarray, how: Callable[..., np.ndarray] = np.mean) -> np.ndarray:
    """(N, ...) values of hops to (T, ...), by ``how(..., axis=0)`` over the hops of each second."""
    return np.stack([how(hops[t : t + HOPS], axis=0) for t in range(0, len(hops), HOPS)])


def measure(audio: Path, mel_bands: int, progress: Progress | None = None) -> Spectrum:
    """Read a song and measure it.

    Args:
        audio: wav, flac, ogg, mp3 or whatever else libsndfile reads, of any rate and number of channels.
        mel_bands: M.
        progress: Called with the share that has been read.

    Raises:
        DataError: It cannot be read, breaks off, has values that are no numbers, or is shorter than a second.
    """
    librosa = load_librosa()

    mel_filters = librosa.filters.mel(sr=RATE, n_fft=N_FFT, n_mels=mel_bands)  # (M, bins)
    chroma_filters = librosa.filters.chroma(sr=RATE, n_fft=N_FFT, tuning=0.0)  # (12, bins)
    centres = librosa.mel_frequencies(n_mels=mel_bands + 2, fmax=RATE / 2)[1:-1]
    low = max(1, int((centres < _LOW).sum()))
    window = np.hanning(N_FFT + 1)[:-1] ** 2
    parts: dict[str, list[np.ndarray]] = {name: [] for name in Spectrum.__dataclass_fields__ if name != "duration"}
    last = None  # (M, 1), the mel bands of the hop before this block
    samples = 0
    for fresh, block in _hop_blocks(_resampled(audio, progress)):
        samples += fresh
        if not len(block):
            continue
        magnitude = np.abs(librosa.stft(block, n_fft=N_FFT, hop_length=HOP, center=False))  # (bins, n)
        power = magnitude**2
        scale = 1 / (N_FFT * window.sum())  # a full-scale square wave is at 0 dB
        mel = 10 * np.log10(np.maximum(mel_filters @ power, _FLOOR))  # (M, n)
        chroma = chroma_filters @ power
        before = mel[:, :1] if last is None else last
        last = mel[:, -1:]
        rise = np.concatenate([before, mel], axis=1)
        contrast = librosa.feature.spectral_contrast(S=magnitude, sr=RATE, n_fft=N_FFT)  # (7, n)
        parts["mel"].append(per_second(mel.T))
        parts["contrast"].append(per_second(contrast.T))
        parts["chroma"].append((chroma / np.maximum(chroma.max(axis=0), 1e-6)).T.astype(np.float32))
        parts["loudness"].append(10 * np.log10(np.maximum(2 * power.sum(axis=0) * scale, _FLOOR)))
        for name, bands in (("onsets", rise), ("low_onsets", rise[:low])):
            flux = librosa.onset.onset_strength(S=bands, sr=RATE, hop_length=HOP, center=False)
            parts[name].append(flux[1:])
        parts["rises"].append(_heard_rises(rise))
    duration = samples / RATE
    if duration < SHORTEST:
        raise DataError(f"{audio} lasts {duration:.2f} s; expected at least {SHORTEST:g} s of audio.")
    joined = {name: np.concatenate(blocks).astype(np.float32) for name, blocks in parts.items()}
    frames = frame_count(duration)
    for name, values in joined.items():
        joined[name] = values[: frames * (1 if name in ("mel", "contrast") else HOPS)]
    # A window contains an onset half its length before its centre reaches it.
    late = N_FFT // (2 * HOP)
    for name in ("onsets", "low_onsets", "rises"):
        joined[name] = np.pad(joined[name], (late, 0))[: len(joined[name])]
    return Spectrum(duration=duration, **joined)


def _signs(block: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return 1 or -1 for each channel (C,): what keeps channels of a block (n, C) from cancelling one another.

    A recording whose channels are of opposite phase is as loud as any, but their sum is silent. Where the sum has less
    than ``_CANCELS`` of the channels' power, channels that oppose the loudest are turned round. ``before`` are the
    signs of the block before, which stay where they do, so that no step comes of it.
    """
    if block.shape[1] == 1:
        return before
    power = float(np.einsum("tc,tc->", block, block)) / block.shape[1]
    if power <= 0:
        return before
    products = block.T @ block  # (C, C)
    for signs in (before, np.ones_like(before)):
        if float(signs @ products @ signs) / block.shape[1] ** 2 >= _CANCELS * power:
            return signs
    turned = np.where(products[products.diagonal().argmax()] < 0, -1, 1).astype(np.float32)
    return turned if turned @ before >= 0 else -turned


def _heard_rises(mel: np.ndarray) -> np.ndarray:
    """Mean rise in dB (n,) of mel bands (M, n + 1) from hop to hop, of those near the loudest of either hop."""
    loudest = mel.max(axis=0)
    floor = np.maximum(loudest[1:], loudest[:-1]) - _HEARD
    return np.maximum(np.maximum(mel[:, 1:], floor) - np.maximum(mel[:, :-1], floor), 0.0).mean(axis=0)


def _hop_blocks(stream: Iterator[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Samples in pieces of any length to blocks that hold whole seconds of hops, the last one the rest.

    Yields how many samples came in since the last block, and the block's samples with the context its windows need.
    """
    half = N_FFT // 2
    wanted = _BLOCK * RATE
    held, fresh, due = [np.zeros(half, np.float32)], 0, 0  # due: samples that no block's hops stand for yet
    size = half  # samples held; the first window of the next block begins at the first of them
    for piece in stream:
        held.append(piece)
        size, fresh, due = size + len(piece), fresh + len(piece), due + len(piece)
        while size >= wanted + N_FFT:
            joined = np.concatenate(held)
            yield fresh, joined[: wanted - HOP + N_FFT]
            held, size, fresh, due = [joined[wanted:]], size - wanted, 0, due - wanted
    left = max(0, -(-due // HOP))  # hops
    joined = np.concatenate([*held, np.zeros(N_FFT, np.float32)])
    yield fresh, joined[: (left - 1) * HOP + N_FFT] if left else joined[:0]


def _resampled(audio: Path, progress: Progress | None) -> Iterator[np.ndarray]:
    """Yield the song's samples, mono at 22,050 Hz, piece by piece."""
    import soxr

    signs, resampler, seen = None, None, 0
    try:
        for block, rate, seconds in read_sound(audio):
            if not seen and rate != RATE:
                resampler = soxr.ResampleStream(rate, RATE, 1, dtype="float32")
            seen += len(block)
            signs = _signs(block, np.ones(block.shape[1], np.float32) if signs is None else signs)
            one = np.ascontiguousarray((block if (signs > 0).all() else block * signs).mean(axis=1))
            yield one if resampler is None else resampler.resample_chunk(one)
            if progress is not None:
                progress("reading", min(1.0, seen / max(seconds * rate, 1)))
    except DamagedSound as fault:
        if fault.reason == "has no samples":
            return  # shorter than anything: the caller raises
        raise DataError(f"{audio} {advice(audio, fault.reason)}.") from fault
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
