"""Virtual attention: blocks of a layer's weights are weighed against one another while it is trained, at no cost after.

    student = with_vam(Classifier(...), groups=4)   # train it; `block_logits` gives its attention to a term
    network = folded(student)                       # an ordinary Classifier with the same logits

Letters: G groups of input channels (i) and of output channels (j) of a layer, K kernel.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from seqkd.errors import ConfigError
from seqkd.models.reparametrised import parametrization, plain, weighted_layers
from seqkd.settings import at_least, more_than

Network = TypeVar("Network", bound=nn.Module)


class AttendedWeight(nn.Module):
    """W'[j, i] = G · α_ji · W[j, i] over blocks of output channels j and input channels i, α_j = softmax_i(a_ji / τ).

    Attention of 0 leaves the weight as it is.

    Attributes:
        attention: (G, G) parameter a, a row an output block, a column an input block; 0 at first.
        temperature: τ.
    """

    def __init__(self, weight: Tensor, groups: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.attention = nn.Parameter(torch.zeros(groups, groups, dtype=weight.dtype, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """``weight`` (outputs, inputs, K...) -> the same shape."""
        groups = len(self.attention)
        factors = groups * (self.attention / self.temperature).softmax(1)
        blocks = weight.reshape(groups, len(weight) // groups, groups, weight.shape[1] // groups, -1)
        return (blocks * factors[:, None, :, None, None]).view_as(weight)


def with_vam(model: Network, *, groups: int = 4, temperature: float = 1.0) -> Network:
    """A copy with virtual attention in the convolutions over time and in linear layers but the last.

    The virtual attention mechanism of KDExplainer (IJCAI 2021, doi:10.24963/ijcai.2021/444, arXiv:2105.04181). The
    released code has none, and the paper's exact form is not public: this follows second-hand accounts. Its entropy
    penalty is a term on the layer ``blocks`` of the network: `seqkd.models.classifier.block_logits`, which are a / τ.

    Args:
        model: is left as it is; a `seqkd.models.classifier.Classifier` in particular.
        groups: G, of all layers; one with channels that it does not divide stays as it is.
        temperature: τ, above 0.

    Raises:
        ConfigError: a setting out of range, or G divides the channels of no layer.
    """
    at_least(2, groups=groups)
    more_than(0, temperature=temperature)
    model = copy.deepcopy(model)
    layers = [layer for _, layer in weighted_layers(model) if isinstance(layer, (nn.Conv1d, nn.Linear))]
    fit = [layer for layer in layers[:-1] if _divides(groups, layer)]
    if not fit:
        raise ConfigError(f"groups is {groups}; expected a divisor of the channels of a layer")
    for layer in fit:
        parametrize.register_parametrization(layer, "weight", AttendedWeight(layer.weight, groups, temperature))
    return model


def folded(model: Network) -> Network:
    """A copy without attention, whose plain weights are those that attention gave: the same logits exactly.

    Raises ConfigError where there is no attention to fold.
    """
    if not attended_layers(model):
        raise ConfigError("the network has no virtual attention; expected one of with_vam")
    return plain(model)


def attended_layers(model: nn.Module) -> dict[str, AttendedWeight]:
    """What computes the weights of each layer with virtual attention, by the layer's name."""
    found = ((name, parametrization(layer, AttendedWeight)) for name, layer in weighted_layers(model))
    return {name: weight for name, weight in found if weight is not None}


def _divides(groups: int, layer: nn.Conv1d | nn.Linear) -> bool:
    outputs, inputs = layer.weight.shape[:2]
    return getattr(layer, "groups", 1) == 1 and outputs % groups == 0 and inputs % groups == 0
