"""The step of a streaming CTC model as an ONNX graph with its state as inputs and outputs.

Inputs ``features`` (B, 4n, F) float32, unnormalised, ``lengths`` (B,) int64, how many of them belong to the utterances,
and the state; outputs ``logits`` (B, n, C) and the new state. B and n are free. The state is named as in
`seqkd.models.streaming`, ``state_`` before each input and ``next_`` before each output: ``state_position`` and
``next_position`` (B,), ``state_convolution`` and ``next_convolution`` (N, B, K, D), ... It begins with zeros.

Letters: B streams, n encoder frames of a step, F feature bins, C classes, N blocks, K frames that a convolution
keeps, D model width.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from seqkd.deploy.graphs import Recogniser, quietly, save_onnx
from seqkd.models.ctc import CtcModel

STATE, NEXT = "state_{}", "next_{}"


class StepGraph(nn.Module):
    """`CtcModel.step` with its state as a tuple, in the order of ``names``."""

    def __init__(self, model: CtcModel) -> None:
        super().__init__()
        self.model, self.names = Recogniser(model).model, list(model.state())

    def forward(self, features: Tensor, lengths: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Logits and the new state."""
        logits, state = self.model.step(features, lengths, dict(zip(self.names, state, strict=True)))
        return logits, [state[name] for name in self.names]


def write_step(path: Path, model: CtcModel) -> None:
    """Write ``stream.onnx`` of a model that streams, in one file."""
    graph = StepGraph(model).eval()
    batch, frames = Dim("batch", min=1, max=1024), Dim("frames", min=1, max=1024)
    examples = (torch.zeros(3, 8, len(model.feature_mean)), torch.tensor([8, 8, 5]), list(model.state(3).values()))
    state = [{batch_axis(name): batch} for name in graph.names]
    with quietly():
        program = torch.export.export(graph, examples, dynamic_shapes=({0: batch, 1: 4 * frames}, {0: batch}, state))
    inputs = ["features", "lengths", *map(STATE.format, graph.names)]
    save_onnx(path, program, inputs, ["logits", *map(NEXT.format, graph.names)])


def batch_axis(name: str) -> int:
    """The axis of the streams in a tensor of the state; what blocks keep has the blocks first."""
    return 1 if name in ("attention", "convolution", "late") else 0
