"""A price on activations, so that units fall silent and can be pruned.

Letters: P passes, B items, T frames (1 where a layer has no time), D units.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.losses.features import as_features
from seqkd.losses.objective import Features, Labels, Term


class ActivationL1(Term):
    """‖h‖₁ of a layer h, averaged over an item's valid frames and over passes.

    The penalty of a layer as it is ("plain") has a loophole where ReLU and a linear layer W₂ follow: W₁, b₁ divided
    by c and W₂ multiplied by c are the same network with 1/c of the penalty. Then keep a weight decay on W₂ of 1e-4 or
    more, or name a layer that holds h_j · ‖W₂[:, j]‖ ("scaled", ours), for which nothing is gained. A network with such
    a layer gives both by name, as `seqkd.models.classifier.Classifier` does: ``hidden`` and ``hidden_scaled``. Use ReLU
    before it: SiLU and GELU units never reach 0.

    Args:
        **options: ``weight`` (λ), ``layer``: see :class:`Term`.

    Paper: KDDP, Şener and Akbaş, Gazi University Journal of Science A 2022, 10.29109/gujsc.1141648. The exact form is
    not public; this follows its abstract: L1 on the activations of a fully connected layer while the teacher
    supervises.
    """

    per_item = True

    def forward(self, student: Features, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        features = as_features(student)
        return features.values.abs().sum((-2, -1)).mean(0) / features.mask.sum(1).clamp(min=1)
