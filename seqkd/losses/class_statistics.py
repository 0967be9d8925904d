"""Losses on how the samples of a class lie: close to each other, and across those of other classes.

Letters: P passes, B items, T frames, D features, N samples, K classes that are there.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm

from seqkd.errors import ConfigError
from seqkd.losses.features import samples, unit
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Features, Labels
from seqkd.settings import at_least, one_of

VARIANTS = ("intended", "released")


class IntraClassVariance(Term):
    """Σ_k ‖Var_k‖: how far the samples of a class are spread in a layer. Averaged over passes.

    With one label an item, a sample is an item, the mean over its valid frames; with one label a frame, it is a frame.
    Samples without labels do not count. An item that MixUp has mixed counts for its first class.

    It relates samples, so an item has no value of its own: each is given that of the batch.

    Args:
        variant: "intended" (default): Var_k (D) is over the samples of class k, unbiased; a class with fewer than 2
            in the batch is left out. "released": Var_k (one number a sample of class k) is over the *features* of a
            sample, unbiased. It is least for flat feature vectors and does not measure a spread between samples.
        **options: ``weight``, ``layer``: see :class:`Term`. The release has .2.

    Raises:
        ConfigError: labels that are neither one an item nor one a frame; "released" on a layer of one feature.

    Paper: CSKD, ACCV 2022, 10.1007/978-3-031-26284-5_24 (author code).
    """

    per_item = True

    def __init__(self, *, variant: str = "intended", **options: object) -> None:
        super().__init__(**options)
        self.variant = one_of(VARIANTS, variant=variant)

    def forward(self, student: Features, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        values, classes = samples(student, labels)  # (P, N, D), (N,)
        members = (classes.unique()[:, None] == classes).to(values)  # (K, N)
        if self.variant == "released":
            if values.shape[-1] < 2:
                raise ConfigError("variant 'released' is on a layer of 1 feature; expected 2 or more to vary over")
            apart = (values - values.mean(-1, keepdim=True)).square()
            variances = apart.sum(-1) / (values.shape[-1] - 1)  # (P, N)
            norms = vector_norm(members * variances[:, None], dim=-1)  # (P, K)
        else:
            counts = members.sum(1)
            several = counts >= 2
            members, counts = members[several], counts[several, None]
            means = members @ values / counts  # (P, K, D)
            # Each sample from the mean of its own class; samples of the others get one of 0 and are not counted.
            apart = (values - members.mT @ means).square()
            norms = vector_norm(members @ apart / (counts - 1), dim=-1)
        return norms.sum(-1).mean().expand(len(labels.targets))


class OrthogonalProjection(Term):
    """1 − mean cos(same class) + γ · mean cos(different classes), over pairs of samples. Averaged over passes.

    Samples, and the value of an item, are as for :class:`IntraClassVariance`. A mean over no pairs is 0. As in the
    release, means are over the number of pairs plus 10⁻⁶. It takes N² floats.

    Args:
        gamma: γ.
        **options: ``weight``, ``layer``: see :class:`Term`. CSKD's release has .2, always beside its two losses; the
            paper's system of two losses is one without this term.

    Raises:
        ConfigError: labels that are neither one an item nor one a frame.

    Papers: orthogonal projection loss, ICCV 2021, arXiv 2103.14021; in CSKD, ACCV 2022, 10.1007/978-3-031-26284-5_24
    (author code).
    """

    per_item = True

    def __init__(self, *, gamma: float = 0.5, **options: object) -> None:
        super().__init__(**options)
        self.gamma = at_least(0, gamma=gamma)

    def forward(self, student: Features, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        values, classes = samples(student, labels)
        directions = unit(values)
        cosines = directions @ directions.mT  # (P, N, N)
        same = classes[:, None] == classes
        itself = torch.eye(len(classes), dtype=torch.bool, device=classes.device)
        value = 1 - _mean(cosines, same & ~itself) + self.gamma * _mean(cosines, ~same)
        return value.mean().expand(len(labels.targets))


def _mean(cosines: Tensor, pairs: Tensor) -> Tensor:
    """Average cosines (P, N, N) over the pairs (N, N): (P,), 0 if there are none."""
    return (cosines * pairs).sum((-2, -1)) / (pairs.sum().to(cosines) + 1e-6)
