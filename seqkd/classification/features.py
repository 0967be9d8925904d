"""Features of a set of clips, computed once: ``<set>/clips/features.safetensors`` with ``done.json`` beside it.

``features`` (N, T, F) float32, 0 where a clip is shorter than the longest, and ``lengths`` (N,). Of sounds they are
log-mel energies; of images the columns of pixels from left to right, F being colours times height.

Letters: N clips, T frames, F features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from seqkd.classification.data import ClipSet
from seqkd.data.features import FeatureSettings, fbank
from seqkd.data.sound import CANCEL, DamagedSound, Mono, read_sound
from seqkd.errors import DataError
from seqkd.files import atomic_path
from seqkd.parallel import in_parallel
from seqkd.settings import at_least, one_of
from seqkd.stages import again
from seqkd.uptodate import CACHE, content_hashes, is_current, write_stamp

if TYPE_CHECKING:
    from PIL import Image

CHUNK = 400  # clips that a process computes at a time
COLOURS = {"L": 1, "RGB": 3}


@dataclass(frozen=True, kw_only=True)
class ClipFeatureSettings(FeatureSettings):
    """Of sounds, Kaldi's filterbank; of images, their size.

    Attributes:
        max_seconds: what is beyond is cut off; at least one frame.
        size: height and width that images are brought to, in pixels.
        colours: "RGB" or "L" (grey).
    """

    max_seconds: float = 1.0
    size: int = 64
    colours: str = "RGB"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self.frame_length_ms / 1000, max_seconds=self.max_seconds)
        at_least(8, size=self.size)
        one_of(COLOURS, colours=self.colours)

    @property
    def frames(self) -> int:
        """T of the longest clip of sound that there may be."""
        return round(1000 * self.max_seconds / self.frame_shift_ms)


@dataclass(frozen=True)
class ClipFeatures:
    """``values`` (N, T, F) and ``lengths`` (N,); ``fingerprint`` of the files and settings."""

    values: Tensor
    lengths: Tensor
    fingerprint: str


def make_features(clips: ClipSet, settings: ClipFeatureSettings, nj: int) -> None:
    """Compute the features of a set, unless they are there and neither files nor settings have changed.

    Raises:
        DataError: a file is missing, damaged, shorter than a frame, of another sample rate, no sound (no image) at
            all, has samples that are no numbers, or pixels of an unknown range.
    """
    folder = clips.directory / "clips"
    made_by = describe(clips, settings)
    done, target = folder / "done.json", folder / "features.safetensors"
    if is_current(done, made_by, target):
        return
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    jobs = [(clips.paths[at : at + CHUNK], clips.images, settings) for at in range(0, len(clips), CHUNK)]
    rows = [row for part in in_parallel(_compute, jobs, nj, f"features of {clips.directory.name}") for row in part]
    lengths = torch.tensor([len(row) for row in rows])
    values = torch.zeros(len(rows), int(lengths.max()), rows[0].shape[1])
    for place, row in zip(values, rows, strict=True):
        place[: len(row)] = torch.from_numpy(row)
    with atomic_path(target) as path:
        save_file({"features": values, "lengths": lengths}, path)
    write_stamp(done, made_by)


def describe(clips: ClipSet, settings: ClipFeatureSettings) -> dict[str, object]:
    """What features depend on: the settings and the content of every file."""
    contents = content_hashes(clips.paths, clips.directory / CACHE)
    digest = hashlib.sha256()
    for key, path in zip(clips.ids, clips.paths, strict=True):
        digest.update(repr((key, contents[path])).encode())
    return {"settings": asdict(settings), "files": digest.hexdigest()[:16]}


def read_features(directory: Path) -> ClipFeatures:
    """The features of a set. Raises DataError where they are not there, or damaged."""
    import json

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = directory / "clips"
    if not (folder / "done.json").is_file():
        raise DataError(f"{directory} has no finished features; {again('prepare')}")
    try:
        found = load_file(folder / "features.safetensors")
        made_by = json.loads((folder / "done.json").read_text(encoding="utf-8"))
        fingerprint = hashlib.sha256(repr(sorted(made_by.items(), key=str)).encode()).hexdigest()[:16]
        return ClipFeatures(found["features"], found["lengths"], fingerprint)
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise DataError(f"{folder} is damaged ({error}); delete it and {again('prepare')}") from error


def _compute(job: tuple[Sequence[Path], bool, ClipFeatureSettings]) -> list[np.ndarray]:
    paths, images, settings = job
    torch.set_num_threads(1)
    return [pixels(path, settings) if images else energies(path, settings) for path in paths]


def energies(path: Path, settings: ClipFeatureSettings) -> np.ndarray:
    """(T, F) log-mel energies of a sound file."""
    mono, pieces, rate = Mono(), [], settings.sample_rate
    try:
        for block, rate, _ in read_sound(path):  # noqa: B007 - the last rate is that of all
            pieces.append(mono(block))
    except DamagedSound as fault:
        raise DataError(f"{path} {fault.reason}; replace it, or leave it out") from fault
    if mono.cancels:
        raise DataError(f"{path} {CANCEL}; replace it, or leave it out")
    if rate != settings.sample_rate:
        raise DataError(
            f"{path} has {rate} samples a second; expected features.sample_rate, {settings.sample_rate}; convert it"
        )
    return features_of(np.concatenate(pieces), settings, str(path))


def features_of(samples: np.ndarray, settings: ClipFeatureSettings, what: str) -> np.ndarray:
    """(T, F) of samples (N,) in [-1, 1], cut to the longest that there may be; ``what`` names them in messages."""
    if not np.isfinite(samples).all():
        raise DataError(f"{what} has samples that are no numbers (NaN or infinite); replace it, or leave it out")
    least = round(settings.sample_rate * settings.frame_length_ms / 1000)
    if len(samples) < least:
        raise DataError(f"{what} has {len(samples)} samples, less than one frame of {least}; leave it out")
    samples = samples[: round(settings.max_seconds * settings.sample_rate)]
    return fbank(torch.from_numpy(samples), settings)[: settings.frames].numpy()


def pixels(path: Path, settings: ClipFeatureSettings) -> np.ndarray:
    """(width, colours · height) of an image file, from 0 to 1."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            small = in_bytes(image, path).convert(settings.colours).resize((settings.size, settings.size))
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path} cannot be read as an image ({error}); replace it, or leave it out") from error
    values = np.asarray(small, np.float32) / 255  # (height, width) or (height, width, 3)
    values = values[..., None] if values.ndim == 2 else values
    return np.ascontiguousarray(values.transpose(1, 2, 0).reshape(settings.size, -1))


def in_bytes(image: Image.Image, path: Path) -> Image.Image:
    """The image with 8 bits a colour: Pillow would cut pixels of 16 bits off at 255, and make them white.

    Raises:
        DataError: pixels of 32 bits, or of floating point, whose range the file does not say.
    """
    from PIL import Image

    grey_of_png = image.mode == "I" and image.format == "PNG"  # 16 bits, which older versions of Pillow read as 32
    if image.mode.startswith("I;16") or grey_of_png:
        return Image.fromarray((np.asarray(image).astype(np.float32) / 257).round().astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError(
            f"{path} is an image of mode {image.mode} (32 bits a pixel), whose black and white are not known; expected "
            "8 or 16 bits a pixel; convert it"
        )
    return image
