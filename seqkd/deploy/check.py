"""Whether exported networks give the outputs of PyTorch's model.

Letters: B batch, T frames, T' encoder frames, F feature bins, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from seqkd.decoding.greedy import greedy_decode
from seqkd.deploy.graphs import PROGRAM_FRAMES
from seqkd.deploy.network import OnnxNetwork
from seqkd.errors import SeqkdError
from seqkd.models.ctc import CtcModel

LIMIT = 1e-4  # greatest difference of a logit: float32 sums in another order give some 1e-6


class FeatureTable(Protocol):
    """Features (T, F) by utterance id."""

    def __getitem__(self, utterance: str, /) -> Tensor: ...


@dataclass(frozen=True)
class CheckSet:
    """Utterances to compare on: their ``features`` and how they share ``batches``; transcripts where known."""

    name: str
    features: FeatureTable
    batches: list[list[str]]
    references: dict[str, str] | None = None


@dataclass(frozen=True)
class Networks:
    """What was exported from a model, read back from its files; ``program`` is a `torch.export` module."""

    onnx: OnnxNetwork
    int8: OnnxNetwork
    program: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass
class Agreement:
    """Greatest absolute differences of valid logits from PyTorch's, each utterance by itself, and greedy units.

    ``alone``: ONNX, each utterance by itself; ``together``: ONNX in padded batches of up to ``largest_batch``;
    ``program``: model.pt2 in those batches; ``int8``: 8-bit weights, by itself. ``units`` and ``int8_units`` are
    greedy results by utterance id.
    """

    utterances: int = 0
    frames: int = 0
    largest_batch: int = 0
    alone: float = 0.0
    together: float = 0.0
    program: float = 0.0
    int8: float = 0.0
    units: dict[str, list[int]] = field(default_factory=dict)
    int8_units: dict[str, list[int]] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        """Utterances of which the network with 8-bit weights finds other units."""
        return sum(units != self.int8_units[name] for name, units in self.units.items())


@torch.no_grad()
def compare(
    model: CtcModel,
    networks: Networks,
    test: CheckSet,
    progress: Callable[[int], object] | None = None,
    blank_penalty: float = 0.0,
) -> Agreement:
    """Run all utterances of a test set through all networks, by themselves and in padded batches.

    ``progress`` is called with the utterances that were compared since the last call. ``blank_penalty`` is subtracted
    from the blank's logit before greedy units are taken.

    Raises SeqkdError, naming the utterance, when a logit of the ONNX network or of model.pt2 differs from PyTorch's
    by more than `LIMIT`, or when their greedy units do.
    """
    found = Agreement()
    for ids in test.batches:
        rows = [test.features[name] for name in ids]
        lengths = torch.tensor([len(row) for row in rows])
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # (B, T, F)
        together = networks.onnx(padded, lengths).logits
        program = networks.program(padded, lengths)[0] if padded.shape[1] >= PROGRAM_FRAMES else None
        for place, (name, row) in enumerate(zip(ids, rows, strict=True)):
            size = torch.tensor([len(row)])
            ours = model(row[None], size)
            frames, expected = int(ours.lengths), ours.logits[0]
            (units,) = greedy_decode(ours.logits, ours.lengths, blank_penalty=blank_penalty)
            where = f"utterance {name} of {test.name}"
            alone = networks.onnx(row[None], size).logits[0]
            found.alone = max(found.alone, difference(expected, alone, f"{where}, by itself, model.onnx"))
            batched = together[place, :frames]
            how = f"{where}, in a padded batch of {len(ids)}"
            found.together = max(found.together, difference(expected, batched, f"{how}, model.onnx"))
            if program is not None:
                by_program = program[place, :frames]
                found.program = max(found.program, difference(expected, by_program, f"{how}, model.pt2"))
            small = networks.int8(row[None], size).logits
            found.int8 = max(found.int8, (small[0] - expected).abs().max().item())
            found.units[name] = units
            (found.int8_units[name],) = greedy_decode(small, ours.lengths, blank_penalty=blank_penalty)
            found.frames += frames
        found.utterances += len(ids)
        found.largest_batch = max(found.largest_batch, len(ids))
        if progress is not None:
            progress(len(ids))
    return found


def random_features(model: CtcModel) -> CheckSet:
    """Noise with the mean and variance of a model's training features, of 1 to 1,000 frames, in several batches."""
    generator = torch.Generator().manual_seed(0)
    frames = [1000, 333, 100, 64, 37, 12, 7, 5, 4, 3, 2, 1]
    noise = {}
    for number in frames:
        unit = torch.randn(number, model.features.num_mel_bins, generator=generator)
        noise[f"random-{number}"] = unit / model.feature_scale + model.feature_mean
    names = list(noise)
    return CheckSet("random features", noise, [names, *([name] for name in names), names[5:]])


def difference(expected: Tensor, found: Tensor, what: str) -> float:
    """Greatest |found − expected| of two (T', C); raises SeqkdError, beginning with ``what``, when they disagree."""
    if found.shape != expected.shape:
        raise SeqkdError(f"{what} gives {tuple(found.shape)} logits, PyTorch {tuple(expected.shape)}; {_REMEDY}")
    apart = (found - expected).abs()
    greatest = apart.max().item()
    if not greatest <= LIMIT:  # NaN too
        frame, unit = divmod(int(apart.argmax()), apart.shape[1])
        raise SeqkdError(
            f"{what} gives logit {found[frame, unit].item():.6g} in frame {frame}, class {unit}, PyTorch "
            f"{expected[frame, unit].item():.6g}; they may differ by {LIMIT:g}, {_REMEDY}"
        )
    lengths = torch.tensor([len(expected)])
    ours, theirs = (greedy_decode(logits[None], lengths)[0] for logits in (expected, found))
    if ours != theirs:
        raise SeqkdError(f"{what} decodes to units {theirs}, PyTorch's model to {ours}; {_REMEDY}")
    return greatest


_REMEDY = "nothing was written; export it with the versions of torch and onnxruntime that local/constraints.txt names"
