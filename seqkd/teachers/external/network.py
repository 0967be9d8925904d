"""A frozen CTC network whose input is waveforms: what the adapters of other libraries have in common.

Utterances go through the network one at a time. Many such networks normalise over time or were trained without masks,
so that padding changes what they say; this way an answer depends on nothing but its utterance, to the last bit.

Letters: n samples, T frames, C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from seqkd.errors import ConfigError, DataError
from seqkd.teachers.external.audio import Speech, check_rate
from seqkd.teachers.external.vocabulary import Vocabulary


class NetworkTeacher:
    """A `FrameTeacher` that runs a network on samples."""

    def __init__(
        self,
        name: str,
        network: nn.Module,
        ask: Callable[[Tensor], Tensor],
        *,
        vocabulary: Vocabulary,
        frame_shift_ms: float,
        sample_rate: int,
        shortest: int,
        settings: object = None,
    ) -> None:
        """Freeze the network.

        Args:
            name: for people.
            network: has all parameters.
            ask: samples (n,) on the CPU to logits (T, C) on any device.
            vocabulary: C labels.
            frame_shift_ms: time between frames.
            sample_rate: in Hz.
            shortest: least n that gives a frame.
            settings: what else the answer depends on, as JSON can hold it; part of the hash.
        """
        network.requires_grad_(False).eval()
        self.name, self.vocabulary, self.frame_shift_ms, self.sample_rate = (
            name,
            vocabulary,
            frame_shift_ms,
            sample_rate,
        )
        self.hash = parameters_hash(network, [vocabulary.labels, vocabulary.blank, sample_rate, settings])
        self.parameter_count = sum(parameter.numel() for parameter in network.parameters())
        self._ask, self._shortest = ask, shortest

    @torch.no_grad()
    def log_probs(self, speech: Sequence[Speech]) -> list[Tensor]:
        """See FrameTeacher.

        Raises:
            ConfigError: another sample rate, or labels and classes that disagree in number.
            DataError: an utterance that is too short, or one that makes the network say NaN.
        """
        return [self._answer(one) for one in speech]

    def _answer(self, speech: Speech) -> Tensor:
        check_rate(speech, self.sample_rate, self.name)
        check_length(speech, self._shortest, self.name)
        logits = self._ask(speech.samples).float().cpu()
        if logits.shape[1] != len(self.vocabulary):
            raise ConfigError(
                f"{self.name} gives {logits.shape[1]} classes and has {len(self.vocabulary)} labels; "
                "name the vocabulary that it was trained with"
            )
        log_probs = logits.log_softmax(-1)
        if log_probs.isnan().any():
            raise DataError(f"{self.name} gives NaN for utterance {speech.id!r}; check its weights and the audio")
        return log_probs


def check_length(speech: Speech, shortest: int, teacher: str) -> None:
    """Raise DataError if there are fewer than ``shortest`` samples."""
    if len(speech.samples) < shortest:
        have, need = (1000 * n / (speech.sample_rate or 1) for n in (len(speech.samples), shortest))
        raise DataError(
            f"utterance {speech.id!r} lasts {have:g} ms and {teacher} needs at least {need:g} ms; remove it"
        )


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """How many samples one frame of stacked convolutions sees."""
    field, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field


def parameters_hash(network: nn.Module, settings: object) -> str:
    """Short hash of all parameters and buffers, and of settings that JSON can hold; the same from whatever file."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, value in sorted(network.state_dict().items()):
        value = value.detach().cpu().contiguous()
        digest.update(f"\0{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
