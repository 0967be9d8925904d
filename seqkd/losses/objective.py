"""An objective is a list of weighted terms.

    objective = Objective(ctc=Ctc(), kd=FrameKd(weight=1.0), consistency=Consistency(weight=[[0, 0.0], [0.2, 0.2]]))
    student = Outputs(logits, input_lengths)                       # logits (P, B, T, C)
    loss = objective(student, {"teacher": Outputs(teacher_logits[None], input_lengths)}, Labels(targets,
    target_lengths)) loss.total.backward()

Letters: P passes, B items, T frames or target positions (1 for a classifier), C classes, S labels of the longest
target, D features of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor, nn

from seqkd.ctc.arguments import REDUCTIONS, check_choice
from seqkd.ctc.frames import at_least_float32, frame_mask, masked_log_softmax
from seqkd.errors import ConfigError
from seqkd.losses.base import DistillationLoss
from seqkd.settings import at_least, did_you_mean, share

IGNORE = -100  # the target of a position that is not valid, as in torch
FINAL = "output"  # the name of a network's last layer


@dataclass
class Labels:
    """What the items are to be: transcripts for CTC, a class for each position otherwise.

    Attributes:
        targets: (B, S) classes, padded with anything; S = T where there is one a position.
        lengths: (B,) labels of each item.
        labelled: (B,) bool, False for an item without labels; None for all.
        blank: class of CTC's blank.
    """

    targets: Tensor
    lengths: Tensor
    labelled: Tensor | None = None
    blank: int = 0

    def positions(self, positions: int) -> Tensor:
        """(B, T) targets, -100 where there is none."""
        valid = frame_mask(self.lengths, positions, self.targets.device)
        if self.labelled is not None:
            valid = valid & self.labelled.to(valid.device)[:, None]
        return self.targets[:, :positions].masked_fill(~valid, IGNORE)


@dataclass
class Outputs:
    """What a network gives for a batch.

    Attributes:
        logits: (P, B, T, C).
        lengths: (B,) valid frames or positions; what stands in the others, NaN too, changes nothing.
        layers: other layers that an objective asked for, by name: outputs too, or features (P, B, T, D).
        labels: of a layer whose labels are not the objective's, as those of an attention decoder beside CTC.
    """

    logits: Tensor
    lengths: Tensor
    layers: Mapping[str, Outputs | Tensor] = field(default_factory=dict)
    labels: Labels | None = None

    @cached_property
    def mask(self) -> Tensor:
        """(B, T) bool, True for a valid frame."""
        return frame_mask(self.lengths, self.logits.shape[2], self.logits.device)

    @cached_property
    def log_probs(self) -> Tensor:
        """(P, B, T, C) in float32 at least, uniform on padded frames; computed once for all terms."""
        return masked_log_softmax(self.logits, self.mask)

    def tempered(self, temperature: float) -> Tensor:
        """(P, B, T, C) log softmax(z / τ), uniform on padded frames."""
        if temperature == 1:
            return self.log_probs
        return masked_log_softmax(at_least_float32(self.logits) / temperature, self.mask)

    def probs(self, temperature: float) -> Tensor:
        """(P, B, T, C) softmax(z / τ), uniform on padded frames."""
        tempered = at_least_float32(self.logits) / temperature
        return tempered.masked_fill(~self.mask[..., None], 0.0).softmax(-1)

    def at(self, layer: str) -> Outputs | Tensor:
        """A layer by name; "output" is the last. Raises ConfigError if the network has not given it."""
        if layer == FINAL:
            return self
        if layer not in self.layers:
            near = did_you_mean(layer, self.layers)
            raise ConfigError(f"layer is {layer!r}, but the network gives {', '.join([FINAL, *self.layers])}{near}")
        return self.layers[layer]

    def detached(self) -> Outputs:
        """The same without gradient."""
        layers = {
            name: one.detached() if isinstance(one, Outputs) else one.detach() for name, one in self.layers.items()
        }
        return Outputs(self.logits.detach(), self.lengths, layers, self.labels)


class Term(nn.Module):
    """One weighted part of an objective. A module, so that what it learns, such as adaptors, is trained and resumed.

    Args:
        weight: a number of at least 0, or a schedule ``[[share of the updates, weight], ...]``, linear between.
        layer: of the student: "output", or a name that its network knows.
        other_layer: of the teacher or the past self; by default the same.

    Attributes:
        source: whose outputs it compares the student's with: "teacher", "past" (the model's own past), or None.
        optional: whether it can do without them, as before there is a past self; a term that cannot is left out then.
        passes: how many there must be of a batch.
    """

    source: str | None = None
    optional = False
    passes = 1

    def __init__(
        self,
        *,
        weight: float | Sequence[Sequence[float]] = 1.0,
        layer: str | int = FINAL,
        other_layer: str | int | None = None,
    ) -> None:
        super().__init__()
        self.weight, self.layer = _schedule(weight), str(layer)
        self.other_layer = self.layer if other_layer is None else str(other_layer)
        self.noted: dict[str, Tensor] = {}

    def weight_at(self, progress: float) -> float:
        """The weight when a share ``progress`` of the updates is done, this one included."""
        if isinstance(self.weight, float):
            return self.weight
        (before, low), *others = self.weight
        for after, high in others:
            if progress < after:
                return low if progress <= before else low + (high - low) * ((progress - before) / (after - before))
            before, low = after, high
        return low

    @property
    def off(self) -> bool:
        """Whether the weight is 0 throughout."""
        return self.weight == 0 if isinstance(self.weight, float) else all(weight == 0 for _, weight in self.weight)

    def setup(self, student: Outputs, other: Outputs | None) -> None:
        """Make what depends on sizes, such as adaptors: called once, before the optimiser is made."""

    def forward(self, student: Outputs | Tensor, other: Outputs | Tensor | None, labels: Labels) -> Tensor:
        """(B,), unweighted: of the student's layer, of the other's, and of the labels.

        Features come as `Features`. The other has no gradient.
        """
        raise NotImplementedError

    def note(self, **values: Tensor) -> None:
        """Say something beside the loss, such as the mean amount of smoothing: scalars for the history."""
        self.noted.update({name: value.detach() for name, value in values.items()})


@dataclass
class Features:
    """A layer's features: ``values`` (P, B, T, D), 0 on padded frames; ``lengths`` (B,); ``mask`` (B, T)."""

    values: Tensor
    lengths: Tensor
    mask: Tensor


