"""Hidden units that do nothing are taken out of a trained network, and out of its optimiser.

    activity = Activity("max")
    for batch in training:
        hidden, lengths = model(*batch, layers=["hidden"]).layers["hidden"]
        activity.add(hidden, lengths)
    keep = ~inactive_units(activity.sizes(), epsilon=0.01, minimum=4)
    prune_classifier(model, keep, activity.means(), optimizer)

The units are those between two linear layers, of a `Classifier` (its ``hidden`` and ``output``) or of a feed-forward
block (`seqkd.models.layers.feed_forward`: its members 1 and 4). A unit can only fall silent where the rectifier is
ReLU, not SiLU.

KDDP, after "Improved Knowledge Distillation with Dynamic Network Pruning" (Gazi University Journal of Science, 2022,
doi:10.29109/gujsc.1141648). The abstract alone is public; what counts as inactive, and when, is Chosen.

Letters: B clips, T positions, H hidden units, N observations of a unit.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from seqkd.errors import ConfigError
from seqkd.models.classifier import Classifier
from seqkd.models.layers import valid_frames
from seqkd.settings import at_least, one_of

Network = TypeVar("Network", bound=nn.Module)

STATISTICS = ("max", "q99")


class Activity:
    """What the units of a layer did over a pass of the training data.

    Args:
        inactive: by which size of a unit it is judged: its largest activation ("max", default), or the one that 99 % do
            not exceed ("q99", which a few outliers cannot keep alive; it keeps all observations in memory until then).
    """

    def __init__(self, inactive: str = "max") -> None:
        self.inactive = one_of(STATISTICS, inactive=inactive)
        self._largest: Tensor | None = None
        self._sum: Tensor | None = None
        self._count = 0
        self._all: list[Tensor] = []

    @torch.no_grad()
    def add(self, hidden: Tensor, lengths: Tensor | None = None) -> None:
        """Take in a batch: ``hidden`` (B, T, H), ``lengths`` (B,) valid positions, all by default."""
        if lengths is None:
            rows = hidden.detach().flatten(0, -2)
        else:
            rows = hidden.detach()[valid_frames(lengths, hidden.shape[1])]
        if not len(rows):
            return
        sizes = rows.abs().amax(0)
        total = rows.double().sum(0)
        self._largest = sizes if self._largest is None else torch.maximum(self._largest, sizes)
        self._sum = total if self._sum is None else self._sum + total
        self._count += len(rows)
        if self.inactive == "q99":
            self._all.append(rows.abs().cpu())

    def sizes(self) -> Tensor:
        """(H,) the size of each unit. Raises ConfigError when nothing was added."""
        self._check()
        if self.inactive == "max":
            return self._largest
        rows = torch.cat(self._all)
        # The smallest value that 99 % do not exceed; torch.quantile takes no more than 16 million numbers.
        place = max(1, -(-99 * len(rows) // 100))
        return rows.kthvalue(place, dim=0).values.to(self._largest.device)

    def means(self) -> Tensor:
        """(H,) the mean activation of each unit: what a unit that never changes always gives."""
        self._check()
        return (self._sum / self._count).to(self._largest.dtype)

    def _check(self) -> None:
        if self._largest is None:
            raise ConfigError("no activation was added; expected those of a pass of the training data")


def inactive_units(sizes: Tensor, epsilon: float, *, minimum: int = 1) -> Tensor:
    """Which units do nothing to speak of: those whose size is at most ε times the layer's median size.

    Args:
        sizes: (H,) `Activity.sizes`.
        epsilon: ε, at least 0.
        minimum: so many units are never inactive: the largest, and of alike ones the first.

    Returns:
        (H,) bool.

    Raises:
        ConfigError: a setting out of range.
    """
    at_least(0, epsilon=epsilon)
    at_least(1, minimum=minimum)
    found = sizes <= epsilon * sizes.median()
    found[sizes.argsort(descending=True, stable=True)[:minimum]] = False
    return found


@torch.no_grad()
def magnitude_keep(first: nn.Linear, second: nn.Linear, width: int) -> Tensor:
    """The control: the units with the largest weights, ‖W₁[j]‖ · ‖W₂[:, j]‖, which no rescaling of a unit changes.

    Returns:
        (H,) bool, true ``width`` times.

    Raises:
        ConfigError: ``width`` is less than 1 or more than H.
    """
    _check_pair(first, second)
    if not 1 <= width <= first.out_features:
        raise ConfigError(f"width is {width}; expected from 1 to {first.out_features}, the units there are")
    sizes = first.weight.norm(dim=1) * second.weight.norm(dim=0)
    keep = torch.zeros_like(sizes, dtype=torch.bool)
    keep[sizes.argsort(descending=True, stable=True)[:width]] = True
    return keep


@torch.no_grad()
def prune_hidden(
    first: nn.Linear,
    second: nn.Linear,
    keep: Tensor,
    constants: Tensor | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Take units out of the layer between ``first`` and ``second``, in place.

    W₁[j], b₁[j] and W₂[:, j] go, with what the optimiser keeps of them (moments). Nothing happens where all are kept.

    Args:
        first: its outputs, rectified, are the units.
        second: reads them.
        keep: (H,) bool.
        constants: (H,) what each unit gives whatever the input; of those that go it is folded into b₂, which the layer
            is given if it has none. By default 0.
        optimizer: goes on with the smaller parameters, which are new objects.

    Raises:
        ConfigError: ``keep`` is not of the units, keeps none, or the layers do not belong together.
    """
    _check_pair(first, second)
    if keep.dtype != torch.bool or keep.shape != (first.out_features,):
        raise ConfigError(
            f"keep is {keep.dtype} of shape {tuple(keep.shape)}; expected torch.bool of ({first.out_features},)"
        )
    if not keep.any():
        raise ConfigError("keep is false for all units; expected one or more")
    if keep.all():
        return
    if constants is not None:
        keep = keep.to(constants.device)
        added = second.weight[:, ~keep] @ constants[~keep].to(second.weight)
        if second.bias is not None:
            second.bias += added
        elif added.any():
            second.bias = nn.Parameter(added)
            if optimizer is not None:
                optimizer.add_param_group({"params": [second.bias], "weight_decay": 0.0})
    kept = keep.nonzero()[:, 0].to(first.weight.device)
    for layer, name, axis in ((first, "weight", 0), (first, "bias", 0), (second, "weight", 1)):
        if getattr(layer, name) is not None:
            _select(layer, name, axis, kept, optimizer)
    first.out_features = second.in_features = len(kept)


