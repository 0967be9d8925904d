"""SpecAugment (Park et al., arXiv:1904.08779) on padded batches, on the batch's device.

torchaudio's masks ignore utterance lengths; these never look past an utterance's end. Letters: B, T, F.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class SpecAugment:
    """Widths in frames and mel bins. A time mask also never exceeds ``time_fraction`` of its utterance in all.

    ``warp`` is the greatest distance in frames that time warping moves an utterance's inner point.
    """

    freq_masks: int = 2
    freq_width: int = 10
    time_masks: int = 2
    time_width: int = 20
    time_fraction: float = 0.2
    warp: int = 0

    def stronger_time_masks(self, factor: float) -> SpecAugment:
        """More time masking, as consistency training between differently masked views wants (arXiv:2410.05101)."""
        return replace(
            self, time_masks=round(self.time_masks * factor), time_fraction=min(1.0, self.time_fraction * factor)
        )

    def mask(self, features: Tensor, lengths: Tensor, fill: Tensor) -> Tensor:
        """Mask (B, T, F) features, (B,) lengths, with ``fill`` (F,), usually the mean: what the model sees as zero."""
        batch, frames, bins = features.shape
        device = features.device
        total = torch.full((batch,), bins, device=device)
        hidden = spans(self.freq_masks, torch.full_like(total, self.freq_width), total, bins)[:, None, :]  # (B, 1, F)
        if self.time_masks:
            widest = (lengths * self.time_fraction / self.time_masks).long().clamp(max=self.time_width)
            hidden = hidden | spans(self.time_masks, widest, lengths, frames)[:, :, None]  # (B, T, F)
        return torch.where(hidden, fill, features)

    def warp_time(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Move a random inner point of each utterance by up to ``warp`` frames, stretching both sides linearly."""
        if not self.warp:
            return features
        batch, frames, bins = features.shape
        device = features.device
        last = (lengths - 1).clamp_min(0).float()
        margin = torch.minimum(torch.full_like(last, float(self.warp)), last / 2 - 1).clamp_min(0)
        source = margin + 1 + torch.rand(batch, device=device) * (last - 2 * margin - 2).clamp_min(0)
        goal = source + (2 * torch.rand(batch, device=device) - 1) * margin
        t = torch.arange(frames, device=device).float()[None]  # (1, T)
        source, goal, last = source[:, None], goal[:, None], last[:, None]
        before = t * source / goal.clamp_min(1e-3)
        after = source + (t - goal) * (last - source) / (last - goal).clamp_min(1e-3)
        position = torch.where(t <= goal, before, after)
        position = torch.where((t <= last) & (margin[:, None] > 0), position, t)
        low = position.floor().long().clamp(0, frames - 1)
        high = torch.minimum(low + 1, last.long().clamp(max=frames - 1))  # never a frame of padding
        share = (position - low)[..., None]
        take = lambda index: features.gather(1, index[..., None].expand(-1, -1, bins))  # noqa: E731
        return take(low) * (1 - share) + take(high) * share


def spans(count: int, widest: Tensor, total: Tensor, size: int) -> Tensor:
    """``count`` random spans a row, each up to ``widest`` (B,) long inside [0, ``total`` (B,)): (B, size) bool."""
    shape = (len(total), count, 1)
    device = total.device
    width = (torch.rand(shape, device=device) * (widest[:, None, None] + 1)).floor()
    start = (torch.rand(shape, device=device) * (total[:, None, None] - width + 1)).floor()
    position = torch.arange(size, device=device)
    return ((position >= start) & (position < start + width)).any(1)
