"""The valid positions of a batch with one class a position, for losses by token.

Letters: B sentences, S target positions, C classes, N valid positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqkd.ctc.arguments import REDUCTIONS, check_choice, check_logits
from seqkd.ctc.frames import at_least_float32
from seqkd.ctc.transforms import ordinary, tracing
from seqkd.losses.base import DistillationLoss


@dataclass(frozen=True)
class ValidPositions:
    """The valid target positions of a batch, checked, in one row each.

    Attributes:
        shape: (B, S, C).
        targets: (N,) int64, the class of each valid position.
        rows: (N,) which of the B·S positions are valid, or None for all.
        dtype: of the losses, float32 at least.
        reduction: how N values become one.
        valid: (N,) bool where torch compiles or transforms the program: nothing may depend on how many positions are
            valid then, so N is B·S, and those that are not valid count for nothing. Their targets are not checked.
    """

    shape: tuple[int, int, int]
    targets: Tensor
    rows: Tensor | None
    dtype: torch.dtype
    reduction: str
    valid: Tensor | None = None

    @classmethod
    def of(
        cls, logits: Tensor, targets: Tensor, *, ignore_index: int, reduction: str, name: str = "logits"
    ) -> ValidPositions:
        """Check logits (B, S, C) and targets (B, S), and find the valid positions.

        Raises:
            ValueError: shapes or types that do not fit, a target out of range, an unknown reduction.
        """
        check_logits(name, logits, "BSC")
        check_choice("reduction", reduction, REDUCTIONS)
        targets = torch.as_tensor(targets)
        if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
            raise ValueError(f"targets must be integers, got {targets.dtype}")
        if targets.shape != logits.shape[:2]:
            raise ValueError(
                f"targets must be (B, S) = {tuple(logits.shape[:2])}, one a position of {name}, "
                f"got {tuple(targets.shape)}"
            )
        # A copy: the gradient is that of the targets that the forward saw.
        targets, classes = targets.to(logits.device, torch.int64, copy=True), logits.shape[2]
        valid = targets != ignore_index
        dtype = torch.promote_types(logits.dtype, torch.float32)
        if tracing():
            labels = targets.masked_fill(~valid, 0).flatten()
            return cls(tuple(logits.shape), labels, None, dtype, reduction, valid.flatten())
        wrong = valid & ((targets < 0) | (targets >= classes))
        if wrong.any():
            sentence, position = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"sentence {sentence}: target {int(targets[sentence, position])} at position {position} is outside "
                f"[0, {classes}), and ignore_index is {ignore_index}"
            )
        rows = None if valid.all() else valid.flatten().nonzero()[:, 0]
        labels = targets.flatten() if rows is None else targets[valid]
        return cls(tuple(logits.shape), labels, rows, dtype, reduction)

    def fitting(self, name: str, logits: Tensor) -> Tensor:
        """Another model's logits (B, S, C), without gradient.

        Raises:
            ValueError: the shape is not that of the current model's: another batch, or another vocabulary.
        """
        check_logits(name, logits, "BSC")
        if tuple(logits.shape) != self.shape:
            raise ValueError(
                f"{name} {tuple(logits.shape)} and logits {self.shape} must have the same (B, S, C): one batch, one "
                "vocabulary"
            )
        return logits.detach()

    def log_softmax(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """Return the log-probabilities (N, C) of the valid positions of (B, S, C), in float32 at least, at a
        temperature.
        """
        rows = at_least_float32(self.of_valid(logits))
        return (rows if temperature == 1 else rows / temperature).log_softmax(-1)

    def of_valid(self, x: Tensor) -> Tensor:
        """Return the valid positions of (B, S, ...) as (N, ...); 0 where a position only stands for one that is not."""
        rows = x.flatten(0, 1)
        if self.valid is not None:
            return rows.masked_fill(~self.valid.view(-1, *[1] * (rows.dim() - 1)), 0)
        return rows if self.rows is None else rows.index_select(0, self.rows)

    def cross_entropy(self, log_probs: Tensor) -> Tensor:
        """Return −log p of the target, (N,), from (N, C)."""
        return -log_probs.gather(-1, self.targets[:, None])[:, 0]

    def reduce(self, values: Tensor, reduction: str | None = None) -> Tensor:
        """Reduce (N,): to a scalar, or for reduction "none" to (B, S)."""
        reduction = reduction or self.reduction
        if reduction == "none":
            return self.spread(values)
        if self.valid is not None:
            values = values.masked_fill(~self.valid, 0.0)
            return values.sum() / (self.valid.sum().clamp(min=1) if reduction == "mean" else 1)
        return values.sum() / (max(len(values), 1) if reduction == "mean" else 1)

    def spread(self, values: Tensor) -> Tensor:
        """Put (N,) at their places in (B, S), 0 elsewhere."""
        batch, positions, _ = self.shape
        if self.valid is not None:
            values = values.masked_fill(~self.valid, 0.0)
        if self.rows is not None:
            values = values.new_zeros(batch * positions).index_copy(0, self.rows, values)
        return values.view(batch, positions)

    def weigh(self, **terms: tuple[float, Callable[[], Tensor]]) -> DistillationLoss:
        """Add up name = (weight, function that computes (N,) losses); a weight of 0 is never computed.

        Raises:
            ValueError: a weight that is negative or not finite.
        """
        for name, (weight, _) in terms.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"{name}_weight must be finite and not negative, got {weight}")
        values = {name: self.reduce(term()) for name, (weight, term) in terms.items() if weight != 0}
        zero = self.reduce(self.targets.new_zeros(len(self.targets), dtype=self.dtype))
        return DistillationLoss(sum((terms[name][0] * value for name, value in values.items()), zero), values)


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless ``value`` is from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")


def rows_of(tokens: ValidPositions, x: Tensor) -> Tensor:
    """Return the valid positions of (B, S, ...) as (N, ...), without gradient."""
    return ordinary(tokens.of_valid(x.detach().to(tokens.targets.device)))


def dot(weights: Tensor, log_probs: Tensor) -> Tensor:
    """Return Σ_c w log p (...) of weights and log-probabilities (..., C), where 0 · −inf counts as 0."""
    products = (weights * log_probs).sum(-1)
    if tracing() or products.isnan().any():  # only a batch with masked classes pays for the mask
        products = (weights * log_probs.masked_fill(weights == 0, 0.0)).sum(-1)
    return products
