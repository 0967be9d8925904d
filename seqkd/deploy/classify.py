"""Files to classes with probabilities, or to phones with times, by an exported classifier: ``seqkd classify``.

Letters: N samples, T frames, F features, S positions, C classes.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from seqkd.classification.features import ClipFeatureSettings, features_of, pixels
from seqkd.deploy.audio import read_blocks, seconds
from seqkd.deploy.bundle import CLASSIFIER, FLOAT, INT8, check_file, read_export
from seqkd.deploy.network import OnnxNetwork
from seqkd.errors import ConfigError, DataError
from seqkd.settings import build


@dataclass(frozen=True)
class ClassifierBundle:
    """What classifying needs.

    Attributes:
        directory: of the export.
        network: features to logits.
        classes: C names.
        features: how they are made.
        images: whether of images; else of sounds.
        frames: whether each frame has a class.
    """

    directory: Path
    network: OnnxNetwork
    classes: tuple[str, ...]
    features: ClipFeatureSettings
    images: bool
    frames: bool


@dataclass(frozen=True)
class ClassSegment:
    """Frames in a row of the class ``name``: seconds, and the mean of its probabilities."""

    start: float
    end: float
    name: str
    confidence: float


@dataclass(frozen=True)
class Classified:
    """What a file was found to be.

    Attributes:
        file: its name.
        classes: all classes with their probabilities, the most likely first; empty where each frame has one.
        segments: of a model of frames, else empty.
        seconds: that a sound lasts; None of an image.
        used: seconds that the model was given, from the start.
    """

    file: str
    classes: list[tuple[str, float]]
    segments: list[ClassSegment]
    seconds: float | None = None
    used: float | None = None


def open_classifier(directory: Path, *, int8: bool = False, threads: int = 1) -> ClassifierBundle:
    """Open an export directory, by default with the float network.

    Raises:
        ConfigError: it is no directory.
        DataError: a file is missing, damaged or not of this export, or the export is not of a classifier.
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory; expected one written by 'seqkd export'")
    export, name = read_export(directory, CLASSIFIER), INT8 if int8 else FLOAT
    for needed in (name, "classes.txt", "features.json"):
        check_file(directory, needed, export)
    described = json.loads((directory / "features.json").read_text(encoding="utf-8"))
    return ClassifierBundle(
        directory,
        OnnxNetwork(directory / name, threads),
        tuple((directory / "classes.txt").read_text(encoding="utf-8").splitlines()),
        build(ClipFeatureSettings, described["settings"], ""),
        images=described["input"] == "image",
        frames=described["target"] == "frame",
    )


def classify(bundle: ClassifierBundle, file: Path) -> Classified:
    """Classify a file: an image of any kind and size, or a sound of any rate and number of channels.

    Raises DataError when it is not there, cannot be read, is too short, has samples that are no numbers, or is of the
    other kind.
    """
    if not file.is_file():
        what = "is a directory" if file.is_dir() else "does not exist"
        raise DataError(f"{file} {what}; expected {'an image' if bundle.images else 'a sound'}")
    length = used = None
    if bundle.images:
        features = image_features(bundle, file)
    else:
        samples = beginning(bundle, file)
        features = features_of(samples, bundle.features, str(file))
        used = len(samples) / bundle.features.sample_rate
        length = max(seconds(file), used)  # not every header has the length
    given = torch.from_numpy(features)[None]
    output = bundle.network(given, torch.tensor([len(features)]))
    probs = output.logits[0, : int(output.lengths)].double().softmax(-1).numpy()  # (S, C)
    shift = bundle.features.frame_shift_ms / 1000
    if bundle.frames:
        return Classified(str(file), [], list(segments(probs, bundle.classes, shift, used)), length, used)
    order = np.argsort(-probs[0], kind="stable")
    return Classified(str(file), [(bundle.classes[k], float(probs[0, k])) for k in order], [], length, used)


def beginning(bundle: ClassifierBundle, file: Path) -> np.ndarray:
    """(N,) what the model is given of a sound, at the rate that it was trained with. Raises as `classify`."""
    settings = bundle.features
    wanted = round(settings.max_seconds * settings.sample_rate)
    try:
        # A second more: the resampler fills its end up with silence.
        blocks = list(read_blocks(file, settings.sample_rate, longest=settings.max_seconds + 1))
    except DataError as error:
        if is_image(file):
            raise DataError(f"{file} is an image, but {bundle.directory} classifies sounds; name a sound") from error
        raise
    return np.concatenate(blocks)[:wanted]


def image_features(bundle: ClassifierBundle, file: Path) -> np.ndarray:
    """(T, F) of an image. Raises as `classify`."""
    from PIL import Image

    try:
        return pixels(file, bundle.features)
    except DataError as error:
        if seconds(file):
            raise DataError(f"{file} is a sound, but {bundle.directory} classifies images; name an image") from error
        raise
    except (SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:  # Pillow's, too
        raise DataError(f"{file} cannot be read as an image ({error}); replace it") from error


def is_image(file: Path) -> bool:
    """Whether a file begins as an image does."""
    try:
        from PIL import Image
    except ImportError:  # then images cannot be told apart from other files
        return False
    try:
        with Image.open(file):
            return True
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def segments(probs: np.ndarray, classes: tuple[str, ...], shift: float, end: float) -> Iterator[ClassSegment]:
    """Join the frames (S, C), ``shift`` seconds apart, that have the same most likely class; none is after ``end``."""
    best, start = probs.argmax(-1), 0
    for number, frames in itertools.groupby(best.tolist()):
        stop = start + len(list(frames))
        confidence = float(probs[start:stop, number].mean())
        yield ClassSegment(start * shift, min(stop * shift, end), classes[number], confidence)
        start = stop
