"""An exported recogniser as a graph that takes the features which sherpa-onnx computes.

sherpa-onnx computes Kaldi's filterbank as torchaudio does, but for two settings that most of its interfaces fix:
samples are in [-1, 1] rather than 16-bit values, and the filters end `EDGE` Hz below the Nyquist frequency. The
number of filters is free. So the graph asks for many narrow filters, and adds them up, in power, to the wide ones
that the network was trained on: triangles are sums of narrower triangles, nearly. What the network was trained to
find in the last `EDGE` Hz is taken to be as loud as what lies just below.

Letters: B batch, T frames, T' encoder frames, D filters of sherpa-onnx, F feature bins, C classes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqkd.data.features import FeatureSettings
from seqkd.deploy.bundle import FBANK
from seqkd.deploy.graphs import INPUTS, OUTPUTS

LOW, EDGE = 20.0, 400.0  # Hz: where the filters of sherpa-onnx begin, and how far below Nyquist they end
SHERPA_INPUTS, SHERPA_OUTPUTS = ["x", "x_lens"], ["log_probs", "log_probs_lens"]
FLOOR = float(torch.finfo(torch.float32).eps)  # of a filter's power, before the logarithm, here and there
SILENT = math.log(FLOOR) + 1e-3  # a frame with nothing above it has only zeros

Operation = tuple[str, list[str], str, dict[str, Any]]  # of ONNX: its kind, inputs, output, attributes


def filters(settings: FeatureSettings, count: int, edge: float) -> Tensor:
    """Kaldi's mel filters (count, bins of the Fourier transform), from `LOW` to ``edge`` Hz below Nyquist."""
    from torchaudio.compliance.kaldi import get_mel_banks

    window = int(settings.sample_rate * settings.frame_length_ms * 0.001)
    length = 1 << (window - 1).bit_length()
    return get_mel_banks(count, length, settings.sample_rate, LOW, -edge, 100.0, -500.0, 1.0)[0].double()


@functools.cache
def fine_count(settings: FeatureSettings) -> int:
    """D, about as many filters as there can be if none may lie between two bins of the Fourier transform."""
    length = 2 * filters(settings, 4, EDGE).shape[1]
    # The first filter is the narrowest: twice its step must cover a bin.
    step = mel(LOW + 2 * settings.sample_rate / length) - mel(LOW + settings.sample_rate / length)
    count = max(4, int(2 * (mel(settings.sample_rate / 2 - EDGE) - mel(LOW)) / step))
    while count > 4 and not (filters(settings, count, EDGE).sum(1) > 1e-2).all():
        count -= 1
    return count


def mel(frequency: float) -> float:
    """Kaldi's mel scale of a frequency in Hz."""
    return 1127.0 * math.log1p(frequency / 700.0)


@functools.cache
def summation(settings: FeatureSettings) -> Tensor:
    """Weights (D, F) float32, none negative, with which powers in D filters add up to powers in the model's F.

    Least squares over the bins of the Fourier transform, scaled so that a flat spectrum is exact.
    """
    from scipy.optimize import nnls

    ours, fine = filters(settings, settings.num_mel_bins, 0.0), filters(settings, fine_count(settings), EDGE)
    weights = np.stack([nnls(fine.T.numpy(), wide.numpy())[0] for wide in ours])  # (F, D)
    found = torch.from_numpy(weights)
    found *= (ours.sum(1) / (found @ fine).sum(1))[:, None]
    return found.T.float()


def sherpa_fbank(samples: Tensor, settings: FeatureSettings) -> Tensor:
    """Samples (N,) in [-1, 1] to the features (T, D) that sherpa-onnx computes by default, D being `fine_count`'s."""
    from torchaudio.compliance.kaldi import fbank

    return fbank(
        samples[None],
        sample_frequency=settings.sample_rate,
        num_mel_bins=fine_count(settings),
        frame_length=settings.frame_length_ms,
        frame_shift=settings.frame_shift_ms,
        low_freq=LOW,
        high_freq=-EDGE,
        dither=0.0,
        snip_edges=FBANK["snip_edges"],
    )


