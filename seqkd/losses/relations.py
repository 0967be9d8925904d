"""Relational distillation: items of a batch are to lie to each other as they do for the teacher.

Letters: P passes, B items, T frames, D features, N items that are related to each other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from seqkd.losses.adaptor import Adaptor, described
from seqkd.losses.base import whole
from seqkd.losses.features import unit
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Features, Labels, Outputs
from seqkd.settings import at_least


class RelationKd(Term):
    """RKD distance + 2 · RKD angle between the items of a batch, each one vector: a layer's mean over its valid frames.

    Distance: smooth L1 between the networks' distances of two items, each network's divided by their mean over the
    pairs that are apart; averaged over all N² pairs. Angle: smooth L1 between the cosines of the angle at item i
    between items j and k, averaged over all N³ ordered triples. Both as published, with pairs of an item and itself,
    which give 0, in the averages. Rotating, moving or scaling a network's vectors changes nothing, and the networks may
    differ in D and T. Averaged over passes.

    It relates items, so an item has no value of its own: each is given that of the batch, whose mean over items is the
    published mean. Items that coincide have no direction, and give each other no gradient.

    Args:
        angle: weight of the angles against the distances; 0 leaves them out.
        max_items: N at most. A batch of more is divided, in order, into groups of like size which are related each in
            itself, for angles take N³ floats; an item has the value of its group.
        adaptor: False (default) relates the layer itself, for which no widths need be equal. True has a linear map,
            BatchNorm and ReLU on the student's frames, as released: there, the one of the descriptors' loss is
            shared; here, it is the term's own, made by ``Objective.setup``.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`. CCSKD has 6, at four layers.

    Papers: RKD, CVPR 2019, 10.1109/cvpr.2019.00409, arXiv 1904.05068; in CCSKD, IEEE TCDS 2023,
    10.1109/tcds.2022.3232569 (author code).
    """

    source = "teacher"
    per_item = True

    def __init__(self, *, angle: float = 2.0, max_items: int = 64, adaptor: bool = False, **options: object) -> None:
        super().__init__(**options)
        self.angle, self.max_items = at_least(0, angle=angle), whole(2, max_items=max_items)
        self.wanted, self.adaptor = bool(adaptor), None

    def setup(self, student: Features | Outputs, other: Features | Outputs | None) -> None:
        """Make the adaptor, if there is to be one."""
        if other is not None and self.wanted:
            self.adaptor = Adaptor.between(student, other, True)

    def forward(self, student: Features, teacher: Features, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        ours, theirs = described(student, self.adaptor), described(teacher, None)  # (P, B, D), (1 or P, B, D)
        groups = max(math.ceil(ours.shape[1] / self.max_items), 1)
        theirs = theirs.expand(len(ours), *theirs.shape[1:])
        parts = zip(ours.tensor_split(groups, 1), theirs.tensor_split(groups, 1), strict=True)
        return torch.cat([self._value(s, t).expand(s.shape[1]) for s, t in parts])

    def _value(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Scalar, of one group: (P, N, D) and (P, N, D')."""
        if ours.shape[1] == 0:
            return ours.sum()
        between, between_theirs = (x[:, None] - x[:, :, None] for x in (ours, theirs))  # (P, N, N, D): x_j − x_i
        value = smooth_l1_loss(relative_distances(between), relative_distances(between_theirs))
        if self.angle:
            cosines, cosines_theirs = (u @ u.mT for u in map(unit, (between, between_theirs)))  # (P, N, N, N)
            value = value + self.angle * smooth_l1_loss(cosines, cosines_theirs)
        return value


def relative_distances(between: Tensor) -> Tensor:
    """Return the lengths (P, N, N) of vectors (P, N, N, D), divided by the mean of those that are not 0."""
    squared = between.square().sum(-1)
    apart = squared > 0
    # The root of 0 has an infinite slope, which would make the gradient NaN.
    lengths = torch.where(apart, squared.masked_fill(~apart, 1.0).sqrt(), 0.0)
    mean = lengths.sum((1, 2), keepdim=True) / apart.sum((1, 2), keepdim=True).clamp(min=1)
    return lengths / mean.masked_fill(mean == 0, 1.0)
