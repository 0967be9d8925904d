"""Filterbank features of sound that is still coming in, equal to those of the whole.

Letters: N samples, T frames, F feature bins.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqkd.data.features import FeatureSettings, fbank


class IncrementalFbank:
    """`fbank` of a stream of samples, a frame as soon as the last sample of its window is there.

    Kaldi's first and last windows reach beyond the recording, where it is mirrored: the first frames need some samples
    more than their shift, and the last ones come with `finish`. What is kept is about two windows of samples.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        self.settings = settings
        self.window = int(settings.sample_rate * settings.frame_length_ms * 0.001)  # samples, as Kaldi rounds them
        self.shift = int(settings.sample_rate * settings.frame_shift_ms * 0.001)
        self.before = self.window // 2 - self.shift // 2  # samples by which the first window begins before the first
        self.frames = 0  # made so far
        self._held = torch.zeros(0)  # the samples from number _first on
        self._first = 0

    def push(self, samples: Tensor) -> Tensor:
        """Take the next samples (N,) in [-1, 1]; return the frames (T, F) that they complete, maybe none."""
        self._held = torch.cat([self._held, samples])
        end = self._first + len(self._held)
        ready = (end + self.before - self.window) // self.shift + 1
        if ready <= self.frames or end < self.before:
            return self._none()
        made = self._made(self._held, ready)
        # The end of the recording is mirrored: as much as a window must still be there then.
        begin = max(self._first, min(self.frames * self.shift - self.before, end - self.window))
        self._held, self._first = self._held[begin - self._first :], begin
        return made

    def finish(self) -> Tensor:
        """Return the frames (T, F) that are left when no more samples come."""
        end = self._first + len(self._held)
        if not self.frames:
            return self._none() if end < self.window else fbank(self._held, self.settings)
        total = (end + self.shift // 2) // self.shift
        if total <= self.frames:
            return self._none()
        return self._made(torch.cat([self._held, self._held.flip(0)]), total)

    def _made(self, samples: Tensor, total: int) -> Tensor:
        """Frames up to number ``total``, of samples that begin where those held do."""
        begin = self.frames * self.shift - self.before
        if begin < 0:
            samples = torch.cat([samples[:-begin].flip(0), samples])
            begin = 0
        else:
            begin -= self._first
        size = (total - self.frames - 1) * self.shift + self.window
        self.frames = total
        return fbank(samples[begin : begin + size], self.settings, edges=False)

    def _none(self) -> Tensor:
        return torch.zeros(0, self.settings.num_mel_bins)
