"""Training one network: the whole step on one screen, and what survives an interruption.

A phase of training has a directory: ``state.pt`` (weights, optimiser, best weights so far and history, written whole
after each validation) while it lasts, and ``weights.safetensors`` with ``history.json`` when it is over.

Legend: B songs, T frames, F features, C shot classes.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqkd.errors import ConfigError, SeqkdError
from seqkd.files import atomic_path, write_json
from seqkd.losses.base import DistillationLoss
from seqkd.losses.deep_interactive import deep_interactive_loss
from seqkd.shots.lessons import Lesson, draw
from seqkd.shots.model import ShotNetwork

log = logging.getLogger("seqkd")


@dataclass(frozen=True)
class TrainingSettings:
    """Of one phase. RMSprop and its rate are the paper's; the rest is Chosen.

    Attributes:
        updates: steps of the optimiser.
        batch: B, songs an update.
        window: seconds of each of them.
        lr: learning rate, constant.
        gradient_clip: greatest norm of a gradient.
        validate_every: updates between two looks at dev.
        threads: of the CPU.
    """

    updates: int = 400
    batch: int = 16
    window: int = 64
    lr: float = 1e-3
    gradient_clip: float = 5.0
    validate_every: int = 40
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("updates", "batch", "window", "validate_every", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training.{name} is {getattr(self, name)}; expected at least 1")
        for name in ("lr", "gradient_clip"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"training.{name} is {getattr(self, name)}; expected more than 0")


@dataclass(frozen=True)
class Distillation:
    """The weights of the objective, see :func:`seqkd.losses.deep_interactive.deep_interactive_loss`."""

    kd_weight: float = 0.5
    temperature: float = 20.0
    scale_by_temperature: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.kd_weight <= 1:
            raise ConfigError(f"distillation.kd_weight is {self.kd_weight}; expected a share from 0 to 1")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(f"distillation.temperature is {self.temperature}; expected more than 0")

    def loss(self, logits: Tensor, lesson: Lesson) -> DistillationLoss:
        """½ CE(g, softmax(z)) + ½ CE(p_T, softmax(z/τ)); without a teacher only the first, whole."""
        taught = lesson.soft is not None
        return deep_interactive_loss(
            logits,
            lesson.classes,
            lesson.soft if taught else logits,  # weight 0: not looked at
            kd_weight=self.kd_weight if taught else 0.0,
            temperature=self.temperature,
            scale_by_temperature=self.scale_by_temperature,
        )


@dataclass
class Progress:
    """How far a phase is, and all that another process needs to go on as this one would have.

    Attributes:
        update: of the next step.
        best: the weights with the least dev error so far, and ``best_error`` that error.
        history: a row a validation.
        seconds: spent training, over interruptions too.
    """

    update: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_error: float = math.inf
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


def train_network(
    network: ShotNetwork,
    known: Sequence[Lesson],
    dev: Sequence[Lesson],
    directory: Path,
    *,
    settings: TrainingSettings,
    distillation: Distillation,
    seconds: int = 1,
    seed: int = 0,
    label: str = "",
) -> list[dict[str, Any]]:
    """Train ``network`` in place, from where it was stopped, and leave it with the weights that do best on dev.

    Args:
        network: with its first weights; those of a finished phase are loaded instead of training.
        known: what it learns from.
        dev: what its error is measured on, at the same frame rate.
        directory: of this phase; what it holds is taken to be this very phase's.
        settings: of the phase.
        distillation: of the objective.
        seconds: of a frame.
        seed: of batches and dropout.
        label: heads the progress lines.

    Returns:
        A row a validation: ``step``, ``seconds``, ``dev_error``, ``dev_nll`` and the loss's ``train`` terms.
    """
    from safetensors.torch import load_file, save_file

    weights, state = directory / "weights.safetensors", directory / "state.pt"
    if weights.is_file():
        network.load_state_dict(load_file(weights))
        return json.loads((directory / "history.json").read_text(encoding="utf-8"))["rows"]
    torch.set_num_threads(settings.threads)
    optimizer = torch.optim.RMSprop(network.parameters(), lr=settings.lr)
    progress = _resume(state, network, optimizer)
    window, sums, clock = max(1, settings.window // seconds), {}, time.monotonic()
    lines = ProgressLines(label, settings.updates, progress.update)
    while progress.update < settings.updates:
        lesson = draw(known, batch=settings.batch, window=window, seed=seed, update=progress.update)
        torch.manual_seed(hash((seed, progress.update, 0)) % 2**63)  # dropout: this update's own
        loss = distillation.loss(network.train()(lesson.frames), lesson)
        optimizer.zero_grad()
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
        optimizer.step()
        progress.update += 1
        for name, value in {"total": loss.total, **loss.terms}.items():
            sums.setdefault(name, []).append(float(value.detach()))
        if progress.update % settings.validate_every == 0 or progress.update == settings.updates:
            error, nll = measure(network, dev)
            progress.seconds, clock = progress.seconds + time.monotonic() - clock, time.monotonic()
            _note(progress, network, error, nll, {name: sum(v) / len(v) for name, v in sums.items()})
            sums = {}
            _save(state, progress, network, optimizer)
        lines.show(progress)
    network.load_state_dict(progress.best)
    write_json(directory / "history.json", {"rows": progress.history})
    with atomic_path(weights) as path:
        save_file({name: value.contiguous() for name, value in progress.best.items()}, path)
    state.unlink()
    return progress.history


@torch.no_grad()
def measure(network: ShotNetwork, songs: Sequence[Lesson]) -> tuple[float, float]:
    """The share of wrong frames, and the mean negative log-likelihood (nats), over whole songs."""
    network.eval()
    wrong = nll = frames = 0.0
    for song in songs:
        log_probs = network(song.frames[None])[0].log_softmax(-1)  # (T, C)
        wrong += float((log_probs.argmax(-1) != song.classes).sum())
        nll -= float(log_probs.gather(-1, song.classes[:, None]).sum())
        frames += len(song.classes)
    return wrong / frames, nll / frames


def _note(progress: Progress, network: ShotNetwork, error: float, nll: float, terms: dict[str, float]) -> None:
    """Add a row to the history, and keep the weights if they are the best; SeqkdError if the loss ran away."""
    if not all(map(math.isfinite, (nll, *terms.values()))):
        raise SeqkdError(
            f"the training loss is not finite by update {progress.update} ({terms}); lower training.lr or "
            "training.gradient_clip, and run it again"
        )
    row = {"step": progress.update, "seconds": progress.seconds, "dev_error": error, "dev_nll": nll, "train": terms}
    progress.history.append(row)
    if error < progress.best_error:  # the first of equals: it has had the least training
        progress.best_error = error
        progress.best = {name: value.detach().clone() for name, value in network.state_dict().items()}


def _save(path: Path, progress: Progress, network: ShotNetwork, optimizer: torch.optim.Optimizer) -> None:
    kept = {"progress": vars(progress), "network": network.state_dict(), "optimizer": optimizer.state_dict()}
    with atomic_path(path) as temporary:
        torch.save(kept, temporary)


def _resume(path: Path, network: ShotNetwork, optimizer: torch.optim.Optimizer) -> Progress:
    """What `_save` wrote, loaded; a fresh start where there is nothing, or nothing that can be read."""
    if not path.is_file():
        return Progress()
    try:
        kept = torch.load(path, weights_only=True)
        network.load_state_dict(kept["network"])
        optimizer.load_state_dict(kept["optimizer"])
        progress = Progress(**kept["progress"])
    except Exception as error:  # whatever a damaged file makes torch say
        log.warning("%s cannot be read (%s): this phase starts again", path, " ".join(str(error).split())[:200])
        path.unlink()
        return Progress()
    log.info("%s: resuming at update %d", path.parent, progress.update)
    return progress


class ProgressLines:
    """How far a phase is, with the estimate of what is left: each second on a terminal, each minute in a log file."""

    def __init__(self, label: str, updates: int, first: int) -> None:
        self.label, self.updates, self.first = label, updates, first
        self.live = sys.stderr.isatty()
        self.every = 1.0 if self.live else 60.0
        self.began = self.last = time.monotonic()

    def show(self, progress: Progress) -> None:
        """Print when it is time."""
        now, over = time.monotonic(), progress.update >= self.updates
        if now - self.last < self.every and not (over and self.live):
            return
        self.last = now
        left = (self.updates - progress.update) * (now - self.began) / max(1, progress.update - self.first)
        known = f", dev error {100 * progress.best_error:.2f} %" if progress.history else ""
        line = f"{self.label}: update {progress.update}/{self.updates}{known}, {left / 60:.1f} min left"
        print(f"\r{line}\033[K" if self.live else line, end="" if self.live and not over else "\n", flush=True)
