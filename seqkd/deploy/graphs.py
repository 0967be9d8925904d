"""A CTC model as graphs: ``torch.export``'s, ONNX, and ONNX with 8-bit weights.

All take features (B, T, F) float32, unnormalised, and lengths (B,) int64, and give logits (B, T', C) and their
lengths (B,); B and T are free. The same weights give the same bytes: what the exporters note of source files, which
would differ from machine to machine, is taken out.

Letters: B batch, T frames, T' encoder frames, F feature bins, C classes.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from seqkd.models.ctc import CtcModel

INPUTS, OUTPUTS = ["features", "lengths"], ["logits", "logit_lengths"]
OPSET = 20  # the first with all that torch.onnx writes for these models; onnxruntime 1.17 and later read it
TRAINING_PARTS = ("embedding", "decoder", "decoder_head")  # of a CtcModel: its attention decoder
PROGRAM_FRAMES = 5  # the fewest that model.pt2 takes: torch.export cannot treat T' = 1 like the others


class Recogniser(nn.Module):
    """A CTC model without what only training needs: features and lengths to logits and lengths."""

    def __init__(self, model: CtcModel) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        for part in TRAINING_PARTS:
            if hasattr(self.model, part):
                delattr(self.model, part)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``features`` (B, T, F), ``lengths`` (B,) -> logits (B, T', C), lengths (B,)."""
        output = self.model(features, lengths)
        return output.logits, output.lengths


def trace(model: CtcModel) -> ExportedProgram:
    """Trace a model with B and T free, without an attention decoder beside CTC."""
    examples = (torch.zeros(3, 37, model.features.num_mel_bins), torch.tensor([37, 20, 9]))
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, {0: Dim.DYNAMIC})
    with _quiet():
        program = torch.export.export(Recogniser(model).eval(), examples, dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    program.example_inputs = None  # they would be pickled
    return program


def write_program(path: Path, program: ExportedProgram) -> None:
    """Write ``model.pt2``. It takes `PROGRAM_FRAMES` frames or more."""
    with _quiet():
        torch.export.save(program, path)


def write_onnx(path: Path, program: ExportedProgram) -> None:
    """Write ``model.onnx``, in one file."""
    import onnx

    with _quiet():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=INPUTS,
            output_names=OUTPUTS,
            opset_version=OPSET,
            verbose=False,
        )
    proto = exported.model_proto
    graph = proto.graph
    # What the exporter notes of where each node comes from is a third of a small model's file.
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def write_int8(path: Path, source: Path) -> None:
    """Quantise the weights of ``source``'s matrix products to 8 bits, one scale a column; activations at run time.

    Convolutions, a few per cent of the weights, stay as they are: onnxruntime has no fast 8-bit depthwise one.
    Seven of the eight bits are used (``reduce_range``): processors without VNNI add up products in 16 bits, which
    would saturate, and the words would depend on the machine.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            source,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' remarks from the terminal: none of them is the user's to act on."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
