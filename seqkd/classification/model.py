"""A classifier on disk: ``model.safetensors`` and ``model.json`` (how to build it, its classes, its features).

Nothing in it is ever unpickled. ``network`` in model.json names a function that changes the plain network, such as
`seqkd.models.vam.with_vam`, and its settings. Of a model directory from elsewhere only functions of `seqkd.models` are
called.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path, write_json
from seqkd.losses.build import imported
from seqkd.models.classifier import Classifier
from seqkd.settings import build


@dataclass(frozen=True)
class NetworkDescription:
    """How to build a network.

    Attributes:
        features: F.
        classes: names in order.
        settings: of `Classifier`, but for features and classes.
        network: ``_target_`` and settings of what changes the plain network, or empty.
        features_settings: of `ClipFeatureSettings`, for whoever applies the model to a file.
    """

    features: int
    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    network: Mapping[str, Any]
    features_settings: Mapping[str, Any]

    def build(self) -> nn.Module:
        """Make a network with fresh weights, drawn from torch's generator."""
        return changed(build(Classifier, self.settings, "model", self.features, len(self.classes)), self.network)


def changed(model: Classifier, network: Mapping[str, Any]) -> nn.Module:
    """The network as ``system.network`` wants it. Raises ConfigError about a function or setting that is not there."""
    if not network:
        return model
    if "_target_" not in network:
        raise ConfigError("setting system.network has no _target_, the function that changes the network")
    function: Callable[..., nn.Module] = imported(network["_target_"], "setting system.network._target_")
    settings = {key: value for key, value in network.items() if key != "_target_"}
    return build(function, settings, "system.network", model)


def save_classifier(directory: Path, model: nn.Module, architecture: NetworkDescription) -> None:
    """Write a model directory; the weights come last."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    found = {**vars(architecture), "classes": list(architecture.classes)}
    write_json(directory / "model.json", json.loads(json.dumps(found)))
    with atomic_path(directory / "model.safetensors") as path:
        save_file({key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}, path)


def load_classifier(directory: Path, *, own: bool = False) -> tuple[nn.Module, NetworkDescription]:
    """A model in eval mode, and its architecture.

    Args:
        directory: what `save_classifier` wrote.
        own: whether it was trained here, so that functions of the user's own modules may be called.

    Raises:
        DataError: it is not there, or damaged, or names a function that must not be called.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for name in ("model.json", "model.safetensors"):
        if not (directory / name).is_file():
            raise DataError(f"{directory}: no {name} here; expected a classifier written by 'seqkd train'")
    try:
        found = json.loads((directory / "model.json").read_text(encoding="utf-8"))
        architecture = NetworkDescription(**{**found, "classes": tuple(found["classes"])})
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{directory}/model.json is no description of a classifier ({error})") from error
    try:
        if not own:
            _check_target(architecture.network)
        model = architecture.build()
    except (ConfigError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{directory}/model.json describes no classifier that can be built ({error})") from error
    try:
        model.load_state_dict(load_file(directory / "model.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{directory}/model.safetensors cannot be loaded ({reason}); train again") from error
    return model.eval(), architecture


def _check_target(network: Mapping[str, Any]) -> None:
    """Raise ConfigError about a function that is not of `seqkd.models`, under whichever name it is reached."""
    target = network.get("_target_") if network else None
    if target is None:
        return
    ours = str(target).startswith("seqkd.models.")
    if not ours or not getattr(imported(target, "network"), "__module__", "").startswith("seqkd.models."):
        raise ConfigError(f"it wants {target} called; only functions of seqkd.models are")


def classifier_hash(directory: Path) -> str:
    """Short content hash of a model: names a teacher in what was learned from it."""
    digest = hashlib.sha256((directory / "model.json").read_bytes())
    digest.update((directory / "model.safetensors").read_bytes())
    return digest.hexdigest()[:16]
