"""MixUp: pairs of clips are mixed, inputs and targets alike (Zhang et al., ICLR 2018, arXiv:1710.09412).

Letters: B clips.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from seqkd.classification.batches import ClipBatch


def mix(batch: ClipBatch, alpha: float) -> ClipBatch:
    """Mix each clip with another of the batch, in a share drawn from Beta(α, α); α = 0 leaves the batch as it is.

    The teacher is given the mixture, too. Clips of different lengths end with the shorter one's silence.
    """
    if alpha == 0:
        return batch
    count, device = len(batch.rows), batch.features.device
    concentration = torch.full((count,), float(alpha), device=device)
    share = torch.distributions.Beta(concentration, concentration).sample()
    other = torch.randperm(count, device=device)
    part = share[:, None, None]
    features = part * batch.features + (1 - part) * batch.features[other]
    lengths = torch.maximum(batch.lengths, batch.lengths[other])
    return replace(batch, features=features, lengths=lengths, mixed=batch.targets[other], share=share)
