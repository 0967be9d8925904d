"""A CTC model or a classifier as graphs: ``torch.export``'s, ONNX, and ONNX with 8-bit weights.

All take features (B, T, F) float32, unnormalised, and lengths (B,) int64, and give logits (B, T', C) and their
lengths (B,); B and T are free. T' is 1 where a classifier has a class a clip. The same weights give the same bytes:
what the exporters note of source files, which would differ from machine to machine, is taken out.

Letters: B batch, T frames, T' encoder frames, F feature bins, C classes.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from seqkd.models.classifier import Classifier
from seqkd.models.ctc import CtcModel

INPUTS, OUTPUTS = ["features", "lengths"], ["logits", "logit_lengths"]
OPSET = 20  # the first with all that torch.onnx writes for these models; onnxruntime 1.17 and later read it
TRAINING_PARTS = ("embedding", "decoder", "decoder_head")  # of a CtcModel: its attention decoder
PROGRAM_FRAMES = 5  # the fewest that model.pt2 takes: torch.export cannot treat T' = 1 like the others


class Recogniser(nn.Module):
    """A model without what only training needs: features and lengths to logits and lengths."""

    def __init__(self, model: CtcModel | Classifier) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        for part in TRAINING_PARTS:
            if hasattr(self.model, part):
                delattr(self.model, part)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``features`` (B, T, F), ``lengths`` (B,) -> logits (B, T', C), lengths (B,)."""
        output = self.model(features, lengths)
        return output.logits, output.lengths


def trace(model: CtcModel | Classifier) -> ExportedProgram:
    """Trace a model with B and T free, without an attention decoder beside CTC."""
    examples = (torch.zeros(3, 37, len(model.feature_mean)), torch.tensor([37, 20, 9]))
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, {0: Dim.DYNAMIC})
    with quietly():
        program = torch.export.export(Recogniser(model).eval(), examples, dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    program.example_inputs = None  # they would be pickled
    return program


def write_program(path: Path, program: ExportedProgram) -> None:
    """Write ``model.pt2``. It takes `PROGRAM_FRAMES` frames or more."""
    with quietly():
        torch.export.save(program, path)


def write_onnx(path: Path, program: ExportedProgram) -> None:
    """Write ``model.onnx``, in one file."""
    save_onnx(path, program, INPUTS, OUTPUTS)


def save_onnx(path: Path, program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Write a program as ONNX, in one file, its inputs and outputs named so."""
    import onnx

    with quietly():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
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

    Convolutions, a few per cent of a recogniser's weights, stay as they are: onnxruntime has no fast 8-bit depthwise
    one. See `store_int8` for networks that are made of them.
    Seven of the eight bits are used (``reduce_range``): processors without VNNI add up products in 16 bits, which
    would saturate, and the words would depend on the machine.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quietly():
        quantize_dynamic(
            source,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )


def store_int8(path: Path, source: Path) -> None:
    """Write ``source`` with all weights of convolutions and matrix products in 8 bits, one scale an output channel.

    They are float32 again when the graph is loaded: a quarter of the bytes, and a network as fast as it was. A weight
    is within half a step of what it was, a step being 1/127 of its channel's largest. Activations stay float32, so
    that what else is in a batch changes nothing.
    """
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.load(source)
    graph = proto.graph
    weights = {one.name: one for one in graph.initializer}
    axes = {node.input[1]: int(node.op_type == "MatMul") for node in graph.node if node.op_type in ("Conv", "MatMul")}
    for name, axis in axes.items():
        if name not in weights:  # a product of two activations
            continue
        values = numpy_helper.to_array(weights[name])
        largest = np.abs(values).max(tuple(one for one in range(values.ndim) if one != axis), keepdims=True)
        steps = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        levels = np.rint(values / steps).clip(-127, 127).astype(np.int8)
        kept = {f"{name}_quantized": levels, f"{name}_scale": steps.reshape(-1)}
        graph.initializer.remove(weights[name])
        graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in kept.items())
        graph.node.insert(0, helper.make_node("DequantizeLinear", list(kept), [name], axis=axis))
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep the exporters' remarks from the terminal: none of them is the user's to act on."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
