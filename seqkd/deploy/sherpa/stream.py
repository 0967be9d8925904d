"""A streaming recogniser as a graph for sherpa-onnx, of its model type Zipformer2 CTC, online.

That type passes a chunk of features and eight tensors, which the graph returns changed. Their shapes are those of a
Zipformer whose sizes the metadata state. Here they state one layer of which the first tensor has as many floats as
the state of ``stream.onnx``, one after the other; the third has how many encoder frames belong to the speech, and the
last how many there were. The others are passed on.

sherpa-onnx does not pass on to the network where speech ends: callers add silence, so that the last chunk is full.
Frames of digital silence at the end of a chunk are therefore treated as what comes after the end, and their outputs
are blanks.

Letters: B streams, T feature frames of a chunk, n encoder frames, D filters of sherpa-onnx, S floats of the state,
C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.data.features import FeatureSettings
from seqkd.deploy.graphs import INPUTS, OUTPUTS
from seqkd.deploy.sherpa.graph import (
    SHERPA_INPUTS,
    SHERPA_OUTPUTS,
    Operation,
    features_from,
    penalty_of,
    surround,
)
from seqkd.deploy.streaming.graph import NEXT, STATE, batch_axis

FACTOR = 4  # feature frames of an encoder frame
FEWEST = 4  # encoder frames of a chunk of a network for which any number does
FLOATS, LENGTH, POSITION = "cached_key_0", "cached_val1_0", "processed_lens"
# Sizes of the Zipformer that has such tensors, and the tensors, in order; B is the number of streams, S of floats.
SIZES = {
    "encoder_dims": 4,
    "value_head_dims": 1,
    "num_heads": 1,
    "num_encoder_layers": 1,
    "cnn_module_kernels": 3,
    "left_context_len": 1,
}
TENSORS: dict[str, list[int | str]] = {
    FLOATS: [1, "B", "S"],
    "cached_nonlin_attn_0": [1, "B", 1, 3],
    LENGTH: [1, "B", 1],
    "cached_val2_0": [1, "B", 1],
    "cached_conv1_0": ["B", 4, 1],
    "cached_conv2_0": ["B", 4, 1],
    "embed_states": ["B", 128, 3, 19],
    POSITION: ["B"],
}


def chunk_of(streaming: Mapping[str, Any]) -> int:
    """Encoder frames of a chunk; ``streaming`` is what export.json holds."""
    return FEWEST if streaming["chunk"] == 1 else streaming["chunk"]


def tail_seconds(streaming: Mapping[str, Any], settings: FeatureSettings) -> float:
    """Seconds of silence after which sherpa-onnx has passed on all of a recording."""
    frames = FACTOR * (chunk_of(streaming) + streaming["delay"] + 1)
    return math.ceil(frames * settings.frame_shift_ms / 10) / 100


def adapt_stream(
    source: Path,
    path: Path,
    settings: FeatureSettings,
    blank_penalty: float,
    streaming: Mapping[str, Any],
    metadata: Mapping[str, str | int],
) -> None:
    """Write ``stream.onnx`` of an export as a graph for sherpa-onnx.

    Its inputs are features (B, T, D) and the tensors of `TENSORS`; its outputs log-probabilities (B, n, C) and the
    tensors. Outputs before the first frame, of a network that looks ahead, and after the last one are blanks.

    Args:
        source: ``stream.onnx`` of an export directory.
        path: what to write.
        settings: of the features that the network was trained on.
        blank_penalty: subtracted from the logit of class 0.
        streaming: what export.json holds: ``chunk``, ``delay`` and the shapes of ``state``, of one stream.
        metadata: what sherpa-onnx reads from the file, but for what follows from ``streaming``.
    """
    import onnx
    from onnx import TensorProto, helper

    proto = onnx.load(source)
    graph = proto.graph
    classes = graph.output[0].type.tensor_type.shape.dim[2].dim_value
    shapes = {name: shape for name, shape in streaming["state"].items() if name not in ("position", "length")}
    total = sum(math.prod(shape) for shape in shapes.values())
    size = FACTOR * chunk_of(streaming)
    constants, before = features_from(SHERPA_INPUTS[0], settings)
    blank = np.full(classes, -1e4, np.float32)
    blank[0] = 0
    constants |= {
        "sherpa_penalty": penalty_of(classes, blank_penalty),
        "sherpa_blank": blank,
        "sherpa_places": np.arange(1, size + 1)[:, None],  # (T, 1)
        "sherpa_nowhere": np.array(0),
        "sherpa_outputs": np.arange(size // FACTOR) - streaming["delay"],  # (n,)
        "sherpa_all": np.array([1, 2]),
        "sherpa_flat": np.array([-1, total]),
        "sherpa_stacked": np.array([1, -1, total]),
        "sherpa_rows": np.array([0, -1]),
        "sherpa_vector": np.array([-1]),
        "sherpa_column": np.array([1]),
        "sherpa_lone": np.array([1, -1, 1]),
    }
    before += [
        # How many frames of the chunk are not the silence at its end.
        ("Where", ["sherpa_sounds", "sherpa_places", "sherpa_nowhere"], "sherpa_sounding", {}),  # (B, T, 1)
        ("ReduceMax", ["sherpa_sounding", "sherpa_all"], INPUTS[1], {"keepdims": 0}),  # (B,)
        ("Identity", [POSITION], STATE.format("position"), {}),
        # Where there is sound again, what was silent before is a part of the speech.
        ("Reshape", [LENGTH, "sherpa_vector"], "sherpa_length_float", {}),
        ("Cast", ["sherpa_length_float"], "sherpa_length", {"to": TensorProto.INT64}),
        ("Greater", [INPUTS[1], "sherpa_nowhere"], "sherpa_any", {}),
        ("Where", ["sherpa_any", POSITION, "sherpa_length"], STATE.format("length"), {}),
        ("Reshape", [FLOATS, "sherpa_flat"], "sherpa_state", {}),  # (B, S)
    ]
    after, parts = unpack(shapes, constants, before)
    after += [
        ("Unsqueeze", [POSITION, "sherpa_column"], "sherpa_position", {}),
        ("Add", ["sherpa_position", "sherpa_outputs"], "sherpa_times", {}),  # (B, n), of the outputs
        ("Less", ["sherpa_times", "sherpa_nowhere"], "sherpa_early", {}),
        ("Unsqueeze", [NEXT.format("length"), "sherpa_column"], "sherpa_end", {}),
        ("GreaterOrEqual", ["sherpa_times", "sherpa_end"], "sherpa_beyond", {}),
        ("Or", ["sherpa_early", "sherpa_beyond"], "sherpa_outside", {}),
        ("Unsqueeze", ["sherpa_outside", "sherpa_bins"], "sherpa_mask", {}),
        ("Where", ["sherpa_mask", "sherpa_blank", OUTPUTS[0]], "sherpa_logits", {}),
        ("Sub", ["sherpa_logits", "sherpa_penalty"], "sherpa_penalised", {}),
        ("LogSoftmax", ["sherpa_penalised"], SHERPA_OUTPUTS[0], {}),
        ("Concat", parts, "sherpa_next", {"axis": 1}),
        ("Reshape", ["sherpa_next", "sherpa_stacked"], f"new_{FLOATS}", {}),
        ("Cast", [NEXT.format("length")], "sherpa_next_length", {"to": TensorProto.FLOAT}),
        ("Reshape", ["sherpa_next_length", "sherpa_lone"], f"new_{LENGTH}", {}),
        ("Identity", [NEXT.format("position")], f"new_{POSITION}", {}),
    ]
    after += [("Identity", [name], f"new_{name}", {}) for name in TENSORS if name not in (FLOATS, LENGTH, POSITION)]
    surround(graph, before, after, constants)
    state = [
        (name, TensorProto.INT64 if name == POSITION else TensorProto.FLOAT, [total if d == "S" else d for d in shape])
        for name, shape in TENSORS.items()
    ]
    inputs = [(SHERPA_INPUTS[0], TensorProto.FLOAT, ["B", size, len(constants["sherpa_weights"])]), *state]
    outputs = [(SHERPA_OUTPUTS[0], TensorProto.FLOAT, ["B", size // FACTOR, classes])]
    outputs += [(f"new_{name}", kind, shape) for name, kind, shape in state]
    for kept, described in ((graph.input, inputs), (graph.output, outputs)):
        del kept[:]
        kept.extend(helper.make_tensor_value_info(*one) for one in described)
    del graph.value_info[:]
    del proto.metadata_props[:]
    own = {**SIZES, "query_head_dims": total, "T": size, "decode_chunk_len": size}
    helper.set_model_props(proto, {key: str(value) for key, value in {**metadata, **own}.items()})
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def unpack(
    shapes: Mapping[str, list[int]], constants: dict[str, np.ndarray], before: list[Operation]
) -> tuple[list[Operation], list[str]]:
    """Add to ``before`` what takes the tensors of a state out of ``sherpa_state`` (B, S).

    Returns what makes rows (B, ...) of the new tensors, and the names of the rows.
    """
    after: list[Operation] = []
    parts, place = [], 0
    for name, shape in shapes.items():
        axis, of = batch_axis(name), f"sherpa_{name}"
        others = [size for number, size in enumerate(shape) if number != axis]
        constants[f"{of}_begin"], place = np.array([place]), place + math.prod(shape)
        constants |= {f"{of}_end": np.array([place]), f"{of}_shape": np.array([-1, *others])}
        # Axes 0 and 1 change places, or none do: the same again brings them back.
        swap = {"perm": [axis, *(number for number in range(len(shape)) if number != axis)]}
        before += [
            ("Slice", ["sherpa_state", f"{of}_begin", f"{of}_end", "sherpa_column"], f"{of}_flat", {}),
            ("Reshape", [f"{of}_flat", f"{of}_shape"], f"{of}_rows", {}),
            ("Transpose", [f"{of}_rows"], STATE.format(name), swap),
        ]
        after += [
            ("Transpose", [NEXT.format(name)], f"{of}_next", swap),
            ("Reshape", [f"{of}_next", "sherpa_rows"], f"{of}_out", {}),
        ]
        parts.append(f"{of}_out")
    return after, parts
