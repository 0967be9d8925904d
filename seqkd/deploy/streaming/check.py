"""Whether an exported step gives, piece by piece, what PyTorch's model gives of the whole, and how far 8 bits are off.

Letters: T' encoder frames, F feature bins, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqkd.decoding import greedy_decode
from seqkd.deploy.bundle import STREAM, STREAM_INT8
from seqkd.deploy.check import CheckSet, difference
from seqkd.deploy.streaming.network import OnnxStep
from seqkd.errors import ConfigError
from seqkd.models.ctc import CtcModel

UTTERANCES = 50  # of each test set
FACTOR = 4  # feature frames of an encoder frame


def check_chunk(model: CtcModel) -> None:
    """Raise ConfigError when a model's chunk is a whole utterance, which no step can be."""
    if model.streams and not model.encoder.chunk:
        raise ConfigError(
            "the model's chunk is 0, a whole utterance, which cannot come in steps; train it with another "
            "student.model.chunk, such as 16"
        )


def describe_stream(model: CtcModel, directory: Path, sets: Sequence[CheckSet]) -> dict[str, Any]:
    """Compare both steps of an export with the model on some utterances of each set; return export.json's entry.

    The step in float32 must agree. That with 8-bit weights is measured: its largest difference, and how many of the
    utterances it finds other units in.

    Raises SeqkdError, naming the utterance, when a logit differs by more than `seqkd.deploy.check.LIMIT`.
    """
    chunk = model.encoder.chunk
    step, small = OnnxStep(directory / STREAM), OnnxStep(directory / STREAM_INT8)
    largest, count, apart, changed = 0.0, 0, 0.0, 0
    for test in sets:
        names = [name for batch in test.batches for name in batch][:UTTERANCES]
        for name in names:
            features = test.features[name]
            with torch.no_grad():
                expected = model(features[None], torch.tensor([len(features)])).logits[0]
            found = stream_logits(step, features, chunk, model.encoder.delay)
            largest = max(largest, difference(expected, found, f"utterance {name} of {test.name}, {STREAM}"))
            coarse = stream_logits(small, features, chunk, model.encoder.delay)
            apart = max(apart, float((coarse - expected).abs().max()))
            length = torch.tensor([len(found)])
            changed += greedy_decode(coarse[None], length) != greedy_decode(found[None], length)
        count += len(names)
    shapes = {name: list(value.shape) for name, value in step.state().items()}
    return {
        "chunk": chunk,
        "delay": model.encoder.delay,
        "state": shapes,
        "check": {
            "utterances": count,
            "largest": largest,
            "int8_largest": apart,
            "int8_utterances_changed": changed,
        },
    }


def stream_logits(step: OnnxStep, features: Tensor, chunk: int, delay: int) -> Tensor:
    """The logits (T', C) of features (T, F), by steps of ``chunk`` encoder frames; outputs are ``delay`` late."""
    frames = -(-len(features) // FACTOR)
    state, outputs = step.state(), []
    for place in range(0, frames + delay, chunk):
        piece = features[FACTOR * place : FACTOR * (place + chunk)]
        padded = torch.nn.functional.pad(piece, (0, 0, 0, FACTOR * chunk - len(piece)))
        logits, state = step(padded[None], torch.tensor([len(piece)]), state)
        outputs.append(logits[0])
    return torch.cat(outputs)[delay : delay + frames]
