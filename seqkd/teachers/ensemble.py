"""Several CTC teachers that answer as one.

Letters: K teachers, B batch, T feature frames, F feature bins, T' output frames, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.knowledge import mix
from seqkd.teachers.base import align_frames, check_compatible
from seqkd.teachers.checkpoint import CheckpointTeacher


class EnsembleTeacher(torch.nn.Module):
    """The weighted mean of the distributions of K teachers of one clock and tokenizer.

    CTC teachers that were trained alone spike at different frames, and their mean is a blur of half spikes; train
    those after the first to spike where the first does (``seqkd.losses.guided_ctc_loss``; Kurata & Audhkhasi,
    "Guiding CTC posterior spike timings for improved posterior fusion and knowledge distillation", Interspeech 2019).

    Raises:
        ConfigError: teachers that differ in units, features or frame rate, or weights that do not fit them.
    """

    def __init__(
        self, teachers: Sequence[CheckpointTeacher], weights: Sequence[float], temperature: float = 1.0
    ) -> None:
        super().__init__()
        first = teachers[0]
        for other in teachers[1:]:
            check_compatible(
                other,
                classes=first.classes,
                frame_shift_ms=first.frame_shift_ms,
                tokenizer_hash=first.tokenizer_hash,
                features=first.features,
            )
        if len(weights) != len(teachers):
            raise ConfigError(f"there are {len(weights)} weights for {len(teachers)} teachers; give each teacher one")
        self.teachers, self.weights, self.temperature = torch.nn.ModuleList(teachers), tuple(weights), temperature
        self.classes, self.frame_shift_ms, self.features = first.classes, first.frame_shift_ms, first.features
        self.tokenizer_hash, self.name = first.tokenizer_hash, "+".join(one.name for one in teachers)

    @property
    def fill(self) -> Tensor:
        """See Teacher; that of the first."""
        return self.teachers[0].fill

    def train(self, mode: bool = True) -> EnsembleTeacher:
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def logits(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See Teacher; softmax(logits / temperature) is the mean of the teachers' distributions at that temperature."""
        answers = [teacher.logits(features, lengths) for teacher in self.teachers]
        first, own_lengths = answers[0]
        aligned = [align_frames(logits, others, first.shape[1], own_lengths)[0] for logits, others in answers]
        log_probs = [(logits.float() / self.temperature).log_softmax(-1).flatten(0, 1) for logits in aligned]
        mean = mix(log_probs, self.weights).unflatten(0, first.shape[:2])  # (B, T', C)
        return (self.temperature * mean).to(first.dtype), own_lengths
