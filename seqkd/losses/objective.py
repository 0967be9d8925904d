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
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn

from seqkd.ctc.arguments import REDUCTIONS, check_choice
from seqkd.errors import ConfigError
from seqkd.losses.base import DistillationLoss
from seqkd.losses.native import native_values
from seqkd.losses.outputs import FINAL, Features, Labels, Outputs, labels_of, layer_of
from seqkd.settings import at_least, share


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
        progress: share of the updates done, this one included; for what a weight's schedule cannot do.
        per_item: whether its value of an item is one number, such as a mean over frames, rather than a sum over
            positions. Where losses are divided by the number of positions (``Labels.by_position``), it is multiplied by
            the item's, so that a mean over items is left.
        several: whether it compares with several teachers, or draws of one, on the first axis of their outputs.
        refuses: which of the labels' ``mixed`` and ``class_weights`` it does not know what to do with.
    """

    source: str | None = None
    optional = False
    passes = 1
    per_item = False
    several = False
    refuses: tuple[str, ...] = ()
    progress = 1.0
    kernel: str | None = None  # its part in the native CTC kernels, of this very class: see `seqkd.losses.native`

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
        """Whether the weight is 0 at every update, so that the term is never computed."""
        return self.weight == 0 if isinstance(self.weight, float) else all(weight == 0 for _, weight in self.weight)

    def setup(self, student: Outputs, other: Outputs | None) -> None:
        """Make what depends on sizes, such as adaptors: called once, before the optimiser is made."""

    def forward(self, student: Outputs | Tensor, other: Outputs | Tensor | None, labels: Labels) -> Tensor:
        """Compute each item's loss, (B,), unweighted, of the student's layer, the other's, and the labels.

        Features come as `Features`. The other has no gradient.
        """
        raise NotImplementedError

    def note(self, **values: Tensor) -> None:
        """Record something beside the loss, such as the mean amount of smoothing: scalars for the history."""
        self.noted.update({name: value.detach() for name, value in values.items()})


class Objective(nn.ModuleDict):
    """Terms by name: their weighted sum is trained on.

    A term with weight 0 is not computed, so not even a NaN comes from it. CTC, and the frame distillation and
    consistency beside it, are computed by one native kernel where there is one; that changes no value.

    Args:
        **terms: by the name that each has in `DistillationLoss.terms`, in the order in which they are added up. Each
            has its weight: see `Term`.

    Called with (P, B, T, C) outputs of the student and others', and labels: see :meth:`forward`.
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
                term.setup(layer_of(student, term.layer), _other(term, others))

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
            reduction: "none" gives (B,), "sum" adds items up, "mean" divides that by B, or by the number of labels
                where ``labels.by_position`` says so.

        Raises:
            ConfigError: several teachers for a term that compares with one; labels that MixUp has mixed, or weights of
                classes, for a term that refuses them.

        Terms are computed in float32 at least, whatever `torch.autocast` says.
        """
        for term in self.values():
            term.progress = progress
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
        ConfigError: as `Objective`.
    """
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
    for name, (term, _) in active.items():
        _check_fits(name, term, others, labels)
    like, notes = student.logits, {}
    with _in_full_precision(like.device.type):
        values = native_values(terms, student, others, labels)
        for name, (term, _) in active.items():
            if name not in values:
                ours = layer_of(student, term.layer)
                values[name] = term(ours, _other(term, others), labels_of(ours, labels))
                notes |= {f"{name}.{key}": value for key, value in term.noted.items()}
            if term.per_item and labels.by_position:
                values[name] = values[name] * labels.counts.to(values[name])
        found = {name: _reduced(values[name], reduction, labels) for name in active}
        zero = like.new_zeros(like.shape[1], dtype=torch.promote_types(like.dtype, torch.float32))
        total = sum((active[name][1] * value for name, value in found.items()), _reduced(zero, reduction, labels))
    return DistillationLoss(total, found, notes)


def _in_full_precision(device: str) -> AbstractContextManager:
    """Keep `torch.autocast` from computing the products of float32 features in half precision."""
    if torch.compiler.is_compiling() or (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return torch.autocast(device, enabled=False)
    return nullcontext()  # which costs small problems less


def _check_fits(name: str, term: Term, others: Mapping[str, Outputs], labels: Labels) -> None:
    """Raise ConfigError for teachers or labels that a term cannot take."""
    teachers = getattr(others.get(term.source), "teachers", 1) if term.source else 1
    if teachers > 1 and not term.several:
        raise ConfigError(one_teacher_said(name, term, teachers))
    for what in term.refuses:
        if getattr(labels, what) is not None:
            raise ConfigError(refusal_said(name, term, what))


def one_teacher_said(name: str, term: Term, teachers: int) -> str:
    """That there are several teachers for a term that compares with one."""
    return (
        f"term {name} ({type(term).__name__}) compares with one teacher, but there are {teachers} teachers or draws; "
        "name one, or take a term for several: MultiTeacherKd, or UncertaintyKd"
    )


def refusal_said(name: str, term: Term, what: str) -> str:
    """That a term cannot take what ``refuses`` names."""
    said = {
        "mixed": "labels that MixUp has mixed; set mixup to 0",
        "class_weights": "weights of classes; leave them out (classes.weights=none)",
    }
    return f"term {name} ({type(term).__name__}) cannot take {said[what]}, or take another term"


def _reduced(losses: Tensor, reduction: str, labels: Labels) -> Tensor:
    """Reduce the losses (B,) of the items."""
    if reduction == "none":
        return losses
    if reduction == "mean" and labels.by_position:
        return losses.sum() / labels.counts.sum().clamp(min=1).to(losses)
    return losses.sum() / (max(len(losses), 1) if reduction == "mean" else 1)


def _other(term: Term, others: Mapping[str, Outputs]) -> Outputs | Features | None:
    outputs = others.get(term.source) if term.source else None
    return None if outputs is None else layer_of(outputs, term.other_layer)


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
