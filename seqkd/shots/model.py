"""A shot model: stacked LSTMs from the features of a song to the probability of each shot; and its form on disk.

Assistants and student are alike but for the length of their frames. A saved model is a directory:
``model.safetensors``, ``model.yaml`` (how to build it, which features it reads, which shots it distinguishes) and
``language.json`` (the film language of what it was trained on). Nothing in it is ever unpickled.

Legend: B songs, T frames, F features, C shot classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path, write_text
from seqkd.settings import less_than
from seqkd.shots.audio.features import SongFeatureSettings
from seqkd.shots.classes import SHOTS
from seqkd.shots.language import FilmLanguage
from seqkd.shots.rates import averaged, repeated

if TYPE_CHECKING:
    from seqkd.shots.audio.features import Track

_FARTHEST = 8.0  # standard deviations: what is farther from the training songs, as silence may be, counts as this far


@dataclass(frozen=True)
class Architecture:
    """Of a network. The defaults are the paper's sizes.

    Attributes:
        sizes: units of the stacked LSTMs, from the input up.
        bidirectional: whether each reads forwards and backwards. Chosen: the paper speaks of LSTMs only, but its
            1.75 M parameters are those of two directions (1.74 M with 188 inputs; one direction has 0.71 M).
        dropout: before each LSTM but the first, and before the output layer; the amount is Chosen.
    """

    sizes: tuple[int, ...] = (256, 128, 64)
    bidirectional: bool = True
    dropout: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if not self.sizes or not all(isinstance(size, int) and size >= 1 for size in self.sizes):
            raise ConfigError(f"sizes is {list(self.sizes)}; expected a whole number of at least 1 for each layer")
        less_than(0, 1, dropout=self.dropout)


class ShotNetwork(nn.Module):
    """Features (B, T, F) to logits (B, T, C). Normalisation is inside: a model carries its own statistics."""

    def __init__(self, architecture: Architecture, features: int, classes: int = len(SHOTS)) -> None:
        super().__init__()
        self.architecture = architecture
        directions = 1 + architecture.bidirectional
        inputs = [features, *(directions * size for size in architecture.sizes)]
        self.layers = nn.ModuleList(
            nn.LSTM(wide, size, batch_first=True, bidirectional=architecture.bidirectional)
            for wide, size in zip(inputs, architecture.sizes, strict=False)
        )
        self.dropout = nn.Dropout(architecture.dropout)
        self.head = nn.Linear(inputs[-1], classes)
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_scale", torch.ones(features))

    def forward(self, features: Tensor) -> Tensor:
        """``features`` (B, T, F), unnormalised. All frames count: songs are cut to one length, not padded."""
        x = ((features - self.feature_mean) * self.feature_scale).clamp(-_FARTHEST, _FARTHEST)
        for number, layer in enumerate(self.layers):
            x, _ = layer(self.dropout(x) if number else x)  # (B, T, H)
        return self.head(self.dropout(x))

    def normalise(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Set the statistics (F,) of the training songs; a feature that never varies is left out."""
        varies = deviation > 1e-6 * (np.abs(mean) + 1e-6)
        self.feature_mean.copy_(torch.from_numpy(mean))
        self.feature_scale.copy_(torch.from_numpy(np.where(varies, 1 / np.where(varies, deviation, 1), 0.0)))

    def parameter_count(self) -> int:
        """The number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


@dataclass
class ShotModel:
    """A network with what is needed to use it on a song.

    Attributes:
        network: in evaluation mode.
        names: of the F features it reads, in order.
        language: the film language of its training songs.
        seconds: length of its frames, 1 for a student; 1, 2 or 4 for an assistant.
        settings: how its features are made of a song.
    """

    network: ShotNetwork
    names: tuple[str, ...]
    language: FilmLanguage
    seconds: int = 1
    settings: SongFeatureSettings = field(default_factory=SongFeatureSettings)

    @torch.no_grad()
    def logits(self, frames: np.ndarray) -> np.ndarray:
        """One-second frames (T, F) to logits (T, C) at one second; a slower model's are repeated."""
        frames = np.asarray(frames, np.float32)
        if frames.ndim != 2 or frames.shape[1] != len(self.names):
            raise DataError(f"Features have shape {frames.shape}; this model reads (T, {len(self.names)}).")
        if not len(frames):
            return np.zeros((0, self.network.head.out_features), np.float32)
        slow = torch.from_numpy(np.ascontiguousarray(averaged(frames, self.seconds), np.float32))[None]
        self.network.eval()
        return repeated(self.network(slow)[0].numpy(), self.seconds, len(frames))

    def posteriors(self, song: Track | np.ndarray) -> np.ndarray:
        """(T, C) probability of each shot in each second of a track or of its frames (T, F); rows sum to 1.

        Raises:
            DataError: the track has other features than the model reads.
        """
        logits = self.logits(song if isinstance(song, np.ndarray) else self.frames_of(song)).astype(float)
        powers = np.exp(logits - logits.max(-1, keepdims=True, initial=-np.inf))
        return powers / powers.sum(-1, keepdims=True)

    def frames_of(self, track: Track) -> np.ndarray:
        """(T, F) the frames of a track, if they are the model's features."""
        check_names(self.names, track.names)
        return track.frames


