"""A trained classifier as an export directory, checked against the model that it came from.

``model.onnx`` and ``model.int8.onnx`` (features to logits), ``classes.txt`` (a name a line), ``features.json``, the
model card and ``export.json``; of a quantised student ``packed.safetensors``, too. Virtual attention is folded into
the weights; pruned and grafted networks have nothing to fold.

Letters: N clips, T frames, F features.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from seqkd.classification.features import ClipFeatureSettings
from seqkd.classification.model import NetworkDescription, classifier_hash, load_classifier
from seqkd.deploy import clip_check, speed
from seqkd.deploy.bundle import (
    CLASSIFIER,
    FBANK,
    FLOAT,
    FORMAT,
    INT8,
    describe_files,
    export_directory,
    is_whole,
)
from seqkd.deploy.classifier_card import write_classifier_card
from seqkd.deploy.clip_check import ClipCheckSet
from seqkd.deploy.extras import need, versions
from seqkd.deploy.graphs import store_int8, trace, write_onnx
from seqkd.deploy.network import OnnxNetwork
from seqkd.deploy.origin import ClassifierOrigin
from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path, write_json, write_text
from seqkd.models.packing import load_packed
from seqkd.models.reparametrised import plain
from seqkd.settings import build
from seqkd.stages import again
from seqkd.uptodate import content_hash

PACKED = "packed.safetensors"
CLASSES = "classes.txt"
CLIP_FILES = (FLOAT, INT8, CLASSES, "features.json", "README.md")

log = logging.getLogger("seqkd")


@dataclass(frozen=True)
class TestClips:
    """Test sets ``names`` of directory ``data``, as the recipe's stage "prepare" leaves them."""

    data: Path
    names: Sequence[str]


def export_classifier(
    model_dir: Path,
    out: Path,
    *,
    origin: ClassifierOrigin | None = None,
    tests: TestClips | None = None,
    own: bool = False,
) -> bool:
    """Write the export directory ``out`` of a model directory; return False when it was there, whole and up to date.

    The ONNX network is compared with PyTorch on noise of many lengths and on every clip of the test sets, by itself
    and in padded batches; the one with 8-bit weights is measured, and packed weights must give the same logits bit for
    bit. The directory appears when everything is done, or not at all.

    Args:
        model_dir: what `seqkd.classification.model.save_classifier` wrote, with ``packed.safetensors`` or not.
        out: a directory that is new, empty or an older export.
        origin: for the card.
        tests: clips to compare on.
        own: whether the model was trained here, so that functions of the user's own modules may be called.

    Raises:
        ConfigError: the extra ``[export]`` is not installed, or ``out`` cannot be written or holds something else.
        DataError: the model or a test set is not whole, or they do not fit each other.
        SeqkdError: an exported network disagrees with PyTorch, naming the clip; another process is exporting.
    """
    need("onnx", "onnxscript", "onnxruntime")
    model, architecture = load_classifier(model_dir, own=own)
    settings = feature_settings(model_dir, architecture)
    origin = origin or ClassifierOrigin()
    packed = (model_dir / PACKED).is_file()
    files = (*CLIP_FILES, PACKED) if packed else CLIP_FILES
    made_by = {
        "model": classifier_hash(model_dir),
        "packed": content_hash(model_dir / PACKED) if packed else None,
        "versions": versions(),
        "origin": asdict(origin),
        "tests": _fingerprints(tests),
    }
    if is_whole(out, made_by, files, CLASSIFIER):
        return False
    directories = [tests.data / name for name in tests.names] if tests else []
    sets = [noise_of(model, settings), *(_test_set(one, architecture, settings) for one in directories)]
    with export_directory(out, CLASSIFIER) as directory:
        shipped = _ship_packed(model_dir, directory, model, architecture, sets) if packed else None
        network = plain(model) if any(map(parametrize.is_parametrized, model.modules())) else model
        write_onnx(directory / FLOAT, trace(network))
        store_int8(directory / INT8, directory / FLOAT)
        write_text(directory / CLASSES, "".join(f"{name}\n" for name in architecture.classes))
        write_json(directory / "features.json", _describe(architecture, settings))
        onnx, int8 = OnnxNetwork(directory / FLOAT), OnnxNetwork(directory / INT8)
        export = {
            "format": FORMAT,
            "of": CLASSIFIER,
            "made_by": made_by,
            "parameters": _count(network),
            "classes": len(architecture.classes),
            "float32_bytes": (model_dir / "model.safetensors").stat().st_size,
            "folded": {"parameters_in_training": _count(model)} if network is not model else None,
            "packed": shipped,
            "checks": {"limit": clip_check.LIMIT, "sets": {one.name: _check(model, onnx, int8, one) for one in sets}},
            "speed": asdict(speed.measure_clip(onnx, int8, sets[-1].features[0, : int(sets[-1].lengths[0])])),
        }
        write_classifier_card(directory, export, origin, architecture, settings)
        write_json(directory / "export.json", {**export, "files": describe_files(directory, files)})
    return True


def is_classifier(model_dir: Path) -> bool:
    """Whether a model directory holds a classifier, whole or not; other models have a ``model.yaml``."""
    return (model_dir / "model.json").is_file()


