"""What a book keeps of a posterior: all of it, its k greatest classes, or draws from it.

All forms keep logarithms in half precision rather than probabilities: half precision has 11 bits of log p wherever p
is, while a probability below 6e-8 would be lost, and with it what a higher temperature brings out. Rows are normalised
again on reading.

Letters: T frames (or target positions, or seconds), C classes, K kept classes of a frame, E kept classes of all
frames.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses.sparse import SparsePosteriors, densify

Fields = dict[str, np.ndarray]


@dataclass(frozen=True)
class Dense:
    """All classes, 16 bits each. Gives the live teacher's gradient to half precision, at any temperature."""

    name: ClassVar[str] = "dense"
    truncated: ClassVar[bool] = False
    per_entry: ClassVar[tuple[str, ...]] = ()

    def check(self, classes: int) -> None:
        """Raise ConfigError where the form does not fit C; any C does here."""

    def encode(self, log_probs: np.ndarray, key: str) -> tuple[Fields, float]:
        """(T, C) float32 to what is stored, and the mean mass that is kept, 1 here."""
        return {"log_probs": log_probs.astype(np.float16)}, 1.0

    def dense(self, fields: Fields, classes: int) -> Tensor:
        """(T, C) log-probabilities, float32."""
        return torch.from_numpy(fields["log_probs"].astype(np.float32)).log_softmax(-1)

    def sparse(self, fields: Fields, classes: int) -> SparsePosteriors:
        """All C classes of every frame: K is C and the tail is 0."""
        probs = self.dense(fields, classes).exp()
        return SparsePosteriors(torch.arange(classes).expand(probs.shape), probs, probs.new_zeros(len(probs)))


@dataclass(frozen=True)
class TopK:
    """The k greatest classes and the mass of all others (the tail): 32 k + 32 bits a frame with up to 65,536 classes.

    A loss spreads the tail over the other classes or treats it as one class (:func:`seqkd.losses.sparse_kd_loss`).
    The entropy of the whole posterior is kept beside, for the weight of BookKD.
    """

    k: int
    name: ClassVar[str] = "top-k"
    truncated: ClassVar[bool] = True
    per_entry: ClassVar[tuple[str, ...]] = ()

    def check(self, classes: int) -> None:
        """Raise ConfigError unless k is from 1 to C."""
        if not 1 <= self.k <= classes:
            raise ConfigError(f"a top-k book keeps {self.k} classes of {classes}; expected from 1 to {classes}")

    def encode(self, log_probs: np.ndarray, key: str) -> tuple[Fields, float]:
        """(T, C) float32 to what is stored, and the mean mass of the k classes."""
        top = torch.from_numpy(log_probs).topk(self.k, dim=-1)
        rest = np.exp(log_probs)
        np.put_along_axis(rest, top.indices.numpy(), 0.0, axis=-1)
        tail = rest.sum(-1)  # not 1 minus the others, which would leave their rounding
        with np.errstate(divide="ignore"):
            log_tail = np.log(tail)
        fields = {
            "classes": top.indices.numpy().astype(_integer(log_probs.shape[-1] - 1)),
            "log_probs": top.values.numpy().astype(np.float16),
            "log_tail": log_tail.astype(np.float16),
            "entropy": entropy(log_probs).astype(np.float16),
        }
        return fields, float(1 - tail.mean())

    def dense(self, fields: Fields, classes: int) -> Tensor:
        """(T, C) log-probabilities, float32, with the tail spread evenly over the other classes."""
        return densify(self.sparse(fields, classes), classes, log=True)

    def sparse(self, fields: Fields, classes: int) -> SparsePosteriors:
        """The k classes (K = k) and the tail; they add up to 1."""
        stored = np.concatenate([fields["log_probs"], fields["log_tail"][:, None]], axis=-1)
        probs = torch.from_numpy(stored.astype(np.float32)).softmax(-1)  # (T, K + 1)
        return SparsePosteriors(
            torch.from_numpy(fields["classes"].astype(np.int64)),
            probs[:, :-1],
            probs[:, -1],
            torch.from_numpy(fields["entropy"].astype(np.float32)),
        )


