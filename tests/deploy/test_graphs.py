"""A Conformer with an attention decoder beside CTC, as graphs; test_export.py has the convolutional encoder."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch.export import ExportedProgram

from seqkd.deploy.check import LIMIT
from seqkd.deploy.graphs import PROGRAM_FRAMES, trace, write_int8, write_onnx, write_program
from seqkd.deploy.network import OnnxNetwork
from seqkd.models.ctc import CtcModel
from tests.models.tiny_models import ARCHITECTURES, BINS, CLASSES, tiny_model

SHAPES = [(1, 1), (1, 2), (2, 4), (1, 5), (1, 64), (3, 37), (7, 301)]


@dataclass
class Made:
    """A model, the directory of its graphs, and model.pt2 read back."""

    model: CtcModel
    directory: Path
    program: ExportedProgram


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model and its graphs."""
    features = tiny_model("conformer").features
    torch.manual_seed(1)
    architecture = {**ARCHITECTURES["conformer"], "layers": 1, "dropout": 0.1, "decoder_layers": 1}
    model = CtcModel(architecture, features, CLASSES).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter)  # equal ones would be stored once
    directory = tmp_path_factory.mktemp("joint")
    program = trace(model)
    write_program(directory / "model.pt2", program)
    write_onnx(directory / "model.onnx", program)
    write_int8(directory / "model.int8.onnx", directory / "model.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: that its own buffer is read-only
        return Made(model, directory, torch.export.load(directory / "model.pt2"))


def batch(rows: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random features, and lengths of which the first is the greatest. Padding is full of nonsense."""
    generator = torch.Generator().manual_seed(100 * rows + frames)
    lengths = torch.randint(1, frames + 1, (rows,), generator=generator)
    lengths[0] = frames
    features = torch.randn(rows, frames, BINS, generator=generator)
    features[torch.arange(frames) >= lengths[:, None]] = 1e4
    return features, lengths


@torch.no_grad()
def test_any_batch_and_length_gives_pytorchs_logits(made: Made) -> None:
    model, directory = made.model, made.directory
    network = OnnxNetwork(directory / "model.onnx")
    program = made.program.module()
    for rows, frames in SHAPES:
        features, lengths = batch(rows, frames)
        expected = model(features, lengths)
        valid = torch.arange(expected.logits.shape[1]) < expected.lengths[:, None]
        found = network(features, lengths)
        assert found.lengths.tolist() == expected.lengths.tolist()
        assert found.logits.shape == expected.logits.shape
        assert (found.logits - expected.logits)[valid].abs().max() < LIMIT
        if frames >= PROGRAM_FRAMES:
            logits, program_lengths = program(features, lengths)
            assert program_lengths.tolist() == expected.lengths.tolist()
            assert (logits - expected.logits)[valid].abs().max() < LIMIT


def test_nothing_of_training_or_of_this_machine_is_in_the_files(made: Made) -> None:
    model, directory = made.model, made.directory
    graph = onnx.load(directory / "model.onnx").graph
    weights = sum(
        numpy_helper.to_array(one).size for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT
    )
    decoder = sum(p.numel() for name, p in model.named_parameters() if name.startswith(("decoder", "embedding")))
    assert decoder > 0
    kept = model.parameter_count() - decoder + model.feature_mean.numel() + model.feature_scale.numel()
    assert kept <= weights < kept + 100  # constants such as the rotary rates
    assert sum(p.numel() for p in made.program.parameters()) == model.parameter_count() - decoder
    for path in directory.iterdir():
        assert str(Path.cwd()).encode() not in path.read_bytes()
        assert b".py" not in path.read_bytes()


def test_every_product_with_weights_has_8_bit_ones(made: Made) -> None:
    directory = made.directory
    before, after = (onnx.load(directory / name).graph for name in ("model.onnx", "model.int8.onnx"))
    constants = {one.name for one in before.initializer}
    products = sum(node.op_type in ("MatMul", "Gemm") and node.input[1] in constants for node in before.node)
    assert products > 0
    assert sum(node.op_type == "MatMulInteger" for node in after.node) == products
    weights = {one.name: one for one in after.initializer}
    small = [numpy_helper.to_array(weights[n.input[1]]) for n in after.node if n.op_type == "MatMulInteger"]
    for weight in small:
        assert weight.dtype == "int8"
        assert abs(weight.astype(int)).max() <= 64  # seven bits: products must not saturate without VNNI
    assert (directory / "model.int8.onnx").stat().st_size < (directory / "model.onnx").stat().st_size
