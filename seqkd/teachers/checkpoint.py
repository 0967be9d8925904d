"""A model directory of our own as a teacher."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from seqkd.models.ctc import CtcModel, CtcOutput, load_model
from seqkd.models.storage import model_hash


class CheckpointTeacher(torch.nn.Module):
    """A frozen CtcModel. ``train()`` has no effect on it: dropout stays off whatever its owner does."""

    def __init__(self, model: CtcModel, tokenizer_hash: str, name: str) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.eval()
        self.tokenizer_hash, self.name = tokenizer_hash, name
        self.classes, self.frame_shift_ms, self.features = model.classes, model.frame_shift_ms, model.features

    @property
    def fill(self) -> Tensor:
        """See Teacher."""
        return self.model.feature_mean

    @classmethod
    def from_directory(cls, directory: Path) -> CheckpointTeacher:
        """Load a directory written by ``seqkd train``."""
        model, tokenizer = load_model(directory)
        return cls(model, tokenizer.hash, model_hash(directory))

    def train(self, mode: bool = True) -> CheckpointTeacher:
        """Stay in eval mode."""
        return super().train(False)

    def logits(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See Teacher."""
        output = self.outputs(features, lengths)
        return output.logits, output.lengths

    @torch.no_grad()
    def outputs(self, features: Tensor, lengths: Tensor, layers: Collection[str] = ()) -> CtcOutput:
        """What the model gives, with its inner layers by name."""
        return self.model(features, lengths, layers)
