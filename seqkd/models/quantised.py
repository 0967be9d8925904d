"""Networks whose weights take few values: 3 (ternary), 7 (3 bits) or 15 (4 bits).

    student = quantised(trained, levels=3)   # a copy; train it as any network
    plain(student)                           # an ordinary network with the weights Δ·n

Letters: M levels, Δ the step between them, n a weight's level, a whole number from −(M−1)/2 to (M−1)/2.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from seqkd.errors import ConfigError
from seqkd.models.classifier import Classifier
from seqkd.models.reparametrised import parametrization, weighted_layers
from seqkd.settings import one_of

Network = TypeVar("Network", bound=nn.Module)

LEVELS = (3, 7, 15)
OUTER_BITS = range(5, 9)  # more levels than any of LEVELS: by its number of levels a layer is known to be outer
ALTERNATIONS = 2


def nearest_levels(w: Tensor, step: Tensor | float, levels: int) -> Tensor:
    """n = sgn(w)·min(⌊|w| / Δ + ½⌋, (M − 1) / 2), of the shape and type of ``w``."""
    return w.sign() * (w.abs() / step + 0.5).floor().clamp(max=(levels - 1) // 2)


@torch.no_grad()
def optimal_step(w: Tensor, levels: int) -> Tensor:
    """The step Δ with the least squared error Σ (w − Δn)², a 0-d tensor; 1 where all weights are 0.

    At the best step Δ = ⟨w, n⟩ / ⟨n, n⟩, and the error is ⟨w, w⟩ − ⟨w, n⟩² / ⟨n, n⟩. As Δ falls, levels change one at
    a time, from k − 1 to k where Δ is the weight's size divided by k − ½. All levels that any step gives are gone
    through, so that the best is certain, where an alternation between Δ and n may end in a local minimum.

    Args:
        w: weights of any shape.
        levels: M, odd, at least 3.

    Raises:
        ConfigError: M is even or less than 3.
    """
    if levels < 3 or levels % 2 == 0:
        raise ConfigError(f"levels is {levels}; expected an odd number of 3 or more")
    sizes = w.detach().abs().flatten().double()
    ks = torch.arange(1, (levels - 1) // 2 + 1, device=w.device, dtype=sizes.dtype)
    breaks, order = (sizes[:, None] / (ks - 0.5)).flatten().sort(descending=True)
    alike = sizes[:, None].expand(-1, len(ks)).flatten()[order].cumsum(0)  # ⟨w, n⟩ below each break
    squares = (2 * ks - 1).expand(len(sizes), -1).flatten()[order].cumsum(0)  # ⟨n, n⟩
    gain = (alike.square() / squares).masked_fill(breaks == 0, -1.0)
    best = gain.argmax()
    step = alike[best] / squares[best]
    return torch.where(step > 0, step, torch.ones_like(step)).to(w.dtype)


@torch.no_grad()
def improved_step(w: Tensor, step: Tensor, levels: int, times: int = ALTERNATIONS) -> Tensor:
    """From a step near the best one, by alternation: n the nearest levels, then Δ = ⟨w, n⟩ / ⟨n, n⟩."""
    for _ in range(times):
        n = nearest_levels(w, step, levels)
        squares = n.square().sum()
        # Where every weight has become small beside Δ, all levels are 0: begin again with the largest weight.
        fallback = w.abs().max()
        step = torch.where(squares > 0, (w * n).sum() / squares.clamp(min=1), fallback)
        step = torch.where(step > 0, step, torch.ones_like(step))
    return step


class QuantisedWeight(nn.Module):
    """Δ·n in place of a weight, whose gradient passes as if nothing were in between (straight-through).

    In training Δ follows the weights: each forward improves the last Δ by two alternations. In evaluation it is what it
    was. More than 15 levels are spaced evenly up to the largest weight.

    Attributes:
        levels: M.
        step: 0-d buffer, Δ.
    """

    def __init__(self, weight: Tensor, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.register_buffer("step", self._first_step(weight.detach()))

    def _first_step(self, w: Tensor) -> Tensor:
        return optimal_step(w, self.levels) if self.levels in LEVELS else self._even_step(w)

    def _even_step(self, w: Tensor) -> Tensor:
        largest = w.abs().max() / ((self.levels - 1) // 2)
        return torch.where(largest > 0, largest, torch.ones_like(largest))

    @torch.no_grad()
    def codes(self, weight: Tensor) -> Tensor:
        """n, int8, at the present step."""
        return nearest_levels(weight.detach(), self.step, self.levels).to(torch.int8)

    def forward(self, weight: Tensor) -> Tensor:
        """``weight`` of any shape -> Δ·n."""
        with torch.no_grad():
            if self.training:
                few = self.levels in LEVELS
                self.step.copy_(improved_step(weight, self.step, self.levels) if few else self._even_step(weight))
            rounded = nearest_levels(weight, self.step, self.levels) * self.step
        return rounded + (weight - weight.detach())  # exactly Δ·n: the difference is 0


def quantised(model: Network, *, levels: int = 3, outer_bits: int = 8, outer: Collection[str] | None = None) -> Network:
    """A copy whose convolutions and linear layers have quantised weights over float ones, which are trained.

    The quantised students of SiPS 2020, doi:10.1109/sips50750.2020.9195219, arXiv:1909.01688; begin with a trained
    float network, as is usual. Chosen, as there is no public code: the first and last layers have 8 bits, each layer
    has one Δ, of the least squared error, the gradient is straight-through and not clipped, and batch normalisation is
    folded only at export (see `seqkd.models.packing`).

    Args:
        model: is left as it is.
        levels: M, one of 3 (ternary), 7 (3 bits) or 15 (4 bits).
        outer_bits: of the first and last layers, from 5 to 8; evenly spaced levels, −(2^(bits − 1) − 1) ... the same.
            For fewer, let them have ``levels`` like the others: ``outer=[]``.
        outer: names of these layers; by default those that read the features and the output layer of a `Classifier`,
            the first and last layer of another network.

    Raises:
        ConfigError: a setting out of range, or a name in ``outer`` that is no layer's.
    """
    one_of(LEVELS, levels=levels)
    one_of(OUTER_BITS, outer_bits=outer_bits)
    model = copy.deepcopy(model)
    layers = dict(weighted_layers(model))
    outer = outer_layers(model) if outer is None else outer
    for name in outer:
        one_of(layers, outer=name)
    for name, layer in layers.items():
        weight = QuantisedWeight(layer.weight, 2**outer_bits - 1 if name in outer else levels)
        weight.train(layer.training)
        parametrize.register_parametrization(layer, "weight", weight)
    return model


def outer_layers(model: nn.Module) -> list[str]:
    """Names of the layers that read the features, and of the last layer."""
    names = [name for name, _ in weighted_layers(model)]
    if isinstance(model, Classifier):
        first = ["stem.conv1"] if model.stem is not None else ["stages.0.conv1", "stages.0.shortcut"]
        return [name for name in (*first, "output") if name in names]
    return [names[0], names[-1]]


def quantised_layers(model: nn.Module) -> dict[str, QuantisedWeight]:
    """What computes the weights of each quantised layer, by the layer's name."""
    found = ((name, parametrization(layer, QuantisedWeight)) for name, layer in weighted_layers(model))
    return {name: weight for name, weight in found if weight is not None}
