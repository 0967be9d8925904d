"""Copies across the parts of a split: the same content, and nearly the same sound or picture.

Letters: N items, D numbers of a fingerprint. A fingerprint is a vector of length 1; two are compared by their product,
1 for the same and about 0 for any two. What has no structure to compare (silence, an even tone of grey) has none.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqkd.errors import ConfigError, DataError
from seqkd.uptodate import content_hashes

AUDIO_ALIKE = 0.9
"""Recompressed, resampled, louder or padded copies have .95 and more (half of those with other speed or noise do, too);
of 2.7 million pairs of different syllables or words of two corpora, the most similar had .81, and of 90 million pairs
of noisy command words by different voices none had .9."""

IMAGE_ALIKE = 0.985
"""Recompressed or resized copies of larger pictures have .99 and more, cropped ones less; of 1.6 million pairs of
handwritten digits of 8 by 8 pixels, 14 have as much."""

_RATE, _WINDOW, _HOP = 8000, 256, 128  # Hz, samples
_BANDS, _SPANS = 17, 17  # of mel frequency; of equal parts of the time that something sounds
_QUIET = 0.02  # of the peak: quieter samples at both ends are cut off
_FLOOR = 1e-5  # of the largest energy
_THUMBNAIL = 12  # pixels a side
_ROWS = 2048  # fingerprints compared at a time


def audio_fingerprint(samples: np.ndarray, sample_rate: int) -> np.ndarray | None:
    """Return how the energy changes over time and frequency, (D,); None for silence, or less than 32 ms.

    The mel energies of equal parts of the sound, logarithms, are differenced over time and over frequency, so that
    neither level nor a colouring of the spectrum changes anything.

    Args:
        samples: (T,) or (T, channels).
        sample_rate: In Hz.
    """
    import soxr

    mono = np.asarray(samples, np.float32)
    mono = mono.mean(axis=1) if mono.ndim == 2 else mono
    mono = soxr.resample(mono, sample_rate, _RATE)
    loud = np.flatnonzero(np.abs(mono) > _QUIET * np.abs(mono).max(initial=0.0))
    if len(loud) == 0 or loud[-1] - loud[0] < _WINDOW:
        return None
    mono = np.pad(mono[loud[0] : loud[-1] + 1], _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(mono, _WINDOW)[::_HOP] * np.hanning(_WINDOW)
    energy = np.square(np.abs(np.fft.rfft(frames))) @ _mel_bands()  # (frames, bands)
    summed = np.vstack([np.zeros(_BANDS), np.cumsum(energy, axis=0)])
    ends = np.linspace(0, len(energy), _SPANS + 1)
    spans = np.diff(np.stack([np.interp(ends, np.arange(len(summed)), band) for band in summed.T], axis=1), axis=0)
    changes = np.diff(np.diff(np.log(spans + _FLOOR * spans.max()), axis=0), axis=1)
    return _unit(changes)


def _mel_bands() -> np.ndarray:
    """Return triangular filters, (bins, bands)."""
    edges = np.linspace(2595 * np.log10(1 + 100 / 700), 2595 * np.log10(1 + 0.975 * _RATE / 2 / 700), _BANDS + 2)
    mels = 2595 * np.log10(1 + np.fft.rfftfreq(_WINDOW, 1 / _RATE) / 700)[:, None]
    rising, falling = (mels - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - mels) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rising, falling))


def _unit(values: np.ndarray) -> np.ndarray | None:
    length = float(np.linalg.norm(values))
    return (values / length).ravel().astype(np.float32) if length > 1e-3 else None


def image_fingerprint(path: Path) -> np.ndarray | None:
    """Return a thumbnail in colour, without its average, (D,); None for an even picture.

    Raises:
        DataError: It cannot be read as an image.
    """
    with open_image(path) as image:
        small = image.convert("RGB").resize((_THUMBNAIL, _THUMBNAIL), _box())
    pixels = np.asarray(small, np.float32)
    pixels -= pixels.mean()
    return _unit(pixels) if float(pixels.std()) > 1 else None


def _box() -> int:
    from PIL import Image

    return Image.Resampling.BOX


def open_image(path: Path):
    """Return an image of Pillow, decoded.

    Raises:
        ConfigError: Pillow is not installed.
        DataError: It is not an image, or it breaks off.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError("Images need Pillow; install it with: pip install pillow") from error
    try:
        image = Image.open(path)
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image ({error}); repair it, or take it out.") from error
    return image


@dataclass(frozen=True)
class Alike:
    """Two items of different parts, and how alike they are, 1 being the same."""

    one: Path
    other: Path
    likeness: float


def check_contents(
    parts: Mapping[str, Sequence[Path]], labels: Mapping[Path, str], cache: Path | None = None
) -> list[tuple[Path, Path]]:
    """Return files of one part with the same content as another of it.

    Args:
        parts: Files by part.
        labels: The class of every file.
        cache: Where hashes are kept; see ``content_hashes``.

    Raises:
        DataError: Two files with the same content are in two parts, or have two classes.
    """
    hashes = content_hashes((path for paths in parts.values() for path in paths), cache)
    seen: dict[str, tuple[str, Path]] = {}
    repeated = []
    for part, paths in parts.items():
        for path in paths:
            where, other = seen.setdefault(hashes[path], (part, path))
            if other == path:
                continue
            if labels[path] != labels[other]:
                raise DataError(
                    f"{other} (class {labels[other]!r}) and {path} (class {labels[path]!r}) have the same content; "
                    "one of the classes is wrong: take one of the files out."
                )
            if where != part:
                raise DataError(
                    f"{other} (in {where}) and {path} (in {part}) have the same content; parts must not share "
                    "files: take one of them out, or give both the same group."
                )
            repeated.append((other, path))
    return repeated


def near_duplicates(parts: Mapping[str, Sequence[tuple[Path, np.ndarray | None]]], alike: float) -> list[Alike]:
    """Return items of different parts that are nearly the same, the most similar first.

    Args:
        parts: Files and their fingerprints, by part.
        alike: From which likeness on, such as ``AUDIO_ALIKE``.
    """
    known: dict[str, tuple[list[Path], np.ndarray]] = {}
    for part, items in parts.items():
        with_print = [(path, found) for path, found in items if found is not None]
        if with_print:
            known[part] = ([path for path, _ in with_print], np.stack([found for _, found in with_print]))
    found = []
    for (paths, prints), (others, other_prints) in itertools.combinations(known.values(), 2):
        for begin in range(0, len(prints), _ROWS):
            likeness = prints[begin : begin + _ROWS] @ other_prints.T  # (N, N')
            for row, column in np.argwhere(likeness >= alike):
                found.append(Alike(paths[begin + row], others[column], round(float(likeness[row, column]), 4)))
    return sorted(found, key=lambda pair: (-pair.likeness, pair.one, pair.other))


def check_likeness(pairs: Sequence[Alike], part_of: Mapping[Path, str], setting: str) -> None:
    """Raise DataError about the first of ``near_duplicates``.

    Args:
        pairs: What was found.
        part_of: The part of every file.
        setting: The setting that accepts them.
    """
    if pairs:
        first = pairs[0]
        more = f" ({len(pairs)} such pairs in all)" if len(pairs) > 1 else ""
        raise DataError(
            f"{first.one} (in {part_of[first.one]}) and {first.other} (in {part_of[first.other]}) are nearly the same, "
            f"{first.likeness:.3f} of 1{more}; take one of them out, give both the same group, or set "
            f"{setting}=true if they are not copies."
        )
