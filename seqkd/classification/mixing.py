"""MixUp: pairs of clips are mixed, inputs and targets alike (Zhang et al., ICLR 2018, arXiv:1710.09412).

Letters: B clips.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from seqkd.classification.batches import ClipBatch


def mix(batch: ClipBatch, alpha: float) -> ClipBatch:
    """Mix each clip with another of the batch, in a share drawn from Beta(α, α); α = 0 leaves the batch as it is.

    The teacher is given the mixture, too. Of clips of different lengths the longer one goes on alone.
    """
    if alpha == 0:
        return batch
    count, device = len(batch.rows), batch.features.device
    concentration = torch.full((count,), float(alpha), device=device)
    share = torch.distributions.Beta(concentration, concentration).sample()
    other = torch.randperm(count, device=device)
    reach = lambda lengths: torch.arange(batch.features.shape[1], device=device) < lengths[:, None]  # noqa: E731
    ours, theirs = reach(batch.lengths), reach(batch.lengths[other])
    part = torch.where(ours & theirs, share[:, None], ours.to(share))[..., None]  # (B, T, 1): 0 or 1 where one is alone
    features = part * batch.features + (1 - part) * batch.features[other]
    lengths = torch.maximum(batch.lengths, batch.lengths[other])
    return replace(batch, features=features, lengths=lengths, mixed=batch.targets[other], share=share)