@dataclass(frozen=True)
class Sampled:
    """How often each class came up in ``draws`` draws with replacement: unbiased, E[count / draws] = the posterior.

    The draws depend on ``seed``, the utterance and its seed alone, not on the order or the process. The entropy
    of the whole posterior is kept beside, since that of the counts is too low on average.
    """

    draws: int
    seed: int = 0
    name: ClassVar[str] = "sampled"
    truncated: ClassVar[bool] = True
    per_entry: ClassVar[tuple[str, ...]] = ("classes", "counts")

    def check(self, classes: int) -> None:
        """Raise ConfigError unless there is at least one draw."""
        if not 1 <= self.draws < 2**31:
            raise ConfigError(f"a sampled book has {self.draws} draws a frame; expected at least 1")

    def encode(self, log_probs: np.ndarray, key: str) -> tuple[Fields, float]:
        """(T, C) float32 to what is stored, and the mean mass of the classes that were drawn."""
        seed = int.from_bytes(hashlib.sha256(f"{self.seed}\0{key}".encode()).digest()[:16], "big")
        probs = np.exp(log_probs.astype(np.float64))
        frames, classes = probs.shape
        below = probs.cumsum(-1)  # draws are places in [0, 1), found among the classes' sums
        places = np.random.default_rng(seed).random((frames, self.draws)) * below[:, -1:]
        drawn = torch.searchsorted(torch.from_numpy(below), torch.from_numpy(places), right=True).numpy()
        drawn = np.minimum(drawn, classes - 1) + classes * np.arange(frames)[:, None]
        drawn, counts = np.unique(drawn, return_counts=True)  # (E,) frame by frame
        frame, kept = np.divmod(drawn, classes)
        fields = {
            "distinct": np.bincount(frame).astype(_integer(min(self.draws, classes))),  # (T,)
            "classes": kept.astype(_integer(classes - 1)),  # (E,)
            "counts": counts.astype(_integer(self.draws)),  # (E,)
            "entropy": entropy(log_probs).astype(np.float16),  # (T,)
        }
        return fields, float(probs[frame, kept].sum() / frames)

    def dense(self, fields: Fields, classes: int) -> Tensor:
        """(T, C) log of count / draws, float32; -inf for what was not drawn."""
        return densify(self.sparse(fields, classes), classes, log=True)

    def sparse(self, fields: Fields, classes: int) -> SparsePosteriors:
        """The distinct classes (K of the frame that has most, padded by class -1); the tail is 0."""
        distinct = fields["distinct"].astype(np.int64)
        filled = np.arange(distinct.max())[None] < distinct[:, None]  # (T, K)
        kept, probs = np.full(filled.shape, -1, np.int64), np.zeros(filled.shape, np.float32)
        kept[filled], probs[filled] = fields["classes"], fields["counts"] / np.float32(self.draws)
        return SparsePosteriors(
            torch.from_numpy(kept),
            torch.from_numpy(probs),
            torch.zeros(len(kept)),
            torch.from_numpy(fields["entropy"].astype(np.float32)),
        )


Form = Dense | TopK | Sampled


def form_to_json(form: Form) -> dict[str, Any]:
    """As in the manifest."""
    return {"name": form.name, **asdict(form)}


def form_from_json(value: dict[str, Any]) -> Form:
    """Of the manifest; ConfigError if there is no such form."""
    options = dict(value)
    name = options.pop("name", None)
    for form in (Dense, TopK, Sampled):
        if form.name == name:
            return form(**options)
    raise ConfigError(f"there is no form {name!r} of a book; expected dense, top-k or sampled")


def entropy(log_probs: np.ndarray) -> np.ndarray:
    """(..., C) log-probabilities to (...) entropies in nats; a class of probability 0 adds nothing."""
    probs = np.exp(log_probs)
    return -(probs * np.where(probs > 0, log_probs, 0.0)).sum(-1)


def _integer(greatest: int) -> type[np.unsignedinteger]:
    """The smallest type that holds 0 to ``greatest``."""
    return next(t for t in (np.uint8, np.uint16, np.uint32) if greatest <= np.iinfo(t).max)
