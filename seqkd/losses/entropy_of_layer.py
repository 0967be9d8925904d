"""A price on the entropy of a layer of logits, such as the block weights of a virtual attention mechanism (VAM).

Letters: P passes, B items, J rows (output blocks, on the axis of frames), G classes of a row (input blocks).
"""

from __future__ import annotations

from torch import Tensor

from seqkd.losses.features import as_features
from seqkd.losses.objective import Features, Labels, Term


class LayerEntropy(Term):
    """H(softmax(a_j)), Σ over G, averaged over an item's valid rows and over passes; in nats.

    For VAM a network gives its block log-weights as a layer of `Features` (1, B, J, G), the same for all items
    (``expand`` costs nothing), with J as every length, and already divided by VAM's temperature. A row of a layer with
    fewer input blocks is filled up with −inf. Layers of VAM with J rows each in one such layer give the mean of their
    entropies, so γ Σ_l mean_j H_lj is a weight of γ times their number.

    Args:
        **options: ``weight`` (γ), ``layer``: see :class:`Term`.

    Paper: KDExplainer, IJCAI 2021, 10.24963/ijcai.2021/444, arXiv 2105.04181. Its code has no VAM; the form of this
    price follows second-hand accounts.
    """

    per_item = True

    def forward(self, student: Features, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,) in nats."""
        features = as_features(student)
        log_probs = features.values.log_softmax(-1)  # (P, B, J, G)
        probs = log_probs.exp()
        entropies = -(probs * log_probs.masked_fill(probs == 0, 0.0)).sum(-1)
        return entropies.masked_fill(~features.mask, 0.0).sum(-1).mean(0) / features.mask.sum(1).clamp(min=1)
