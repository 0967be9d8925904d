"""SpecAugment (Park et al., arXiv:1904.08779) on padded batches, on the batch's device.

torchaudio's masks ignore utterance lengths, and lhotse's come from Python's and torch's global generators, utterance by
utterance, so that no book can replay them. These never look past an utterance's end, and numbers in [0, 1) decide them.
Letters: B utterances, T frames, F mel bins, M masks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from seqkd.settings import at_least, less_than, one_of, share

RULES = ("lhotse", "even")


@dataclass(frozen=True)
class Draws:
    """The numbers in [0, 1) that decide what happens to each utterance of a batch.

    ``warp`` (B, 2), ``freq`` and ``time`` (B, M, 2): where a point or span is, and how far or wide; ``voice`` (B,).
    """

    warp: Tensor
    freq: Tensor
    time: Tensor
    voice: Tensor


@dataclass(frozen=True)
class SpecAugment:
    """Which masks an utterance gets, and how far time is warped in it.

    Attributes:
        freq_masks: frequency masks.
        freq_width: of a frequency mask, in mel bins.
        time_masks: time masks, at most.
        time_width: of a time mask at most, in frames.
        time_fraction: share of its utterance that time masks hide together, at most.
        warp: the greatest distance in frames that time warping moves an utterance's inner point.
        mel_warp: the greatest share by which the mel axis is stretched or shrunk, as a shorter or longer vocal tract
            does; 0.05, say. A teacher still recognises the words in such input; at 0.1 ours did not.
        rule: how ``time_fraction`` bounds the masks of an utterance of T frames. "lhotse" (default), that of lhotse and
            so of icefall, from where published settings come: there are n = min(time_masks, ⌈time_fraction · T /
            time_width⌉) masks, each below min(time_width, ⌊time_fraction · T / n⌋) frames wide. Few long masks: with
            lhotse's 10 masks of 100 frames and share 0.15, two of up to 91 frames at T = 1,230. "even": all
            ``time_masks`` are drawn, each of up to min(time_width, ⌊time_fraction · T / time_masks⌋) frames: ten of up
            to 18 there, which hide no word.

    lhotse also leaves a tenth of the utterances as they are (p = 0.9); these masks are drawn for all.
    """

    freq_masks: int = 2
    freq_width: int = 10
    time_masks: int = 2
    time_width: int = 20
    time_fraction: float = 0.2
    warp: int = 0
    mel_warp: float = 0.0
    rule: str = "lhotse"

    def __post_init__(self) -> None:
        one_of(RULES, rule=self.rule)
        at_least(0, freq_masks=self.freq_masks, freq_width=self.freq_width, warp=self.warp)
        at_least(0, time_masks=self.time_masks, time_width=self.time_width)
        share(time_fraction=self.time_fraction)
        less_than(0, 1, mel_warp=self.mel_warp)

    def stronger_time_masks(self, factor: float) -> SpecAugment:
        """More time masking, as consistency training between differently masked views wants (arXiv:2410.05101)."""
        return replace(
            self, time_masks=round(self.time_masks * factor), time_fraction=min(1.0, self.time_fraction * factor)
        )

    def draw(self, batch: int, device: torch.device | str) -> Draws:
        """What torch's generator of the device says."""
        uniform = lambda *shape: torch.stack([torch.rand(shape, device=device) for _ in range(2)], -1)  # noqa: E731
        warp = uniform(batch) if self.warp else torch.zeros(batch, 2, device=device)
        freq, time = uniform(batch, self.freq_masks), uniform(batch, self.time_masks)
        voice = torch.rand(batch, device=device) if self.mel_warp else torch.zeros(batch, device=device)
        return Draws(warp, freq, time, voice)

    def replay(self, ids: Sequence[str], seeds: Sequence[int], device: torch.device | str) -> Draws:
        """The draws of augmentation seeds: those of an utterance's seed are the same in every batch and process."""
        count = 2 * (1 + self.freq_masks + self.time_masks) + 1
        rows = torch.stack([_uniform(f"{u}\0{seed}", count) for u, seed in zip(ids, seeds, strict=True)]).to(device)
        pairs = rows[:, :-1].unflatten(1, (-1, 2))  # (B, 1 + M + M, 2)
        freq, time = pairs[:, 1 : 1 + self.freq_masks], pairs[:, 1 + self.freq_masks :]
        return Draws(pairs[:, 0], freq, time, rows[:, -1])

    def hidden(self, features: Tensor, lengths: Tensor, draws: Draws) -> Tensor:
        """What of the features (B, T, F), lengths (B,), is masked: bool, (B, T, F)."""
        batch, frames, bins = features.shape
        total = torch.full((batch,), bins, device=features.device)
        spans = inclusive_spans if self.rule == "even" else exclusive_spans
        masked = spans(draws.freq, torch.full_like(total, self.freq_width), total, bins)[:, None, :]  # (B, 1, F)
        if self.time_masks:
            number, widest = self.time_limits(lengths)
            taken = torch.arange(self.time_masks, device=lengths.device) < number[:, None]  # (B, M)
            masked = masked | spans(draws.time, taken * widest[:, None], lengths, frames)[:, :, None]  # (B, T, F)
        return masked.expand(batch, frames, bins)

    def time_limits(self, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) how many time masks utterances of ``lengths`` (B,) frames get, and (B,) how wide each is at most."""
        if self.rule == "even":
            widest = (lengths * self.time_fraction / self.time_masks).long().clamp(max=self.time_width)
            return torch.full_like(lengths, self.time_masks), widest
        hidden = lengths.double() * self.time_fraction  # frames, at most; in double precision as lhotse's
        number = (hidden / max(1, self.time_width)).ceil().clamp(max=self.time_masks)
        widest = (hidden / number.clamp_min(1)).floor().clamp(max=self.time_width)
        return number.long(), widest.long()

    def warp_time(self, features: Tensor, lengths: Tensor, draws: Draws) -> Tensor:
        """Move a drawn inner point of each utterance by up to ``warp`` frames, stretching both sides linearly."""
        if not self.warp:
            return features
        frames, bins = features.shape[1:]
        device = features.device
        last = (lengths - 1).clamp_min(0).float()
        margin = torch.minimum(torch.full_like(last, float(self.warp)), last / 2 - 1).clamp_min(0)
        source = margin + 1 + draws.warp[:, 0] * (last - 2 * margin - 2).clamp_min(0)
        goal = source + (2 * draws.warp[:, 1] - 1) * margin
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

    def warp_voice(self, features: Tensor, draws: Draws) -> Tensor:
        """The features (B, T, F) in another voice each: bin f takes what stands at f · (1 ± ``mel_warp``), linearly.

        Beyond the last bin that one goes on. Frames stay where they are, so that stored targets stay valid.
        """
        if not self.mel_warp:
            return features
        bins = features.shape[-1]
        scale = 1 + self.mel_warp * (2 * draws.voice - 1)  # (B,)
        position = (torch.arange(bins, device=features.device) * scale[:, None]).clamp(max=bins - 1)  # (B, F)
        low = position.floor().long()
        high = (low + 1).clamp(max=bins - 1)
        share = (position - low)[:, None]
        take = lambda index: features.gather(2, index[:, None].expand_as(features))  # noqa: E731
        return take(low) * (1 - share) + take(high) * share


def augment_of(settings: Mapping[str, Any], system: Mapping[str, Any]) -> SpecAugment:
    """A role's augmentation (``student.augment``) as a system changes it: ``time_mask_factor``, ``mel_warp``."""
    augment = SpecAugment(**settings).stronger_time_masks(system["time_mask_factor"])
    return replace(augment, mel_warp=system["mel_warp"]) if system["mel_warp"] else augment