def feature_settings(model_dir: Path, architecture: NetworkDescription) -> ClipFeatureSettings:
    """How the model's features are made. Raises DataError when its description does not say so."""
    try:
        return build(ClipFeatureSettings, architecture.features_settings, "")
    except ConfigError as error:
        raise DataError(f"{model_dir}/model.json does not describe features ({error}); train again") from error


def noise_of(model: nn.Module, settings: ClipFeatureSettings) -> ClipCheckSet:
    """Noise of as many frames as the model may be given."""
    images = model.stem is not None
    return clip_check.noise_clips(model, settings.size if images else settings.frames, fixed=images)


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _describe(architecture: NetworkDescription, settings: ClipFeatureSettings) -> dict[str, Any]:
    """All that computing the network's input takes, and what its output is."""
    planes = architecture.settings.get("planes", 0)
    of_images = {
        "kind": "columns of pixels from left to right, from 0 to 1: of each colour all rows from the top",
        "resized_by": "Pillow's bicubic filter, whatever the shape was",
        "normalisation": FBANK["normalisation"],
    }
    return {
        "input": "image" if planes else "sound",
        **(of_images if planes else FBANK),
        "settings": asdict(settings),
        "target": architecture.settings.get("target", "clip"),
    }


def _fingerprints(tests: TestClips | None) -> dict[str, list[str | None]] | None:
    """What decides the clips of each set, and their classes."""
    from seqkd.classification.features import read_features

    if tests is None:
        return None
    found: dict[str, list[str | None]] = {}
    for name in tests.names:
        tables = [tests.data / name / table for table in ("label", "phones.ctm")]
        hashes = [content_hash(path) if path.is_file() else None for path in tables]
        found[name] = [read_features(tests.data / name).fingerprint, *hashes]
    return found


def _test_set(directory: Path, architecture: NetworkDescription, settings: ClipFeatureSettings) -> ClipCheckSet:
    """The clips of a set, with their right classes; a network for some classes is given the clips of these."""
    from seqkd.classification.data import frame_numbers, read_set
    from seqkd.classification.features import read_features

    clips, features = read_set(directory), read_features(directory)
    made_by = json.loads((directory / "clips" / "done.json").read_text(encoding="utf-8"))
    if made_by["settings"] != asdict(settings):
        raise DataError(
            f"{directory} has features of {made_by['settings']}, the model of {asdict(settings)}; with the model's "
            f"settings {again('prepare')}"
        )
    rows = list(range(len(clips)))
    if architecture.settings.get("target") == "frame":
        shift = settings.frame_shift_ms / 1000
        targets = frame_numbers(clips, architecture.classes, features.values.shape[1], shift)
    else:
        numbers = {name: number for number, name in enumerate(architecture.classes)}
        rows = [row for row in rows if clips.labels[row] in numbers]
        if not rows:
            raise DataError(f"{directory} has no clip of the model's classes; name another test set")
        targets = np.array([[numbers[clips.labels[row]]] for row in rows])
    ids = [clips.ids[row] for row in rows]
    return ClipCheckSet(directory.name, ids, features.values[rows], features.lengths[rows], torch.from_numpy(targets))


def _ship_packed(
    model_dir: Path, directory: Path, model: nn.Module, architecture: NetworkDescription, sets: Sequence[ClipCheckSet]
) -> dict[str, Any]:
    """Copy the packed weights, once they are known to give the model's logits; what export.json says of them."""
    with atomic_path(directory / PACKED) as path:
        shutil.copyfile(model_dir / PACKED, path)
    unpacked = load_packed(directory / PACKED, plain(architecture.build()).eval())
    for one in sets:
        clip_check.check_same(model, unpacked, one, str(model_dir / PACKED))
    size, full = (directory / PACKED).stat().st_size, (model_dir / "model.safetensors").stat().st_size
    return {"bytes": size, "factor": round(full / size, 3), "logits_identical": True}  # or it would have raised


def _check(model: nn.Module, onnx: OnnxNetwork, int8: OnnxNetwork, test: ClipCheckSet) -> dict[str, Any]:
    """Compare on one set, with progress; what export.json says of it."""
    from seqkd.progress import ProgressBar

    with ProgressBar(total=len(test.ids), desc=f"checking on {test.name}", unit="clip", leave=False) as bar:
        found = clip_check.compare_clips(model, onnx, int8, test, bar.update)
    entry = {
        "clips": found.clips,
        "positions": found.positions,
        "largest_batch": found.largest_batch,
        "onnx_alone": found.alone,
        "onnx_in_batches": found.together,
        "predictions_identical": True,  # or compare_clips would have raised
        "ties": found.ties,
        "int8_alone": found.int8,
        "int8_predictions_changed": found.changed,
    }
    if found.labelled:
        entry |= {"accuracy": found.right / found.labelled, "int8_accuracy": found.int8_right / found.labelled}
    apart = max(found.alone, found.together)
    log.info("%s: %d clips, ONNX within %.2g of PyTorch, predictions identical", test.name, found.clips, apart)
    return entry
