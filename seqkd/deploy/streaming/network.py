"""The step of an exported streaming model, run by onnxruntime, and an opened export directory that has one.

Letters: B streams, n encoder frames of a step, F feature bins, C classes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seqkd.data.features import FeatureSettings
from seqkd.data.tokens import Tokenizer
from seqkd.deploy.bundle import STREAM, STREAM_INT8, check_file, read_export
from seqkd.deploy.network import open_session
from seqkd.deploy.streaming.graph import NEXT, STATE
from seqkd.deploy.words import FrameTimes
from seqkd.errors import ConfigError, DataError

State = dict[str, np.ndarray]


class OnnxStep:
    """`CtcModel.step` of ``stream.onnx``. ``threads`` are onnxruntime's for one call."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._session = open_session(path, threads)
        before, _ = STATE.split("{}")
        self._inputs = {one.name: one for one in self._session.get_inputs()}
        self.names = [name.removeprefix(before) for name in self._inputs if name.startswith(before)]

    def state(self, batch: int = 1) -> State:
        """Zeros, with which the first step of ``batch`` streams begins."""
        found = {}
        for name in self.names:
            described = self._inputs[STATE.format(name)]
            sizes = [size if isinstance(size, int) else batch for size in described.shape]
            found[name] = np.zeros(sizes, np.int64 if "int64" in described.type else np.float32)
        return found

    def __call__(self, features: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """Features (B, 4n, F) and how many of them belong, (B,), to logits (B, n, C) and the new state."""
        inputs = {"features": features.numpy(), "lengths": lengths.numpy()}
        inputs |= {STATE.format(name): value for name, value in state.items()}
        logits, *after = self._session.run(["logits", *map(NEXT.format, self.names)], inputs)
        return torch.from_numpy(logits), dict(zip(self.names, after, strict=True))


@dataclass(frozen=True)
class StreamBundle:
    """What recognising a stream needs.

    Attributes:
        network: one step.
        tokenizer: of the units.
        features: settings of the network's input.
        times: where output frames lie in time.
        chunk: encoder frames of a step.
        delay: encoder frames by which outputs are late.
        blank_penalty: subtracted from the blank's logit.
    """

    network: OnnxStep
    tokenizer: Tokenizer
    features: FeatureSettings
    times: FrameTimes
    chunk: int
    delay: int
    blank_penalty: float = 0.0

    @property
    def latency(self) -> float:
        """Seconds that a frame waits at most: for the end of its chunk, and for the look-ahead."""
        return (self.chunk + self.delay) * self.times.shift


def open_stream(directory: Path, *, chunk: int | None = None, int8: bool = False, threads: int = 1) -> StreamBundle:
    """Open an export directory to recognise streams.

    Args:
        directory: what `seqkd.deploy.export.export_model` wrote.
        chunk: encoder frames of a step, in place of the model's own.
        int8: take the step with 8-bit weights.
        threads: of onnxruntime.

    Raises:
        DataError: a file is missing or damaged, or the model is one that needs whole recordings.
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory; expected one written by 'seqkd export'")
    export = read_export(directory)
    described = export.get("streaming")
    if described is None:
        raise DataError(
            f"{directory} holds a model that needs whole recordings; leave out --stream, or export one that was "
            "trained to stream, such as system=kd_stream"
        )
    name = STREAM_INT8 if int8 else STREAM
    for needed in (name, "tokenizer.model", "tokenizer.json", "features.json"):
        check_file(directory, needed, export)
    features = json.loads((directory / "features.json").read_text(encoding="utf-8"))
    settings = FeatureSettings(**features["settings"])
    return StreamBundle(
        OnnxStep(directory / name, threads),
        Tokenizer.load(directory),
        settings,
        FrameTimes(features["output_frame_shift_ms"] / 1000, settings.frame_shift_ms / 2000),
        chunk or described["chunk"],
        described["delay"],
        float(export.get("decoding", {}).get("blank_penalty", 0.0)),
    )
