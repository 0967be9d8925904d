"""Weights that are computed from other weights each time they are used, and a plain copy of such a network.

torch's own `torch.nn.utils.parametrize.remove_parametrizations` breaks the network that a copy was made from, as both
share one class; `plain` leaves it as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize

Network = TypeVar("Network", bound=nn.Module)


def weighted_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Names and modules of all convolutions and linear layers, in the order in which they were made."""
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            yield name, layer


def parametrization(layer: nn.Module, kind: type) -> nn.Module | None:
    """What computes a layer's weights, if it is of this kind."""
    if parametrize.is_parametrized(layer, "weight"):
        for one in layer.parametrizations["weight"]:
            if isinstance(one, kind):
                return one
    return None


@torch.no_grad()
def plain(model: Network) -> Network:
    """A copy whose weights are what they were computed to be: the same outputs, no parameters beside them."""
    model = copy.deepcopy(model)
    for _, layer in list(weighted_layers(model)):
        if not parametrize.is_parametrized(layer, "weight"):
            continue
        weight = layer.weight.detach().clone()
        bias = layer._parameters.pop("bias")
        layer.__class__ = parametrize.type_before_parametrizations(layer)
        del layer._modules["parametrizations"]
        layer.register_parameter("weight", nn.Parameter(weight))
        layer.register_parameter("bias", bias)
    return model