def adapt(
    source: Path, path: Path, settings: FeatureSettings, blank_penalty: float, metadata: Mapping[str, str | int]
) -> None:
    """Write ``source``, an exported network, as a graph for sherpa-onnx.

    Its inputs are features (B, T, D) as `sherpa_fbank` computes them and lengths (B,); its outputs log-probabilities
    (B, T', C), from which ``blank_penalty`` was subtracted before they were normalised, and their lengths (B,).

    Args:
        source: ``model.onnx`` or ``model.int8.onnx`` of an export directory.
        path: what to write.
        settings: of the features that the network was trained on.
        blank_penalty: subtracted from the logit of class 0.
        metadata: what sherpa-onnx reads from the file.
    """
    import onnx
    from onnx import helper

    proto = onnx.load(source)
    graph = proto.graph
    constants, before = features_from(SHERPA_INPUTS[0], settings)
    constants["sherpa_penalty"] = penalty_of(graph.output[0].type.tensor_type.shape.dim[2].dim_value, blank_penalty)
    after: list[Operation] = [
        ("Sub", [OUTPUTS[0], "sherpa_penalty"], "sherpa_penalised", {}),
        ("LogSoftmax", ["sherpa_penalised"], SHERPA_OUTPUTS[0], {}),
    ]
    rename(graph, {INPUTS[1]: SHERPA_INPUTS[1], OUTPUTS[1]: SHERPA_OUTPUTS[1]})
    surround(graph, before, after, constants)
    for value, name in zip([*graph.input, *graph.output], [*SHERPA_INPUTS, *SHERPA_OUTPUTS], strict=True):
        value.name = name
    graph.input[0].type.tensor_type.shape.dim[2].dim_value = len(constants["sherpa_weights"])
    del proto.metadata_props[:]
    helper.set_model_props(proto, {key: str(value) for key, value in metadata.items()})
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def features_from(name: str, settings: FeatureSettings) -> tuple[dict[str, np.ndarray], list[Operation]]:
    """Constants, and operations that make the network's features (B, T, F) from sherpa-onnx's ``name`` (B, T, D)."""
    scale = FBANK["sample_scale"]
    constants = {
        "sherpa_silent": np.float32(SILENT),
        "sherpa_zero": np.float32(0),
        "sherpa_bins": np.array([2], np.int64),
        "sherpa_weights": summation(settings).numpy(),
        "sherpa_floor": np.float32(FLOOR / scale**2),
        "sherpa_scale": np.float32(2 * math.log(scale)),
    }
    operations: list[Operation] = [
        # Digital silence is at the floor in every filter; its power is 0, here and after any scaling.
        ("ReduceMax", [name, "sherpa_bins"], "sherpa_loudest", {}),  # (B, T, 1)
        ("Greater", ["sherpa_loudest", "sherpa_silent"], "sherpa_sounds", {}),
        ("Exp", [name], "sherpa_exp", {}),
        ("Where", ["sherpa_sounds", "sherpa_exp", "sherpa_zero"], "sherpa_power", {}),  # (B, T, D)
        ("MatMul", ["sherpa_power", "sherpa_weights"], "sherpa_sums", {}),  # (B, T, F)
        ("Max", ["sherpa_sums", "sherpa_floor"], "sherpa_floored", {}),
        ("Log", ["sherpa_floored"], "sherpa_log", {}),
        ("Add", ["sherpa_log", "sherpa_scale"], INPUTS[0], {}),
    ]
    return constants, operations


def penalty_of(classes: int, blank_penalty: float) -> np.ndarray:
    """(C,): what is subtracted from logits."""
    penalty = np.zeros(classes, np.float32)
    penalty[0] = blank_penalty
    return penalty


def surround(graph: Any, before: list[Operation], after: list[Operation], constants: Mapping[str, np.ndarray]) -> None:
    """Put operations, and their constants, before and after those of an ONNX graph."""
    from onnx import helper, numpy_helper

    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(helper.make_node(op, inputs, [output], **options) for op, inputs, output, options in before)
    graph.node.extend(nodes)
    graph.node.extend(helper.make_node(op, inputs, [output], **options) for op, inputs, output, options in after)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())


def rename(graph: Any, names: Mapping[str, str]) -> None:
    """Give tensors of an ONNX graph other names, wherever its nodes use them."""
    for node in graph.node:
        for used in (node.input, node.output):
            for place, name in enumerate(used):
                used[place] = names.get(name, name)