def check_names(expected: Sequence[str], found: Sequence[str]) -> None:
    """Raise DataError unless two lists of feature names are alike."""
    if tuple(expected) == tuple(found):
        return
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    differences = "; ".join(
        f"{what} {', '.join(names[:4])}{' and more' if len(names) > 4 else ''}"
        for what, names in (("missing:", missing), ("unknown to it:", extra))
        if names
    )
    raise DataError(
        f"The model reads {len(expected)} features, the song has {len(found)} ({differences or 'in another order'}); "
        "make the features with the settings of the model, or train it again."
    )


def save_shot_model(directory: Path, model: ShotModel) -> None:
    """Write a model directory; the weights come last, so a directory with weights is complete."""
    from safetensors.torch import save_file

    architecture = model.network.architecture
    description = {
        "architecture": {
            "sizes": list(architecture.sizes),
            "bidirectional": architecture.bidirectional,
            "dropout": architecture.dropout,
        },
        "seconds": model.seconds,
        "classes": list(SHOTS),
        "features": {
            # Not the directory of a tagger's output, which belongs to a corpus.
            "settings": {k: v for k, v in asdict(model.settings).items() if k != "tagger"},
            "names": list(model.names),
            "mean": [float(f"{x:.6g}") for x in model.network.feature_mean.tolist()],  # to read; the weights have all
            "scale": [float(f"{x:.6g}") for x in model.network.feature_scale.tolist()],
        },
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "model.yaml", yaml.safe_dump(description, sort_keys=False))
    model.language.save(directory / "language.json")
    with atomic_path(directory / "model.safetensors") as path:
        save_file({k: v.detach().cpu().contiguous() for k, v in model.network.state_dict().items()}, path)


def load_shot_model(directory: Path | str) -> ShotModel:
    """Read a model directory, ready for use. DataError when it is incomplete or does not fit its own description."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    directory = Path(directory)
    for name in ("model.yaml", "model.safetensors"):
        if not (directory / name).is_file():
            raise DataError(
                f"{directory}: no {name} here; expected a directory of a shot model, such as exp/default/model of "
                "the music2shot recipe"
            )
    try:
        described: dict[str, Any] = yaml.safe_load((directory / "model.yaml").read_text(encoding="utf-8"))
        architecture = Architecture(**described["architecture"])
        names, seconds = tuple(described["features"]["names"]), int(described["seconds"])
        settings = SongFeatureSettings(**described["features"]["settings"])
        classes = tuple(described["classes"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError, UnicodeDecodeError, ConfigError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{directory}/model.yaml is not a shot model's description ({reason})") from error
    if classes != SHOTS:
        raise DataError(
            f"{directory}/model.yaml distinguishes the classes {', '.join(map(str, classes))}; "
            f"expected {', '.join(SHOTS)}"
        )
    network = ShotNetwork(architecture, len(names))
    try:
        network.load_state_dict(load_file(directory / "model.safetensors"))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{directory}/model.safetensors cannot be loaded ({reason}); train again") from error
    return ShotModel(network.eval(), names, FilmLanguage.load(directory / "language.json"), seconds, settings)


def directory_hash(directory: Path) -> str:
    """Short content hash of every file below a model's directory: names a teacher in what was learned from it."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        digest.update(path.relative_to(directory).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
