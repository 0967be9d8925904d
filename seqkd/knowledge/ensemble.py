"""Several teachers, or several passes of one, made into one posterior, and how far they disagree.

Letters: K teachers or passes, T frames, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses.uncertainty import uncertainties


def uniform_weights(teachers: int) -> tuple[float, ...]:
    """The same weight for each of K teachers."""
    return (1 / teachers,) * teachers


def dev_loss_weights(losses: Sequence[float]) -> tuple[float, ...]:
    """Better teachers guide more: weights ∝ exp(−CE_k), CE_k the teacher's cross-entropy on dev, nats per token.

    Raises:
        ConfigError: a loss that is not finite.

    Paper: multi-teacher targets, ICAICE 2021, 10.1109/icaice54393.2021.00127; Chosen: the exponential form.
    """
    for number, loss in enumerate(losses):
        if not math.isfinite(loss):
            raise ConfigError(f"the dev loss of teacher {number} is {loss}; expected a finite number of nats a token")
    return tuple(torch.tensor(losses, dtype=torch.float64).neg().softmax(0).tolist())


def mix(log_probs: Sequence[Tensor] | Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """Average posteriors: K times (T, C) log-probabilities to the (T, C) of Σ_k w_k p_k.

    CTC teachers spike at different frames; align them before they are averaged, or their spikes blur.

    Args:
        log_probs: K tensors (T, C), or one (K, T, C).
        weights: K weights that add up to 1; uniform if left out.

    Raises:
        ConfigError: posteriors of different shapes, or weights that do not fit them.
    """
    check_shapes(log_probs)
    weights = uniform_weights(len(log_probs)) if weights is None else weights
    check_weights(weights, len(log_probs))
    stacked = torch.stack([one.detach().double() for one in log_probs])  # (K, T, C)
    log_weights = torch.tensor(weights, dtype=torch.float64, device=stacked.device).log()
    return (stacked + log_weights[:, None, None]).logsumexp(0)


def check_shapes(log_probs: Sequence[Tensor] | Tensor) -> None:
    """Raise ConfigError unless there are posteriors, all of one shape."""
    shapes = {tuple(one.shape) for one in log_probs}
    if len(shapes) != 1:
        raise ConfigError(
            f"posteriors of shapes {sorted(shapes)} cannot be averaged; bring teachers to one clock first"
        )


def check_weights(weights: Sequence[float], teachers: int) -> None:
    """Raise ConfigError unless there is a weight for each teacher, none negative, 1 in all."""
    if len(weights) != teachers:
        raise ConfigError(f"there are {len(weights)} weights for {teachers} teachers; give each teacher one")
    if not all(math.isfinite(w) and w >= 0 for w in weights) or abs(sum(weights) - 1) > 1e-6:
        said = ", ".join(f"{w:g}" for w in weights)
        raise ConfigError(f"the teachers' weights are {said}; expected numbers from 0 on that add up to 1")


@dataclass(frozen=True)
class Uncertainty:
    """What a frame leaves open, in nats: (T,) each.

    Attributes:
        aleatoric: mean entropy of the passes: what is unclear in the input itself.
        epistemic: how much the passes disagree: what the teacher does not know.
    """

    aleatoric: Tensor
    epistemic: Tensor

    @property
    def total(self) -> Tensor:
        """(T,) the entropy of the mean posterior."""
        return self.aleatoric + self.epistemic

    @classmethod
    def of(cls, log_probs: Sequence[Tensor] | Tensor) -> Uncertainty:
        """From K stochastic passes (T, C) or an ensemble: H(p̄) = mean H(p_k) + the rest, which is epistemic.

        Paper: uncertainty-based KD, IJAR 2024, 10.1016/j.ijar.2024.109301; Chosen: this decomposition.
        """
        check_shapes(log_probs)
        _, _, aleatoric, epistemic = uncertainties(torch.stack([one.detach().double() for one in log_probs]))
        return cls(aleatoric, epistemic)