def prune_classifier(
    model: Classifier,
    keep: Tensor,
    constants: Tensor | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> Classifier:
    """Take hidden units out of a `Classifier`, in place: it is then one of ``hidden=int(keep.sum())``.

    Arguments and errors are those of `prune_hidden`.
    """
    prune_hidden(model.hidden, model.output, keep, constants, optimizer)
    return model


def _check_pair(first: nn.Linear, second: nn.Linear) -> None:
    if first.out_features != second.in_features:
        raise ConfigError(
            f"first has {first.out_features} outputs, second {second.in_features} inputs; expected the same"
        )


def _select(layer: nn.Linear, name: str, axis: int, kept: Tensor, optimizer: torch.optim.Optimizer | None) -> None:
    """Put rows or columns of a parameter in its place, and in the optimiser's."""
    old = getattr(layer, name)
    new = nn.Parameter(old.index_select(axis, kept), requires_grad=old.requires_grad)
    setattr(layer, name, new)
    if old.grad is not None:
        new.grad = old.grad.index_select(axis, kept)
    if optimizer is None:
        return
    for group in optimizer.param_groups:
        group["params"] = [new if one is old else one for one in group["params"]]
    if old in optimizer.state:
        optimizer.state[new] = {
            key: value.index_select(axis, kept) if torch.is_tensor(value) and value.shape == old.shape else value
            for key, value in optimizer.state.pop(old).items()
        }