class Objective(nn.ModuleDict):
    """Terms by name.

    A term with weight 0 is not computed, so not even a NaN comes from it. CTC, and the frame distillation and
    consistency beside it, are computed by one native kernel where there is one; that changes no value.
    """

    def __init__(self, **terms: Term) -> None:
        super().__init__(terms)

    def sources(self) -> set[str]:
        """Whose outputs are needed besides the student's."""
        return {term.source for term in self.values() if term.source and not term.off}

    def layers(self, source: str | None = None) -> set[str]:
        """The layers that are looked at, of the student or of a source."""
        terms = [term for term in self.values() if not term.off]
        names = (
            {term.layer for term in terms}
            if source is None
            else {term.other_layer for term in terms if term.source == source}
        )
        return names - {FINAL}

    def setup(self, student: Outputs, others: Mapping[str, Outputs]) -> None:
        """Let every term make what depends on the sizes of these outputs."""
        for term in self.values():
            if not term.off:
                term.setup(_layer(student, term.layer), _other(term, others))

    def forward(
        self,
        student: Outputs,
        others: Mapping[str, Outputs],
        labels: Labels,
        progress: float = 1.0,
        reduction: str = "sum",
    ) -> DistillationLoss:
        """The weighted total, and the unweighted terms.

        Args:
            student: of P passes.
            others: by the name of the source, "teacher" or "past": (1, B, T, C), or (P, B, T, C) where each pass had an
                input of its own. They get no gradient.
            labels: of the items.
            progress: share of the updates done, this one included: for weights with a schedule.
            reduction: "none" gives (B,), "sum" adds items up, "mean" divides that by B.
        """
        terms = {name: (term, term.weight_at(progress)) for name, term in self.items()}
        return weigh(terms, student, others, labels, reduction)


def weigh(
    terms: Mapping[str, tuple[Term, float]],
    student: Outputs,
    others: Mapping[str, Outputs],
    labels: Labels,
    reduction: str,
) -> DistillationLoss:
    """What `Objective` computes, of terms with their weights; one with weight 0 is left out.

    Raises:
        ValueError: an unknown reduction, or a weight that is negative or not finite.
    """
    from seqkd.losses.native import native_values

    check_choice("reduction", reduction, REDUCTIONS)
    for name, (_, weight) in terms.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"{name}_weight must be finite and not negative, got {weight}")
    others = {name: outputs.detached() for name, outputs in others.items()}
    active = {
        name: (term, weight)
        for name, (term, weight) in terms.items()
        if weight != 0 and (term.source is None or term.optional or term.source in others)
    }
    values, notes = native_values(terms, student, others, labels), {}
    for name, (term, _) in active.items():
        if name not in values:
            ours = _layer(student, term.layer)
            values[name] = term(ours, _other(term, others), labels_of(ours, labels))
            notes |= {f"{name}.{key}": value for key, value in term.noted.items()}
    found = {name: _reduced(values[name], reduction) for name in active}
    like = student.logits
    zero = _reduced(like.new_zeros(like.shape[1], dtype=torch.promote_types(like.dtype, torch.float32)), reduction)
    return DistillationLoss(sum((active[name][1] * value for name, value in found.items()), zero), found, notes)


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    """(B,) as the reduction wants it."""
    if reduction == "none":
        return losses
    return losses.sum() / (max(len(losses), 1) if reduction == "mean" else 1)


def labels_of(layer: Outputs | Features, labels: Labels) -> Labels:
    """The labels of a layer: its own, if it has any, or the objective's."""
    return layer.labels if isinstance(layer, Outputs) and layer.labels is not None else labels


def _layer(outputs: Outputs, name: str) -> Outputs | Features:
    layer = outputs.at(name)
    if not isinstance(layer, Tensor):
        return layer
    mask = frame_mask(outputs.lengths, layer.shape[2], layer.device)
    return Features(layer.masked_fill(~mask[..., None], 0.0), outputs.lengths, mask)


def _other(term: Term, others: Mapping[str, Outputs]) -> Outputs | Features | None:
    outputs = others.get(term.source) if term.source else None
    return None if outputs is None else _layer(outputs, term.other_layer)


def _schedule(weight: float | Sequence[Sequence[float]]) -> float | list[tuple[float, float]]:
    """A weight that has been checked: a number, or points in order."""
    if isinstance(weight, (int, float)) or not isinstance(weight, Sequence) or isinstance(weight, str):
        return float(at_least(0, weight=weight))
    points = list(weight)
    if not points or not all(isinstance(point, Sequence) and len(point) == 2 for point in points):
        raise ConfigError(f"weight is {weight!r}; expected a number, or [[share of the updates, weight], ...]")
    made = [(float(share(weight=at)), float(at_least(0, weight=value))) for at, value in points]
    if any(one[0] >= next_one[0] for one, next_one in pairwise(made)):
        raise ConfigError(f"weight is {weight!r}; expected shares of the updates that rise")
    return made
