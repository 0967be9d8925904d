"""A model on disk: ``model.safetensors``, ``model.yaml`` (how to build it), ``tokenizer.model``, ``tokenizer.json``.

Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from seqkd.data.tokens import Tokenizer
from seqkd.errors import DataError
from seqkd.files import atomic_path, write_text


def write_model(directory: Path, model: nn.Module, description: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Write a model directory; the weights come last, so a directory with weights is complete."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(directory)
    write_text(directory / "model.yaml", yaml.safe_dump(description, sort_keys=False))
    with atomic_path(directory / "model.safetensors") as path:
        save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, path)


def read_description(directory: Path) -> tuple[dict[str, Any], Tokenizer]:
    """How to build the model of a directory, and its tokenizer. Raises DataError when they are not there or not fit."""
    for name in ("model.yaml", "model.safetensors"):
        if not (directory / name).is_file():
            raise DataError(f"{directory}: no {name} here; expected a model directory written by 'seqkd train'")
    tokenizer = Tokenizer.load(directory)
    try:
        description = yaml.safe_load((directory / "model.yaml").read_text(encoding="utf-8"))
        classes = description["classes"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise not_a_description(directory, error) from error
    if len(tokenizer) != classes:
        raise DataError(
            f"{directory}: the tokenizer has {len(tokenizer)} units but the model {classes} classes; "
            "the files come from different runs, train again"
        )
    return description, tokenizer


def not_a_description(directory: Path, error: Exception) -> DataError:
    """What to raise when ``model.yaml`` lacks something."""
    return DataError(f"{directory}/model.yaml is not a model's description ({' '.join(str(error).split())})")


def read_weights(directory: Path, model: nn.Module) -> None:
    """Load the weights of a directory into ``model``. Raises DataError when they are damaged or do not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(directory / "model.safetensors"))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{directory}/model.safetensors cannot be loaded ({reason}); train again") from error


def model_hash(directory: Path) -> str:
    """Short content hash of a model's weights: names a teacher in what was learned from it."""
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()[:16]
