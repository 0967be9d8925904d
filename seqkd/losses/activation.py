"""A price on activations, so that units fall silent and can be pruned.

Letters: P passes, B items, T frames (1 where a layer has no time), D units.
"""

from __future__ import annotations

from torch import Tensor
from torch.linalg import vector_norm

from seqkd.ctc.frames import at_least_float32
from seqkd.losses.features import as_features
from seqkd.losses.objective import Features, Labels, Term


class ActivationL1(Term):
    """‖h‖₁ of a layer h, averaged over an item's valid frames and over passes.

    The penalty of a layer as it is ("plain") has a loophole where ReLU and a linear layer W₂ follow: W₁, b₁ divided
    by c and W₂ multiplied by c are the same network with 1/c of the penalty. Then keep a weight decay on W₂ of 1e-4 or
    more, or name a layer that holds h_j · ‖W₂[:, j]‖ (:func:`scaled_activations`; "scaled", ours), for which nothing
    is gained. A network with such a layer gives both by name, such as ``hidden`` and ``hidden_scaled``. Use ReLU before
    it: SiLU and GELU units never reach 0.

    Args:
        **options: ``weight`` (λ), ``layer``: see :class:`Term`.

    Paper: KDDP, Şener and Akbaş, Gazi University Journal of Science A 2022, 10.29109/gujsc.1141648. The exact form is
    not public; this follows its abstract: L1 on the activations of a fully connected layer while the teacher
    supervises.
    """

    def forward(self, student: Features, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        features = as_features(student)
        return features.values.abs().sum((-2, -1)).mean(0) / features.mask.sum(1).clamp(min=1)


def scaled_activations(activations: Tensor, next_weight: Tensor) -> Tensor:
    """h_j · ‖W₂[:, j]‖: what a unit can send on, whatever is shifted between it and the next layer's weights.

    Args:
        activations: h (..., D), of the units after ReLU.
        next_weight: W₂ (outputs, D) of the linear layer that follows, or (outputs, D, ...) of a convolution. Its norms
            get a gradient, too.

    Returns:
        (..., D), float32 at least.

    Raises:
        ValueError: the layer that follows takes another number of units.
    """
    if next_weight.dim() < 2 or next_weight.shape[1] != activations.shape[-1]:
        raise ValueError(
            f"next_weight is {tuple(next_weight.shape)} and activations have {activations.shape[-1]} units; expected "
            "(outputs, units, ...), the weight of the layer that takes these activations"
        )
    norms = vector_norm(at_least_float32(next_weight).transpose(0, 1).flatten(1), dim=1)
    return at_least_float32(activations) * norms