def inclusive_spans(draws: Tensor, widest: Tensor, total: Tensor, size: int) -> Tensor:
    """Spans in [0, ``total`` (B,)), one a pair of ``draws`` (B, M, 2): what they cover, (B, size) bool.

    Each is 0 to ``widest`` long, (B,) or (B, M), both included; and may be anywhere, at the very end too.
    """
    return _covered(draws, _by_mask(widest) + 1, total, 1, size)


def exclusive_spans(draws: Tensor, widest: Tensor, total: Tensor, size: int) -> Tensor:
    """As `inclusive_spans`, drawn as lhotse and the paper do: shorter than ``widest``, and never at the very end."""
    return _covered(draws, _by_mask(widest), total, 0, size)


def _covered(draws: Tensor, widths: Tensor, total: Tensor, more: int, size: int) -> Tensor:
    """By spans of one of so many ``widths`` (B, M or 1), from 0 on, that begin at one of total − width + ``more``."""
    width = (draws[..., 0] * widths).floor()[..., None]  # (B, M, 1)
    start = (draws[..., 1:] * (total[:, None, None] - width + more)).floor()
    position = torch.arange(size, device=draws.device)
    return ((position >= start) & (position < start + width)).any(1)


def _by_mask(widest: Tensor) -> Tensor:
    return widest if widest.dim() == 2 else widest[:, None]


def _uniform(key: str, count: int) -> Tensor:
    """Numbers in [0, 1) that a key decides."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)
    return torch.rand(count, generator=torch.Generator().manual_seed(seed))
