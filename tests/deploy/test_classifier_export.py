"""Exported classifiers: what is written, that it gives what PyTorch gives, and that nothing else is written."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file, save_file
from torch import nn

from seqkd.classification.features import read_features
from seqkd.classification.model import load_classifier
from seqkd.cli.main import main
from seqkd.deploy import clip_check
from seqkd.deploy.bundle import read_export
from seqkd.deploy.classifier import CLIP_FILES, TestClips, export_classifier
from seqkd.deploy.clip_check import LIMIT, difference
from seqkd.deploy.network import OnnxNetwork
from seqkd.deploy.origin import ClassifierOrigin, ClassifierTeacher
from seqkd.errors import ConfigError, DataError, SeqkdError
from seqkd.models.packing import load_packed
from tests.deploy.classifiers import CLASSES, FEATURES, FRAMES, IMAGES, RATE, SMALL, VAM, saved, tone, write_clips

TestClips.__test__ = False  # for pytest: no class of tests

SCORES = {"accuracy": {"value": 0.5, "ci95": [0.25, 0.75]}, "nll": {"value": 1.25, "ci95": None}}
ORIGIN = ClassifierOrigin(
    system="ternary",
    label="Ternary student",
    seed=3,
    seeds=5,
    dev_error=0.125,
    title="Tones",
    paper="10.1109/sips50750.2020.9195219",
    teachers=(ClassifierTeacher("teacher", 3, "0123", {"test": SCORES}),),
    train_set="train",
    clips=1234,
    scores={"test": SCORES},
    licence="CC0-1.0",
)


class Made:
    """A model as it was trained, its directory and its export."""

    def __init__(self, place: Path, tests: TestClips | None = None, **options: object) -> None:
        self.directory, self.out = place / "model", place / "out"
        self.model = saved(self.directory, **options)
        assert export_classifier(self.directory, self.out, origin=ORIGIN if tests else None, tests=tests)
        self.export = json.loads((self.out / "export.json").read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with the set test."""
    place = tmp_path_factory.mktemp("data")
    write_clips(place)
    return place


@pytest.fixture(scope="module")
def ternary(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Made:
    """A quantised student, checked on test."""
    return Made(tmp_path_factory.mktemp("ternary"), TestClips(data, ["test"]), levels=3)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A network of phones with virtual attention."""
    return Made(tmp_path_factory.mktemp("frames"), settings=FRAMES, network=VAM)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A network of images."""
    return Made(tmp_path_factory.mktemp("images"), settings=IMAGES)


@torch.no_grad()
def agree(model: nn.Module, path: Path, shapes: list[tuple[int, int]], *, fixed: bool = False) -> None:
    """Batches of any size and length: the same logits, whatever stands in the padding."""
    network = OnnxNetwork(path)
    for rows, size in shapes:
        generator = torch.Generator().manual_seed(100 * rows + size)
        lengths = torch.randint(1, size + 1, (rows,), generator=generator)
        lengths[0 : rows if fixed else 1] = size
        features = torch.randn(rows, size, len(model.feature_mean), generator=generator) * 4 + 8
        features[torch.arange(size) >= lengths[:, None]] = float("nan")
        expected, found = model(features, lengths), network(features, lengths)
        assert found.logits.shape == expected.logits.shape
        assert found.lengths.tolist() == expected.lengths.tolist()
        valid = torch.arange(expected.logits.shape[1]) < expected.lengths[:, None]
        apart = (found.logits - expected.logits)[valid].abs().max()
        assert apart <= LIMIT * max(1.0, float(expected.logits[valid].abs().max()))
        assert found.logits[valid].argmax(-1).tolist() == expected.logits[valid].argmax(-1).tolist()


def test_every_file_is_there_with_its_hash(ternary: Made, frames: Made, images: Made) -> None:
    for made, files in ((ternary, [*CLIP_FILES, "packed.safetensors"]), (frames, CLIP_FILES), (images, CLIP_FILES)):
        assert sorted(path.name for path in made.out.iterdir()) == sorted([*files, "export.json"])
        for name in files:
            content = (made.out / name).read_bytes()
            stated = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            assert made.export["files"][name] == stated
        assert (made.out / "classes.txt").read_text() == "no\nyes\nstop\n"
    described = {made: json.loads((made.out / "features.json").read_text()) for made in (ternary, frames, images)}
    assert [one["input"] for one in described.values()] == ["sound", "sound", "image"]
    assert [one["target"] for one in described.values()] == ["clip", "frame", "clip"]
    assert described[ternary]["settings"]["num_mel_bins"] == 8


def test_any_batch_and_length(ternary: Made, frames: Made, images: Made) -> None:
    shapes = [(1, 1), (1, 2), (2, 5), (3, 37), (7, 64)]
    agree(ternary.model, ternary.out / "model.onnx", shapes)
    agree(frames.model, frames.out / "model.onnx", shapes)
    agree(images.model, images.out / "model.onnx", [(1, FEATURES.size), (5, FEATURES.size)], fixed=True)


def test_a_mixture_of_experts(tmp_path: Path) -> None:
    made = Made(
        tmp_path, settings=SMALL, network={"_target_": "seqkd.models.hme.as_hme", "blocks": [2, 3], "hidden": 4}
    )
    agree(made.model, made.out / "model.onnx", [(1, 1), (4, 33)])
    assert made.export["folded"] is None


@torch.no_grad()
def test_it_was_checked_on_every_clip(ternary: Made, data: Path) -> None:
    checks = ternary.export["checks"]
    assert checks["limit"] == 1e-5
    noise, test = checks["sets"]["random features"], checks["sets"]["test"]
    assert noise["clips"] == noise["largest_batch"] == 9  # 50, 37, 12, 7, 5, 4, 3, 2 and 1 frames
    known = [row for row in range(9) if row % 4 < 3]  # the class of the others is none of the model's
    assert test["clips"] == test["positions"] == len(known) == 7
    for one in (noise, test):
        assert 0 < max(one["onnx_alone"], one["onnx_in_batches"]) <= 1e-5
        assert one["predictions_identical"] is True and one["ties"] == 0
    features = read_features(data / "test")
    logits = ternary.model(features.values, features.lengths).logits[known, 0]
    truth = torch.tensor([row % 4 for row in known])
    assert test["accuracy"] == pytest.approx(float((logits.argmax(-1) == truth).float().mean()))


@torch.no_grad()
def test_packed_weights_are_shipped_and_give_the_same_logits(ternary: Made, data: Path) -> None:
    packed = ternary.export["packed"]
    size = (ternary.out / "packed.safetensors").stat().st_size
    full = (ternary.directory / "model.safetensors").stat().st_size
    assert packed == {"bytes": size, "factor": round(full / size, 3), "logits_identical": True}
    assert ternary.export["float32_bytes"] == full > 2 * size
    _, architecture = load_classifier(ternary.directory)
    network = load_packed(ternary.out / "packed.safetensors", architecture.build().eval())
    features = read_features(data / "test")
    given = (features.values, features.lengths)
    assert torch.equal(network(*given).logits, ternary.model(*given).logits)
    assert f"{size:,} bytes, {packed['factor']:.1f} times fewer" in (ternary.out / "README.md").read_text()


def test_packed_weights_of_another_model_are_not_shipped(ternary: Made, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(ternary.directory, model)
    tensors = load_file(model / "packed.safetensors")
    from safetensors import safe_open

    with safe_open(model / "packed.safetensors", "pt") as file:
        metadata = file.metadata()
    tensors["steps"][-1] *= 1.0001
    save_file(tensors, model / "packed.safetensors", metadata)
    with pytest.raises(SeqkdError, match=r"packed.safetensors gives other logits than the model for clip random-50 of"):
        export_classifier(model, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lock", "model"]


def test_virtual_attention_is_folded(frames: Made) -> None:
    assert frames.export["folded"] == {"parameters_in_training": sum(p.numel() for p in frames.model.parameters())}
    attention = sum(p.numel() for name, p in frames.model.named_parameters() if name.endswith("attention"))
    assert attention > 0
    assert frames.export["parameters"] == frames.export["folded"]["parameters_in_training"] - attention
    assert "which are folded into these" in (frames.out / "README.md").read_text()
    graph = onnx.load(frames.out / "model.onnx").graph
    assert not any("Softmax" in node.op_type for node in graph.node)
    stored = sum(
        numpy_helper.to_array(one).size for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT
    )
    # Norms are folded into convolutions: less of them; the mean and scale of the features, and constants, are more.
    assert stored <= frames.export["parameters"] + 2 * FEATURES.num_mel_bins + 10


@torch.no_grad()
def test_8_bit_weights(ternary: Made, images: Made) -> None:
    graphs = [onnx.load(images.out / name).graph for name in ("model.onnx", "model.int8.onnx")]
    before, after = ({one.name: numpy_helper.to_array(one) for one in graph.initializer} for graph in graphs)
    weighted = [node for node in graphs[0].node if node.op_type in ("Conv", "MatMul", "Gemm")]
    assert len(weighted) == sum(node.op_type == "DequantizeLinear" for node in graphs[1].node) == 9
    for node in weighted:
        name = node.input[1]
        levels, steps = after[f"{name}_quantized"], after[f"{name}_scale"]
        assert levels.dtype == np.int8 and name not in after
        axis = 1 if node.op_type == "MatMul" else 0
        steps = steps.reshape([-1 if one == axis else 1 for one in range(levels.ndim)])
        assert (np.abs(levels * steps - before[name]) <= 0.5001 * steps).all()
    for made in (ternary, images):
        assert (made.out / "model.int8.onnx").stat().st_size < (made.out / "model.onnx").stat().st_size
        assert 0 < made.export["checks"]["sets"]["random features"]["int8_alone"] < 1
    network, size = OnnxNetwork(images.out / "model.int8.onnx"), FEATURES.size
    clips = torch.rand(5, size, 3 * size, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([network(clip[None], torch.tensor([size])).logits for clip in clips])
    torch.testing.assert_close(network(clips, torch.tensor([size] * 5)).logits, alone, atol=1e-5, rtol=1e-5)


def test_the_card(ternary: Made, frames: Made, images: Made, data: Path) -> None:
    card = (ternary.out / "README.md").read_text()
    for part in (
        "# Ternary student (ternary, seed 3)",
        "A classifier of “Tones”: up to 0.5 s of sound at 8,000 Hz in, one of 3 classes out.",
        "| Method | 10.1109/sips50750.2020.9195219 |",
        "| Classes | no, yes, stop |",
        "| Licence of the weights | CC0-1.0 |",
        "- Teacher: teacher, seed 3 (weights `0123`; accuracy 50.00 % [25.00, 75.00] on test)",
        "- Clips: 1,234, of `train`",
        "- Error on dev: 12.50 %, the least of 5 seeds",
        "| test | 50.00 % [25.00, 75.00] | 1.250 |",
        "| test | 7 | 7 | 7 | ",
    ):
        assert part in card, part
    assert str(data.parent) not in card and "None" not in card.partition("## Use")[0]
    assert "one of 3 classes every frame out" in (frames.out / "README.md").read_text()
    other = (images.out / "README.md").read_text()
    assert "an image in, brought to 16 × 16 pixels (RGB), one of 3 classes out" in other
    assert "No test data were at hand." in other and "None" not in other.partition("## Use")[0]
    assert "seqkd classify --model . image.png" in other


def test_the_cards_example_runs(
    ternary: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import soundfile

    shutil.copytree(ternary.out, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    soundfile.write("clip.wav", tone(440, 0.4), RATE)
    (code,) = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    by_example = capsys.readouterr().out.strip()
    assert by_example in CLASSES
    assert main(["classify", "clip.wav", "--top", "1"]) == 0
    assert capsys.readouterr().out.split("\t")[0] == by_example


def stop(*given: object) -> None:
    raise SeqkdError("again")


def test_what_is_up_to_date_is_left_alone(
    ternary: Made, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(ternary.out, out)
    monkeypatch.setattr("seqkd.deploy.classifier.trace", stop)
    tests = TestClips(data, ["test"])
    assert not export_classifier(ternary.directory, out, origin=ORIGIN, tests=tests)
    for change in (
        lambda: (out / "classes.txt").write_text("yes\nno\nstop\n"),
        lambda: (out / "packed.safetensors").unlink(),
        lambda: (out / "export.json").write_text("{"),
    ):
        change()
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        with pytest.raises(SeqkdError, match=r"^again$"):
            export_classifier(ternary.directory, out, origin=ORIGIN, tests=tests)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
        shutil.rmtree(out)
        shutil.copytree(ternary.out, out)
    with pytest.raises(SeqkdError, match=r"^again$"):  # for another card
        export_classifier(ternary.directory, out, tests=tests)


def test_a_disagreement_names_the_clip_and_writes_nothing(
    ternary: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqkd.deploy.classifier.trace", lambda model: None)
    monkeypatch.setattr(
        "seqkd.deploy.classifier.write_onnx", lambda path, program: shutil.copy(ternary.out / "model.onnx", path)
    )
    monkeypatch.setattr(clip_check, "LIMIT", 0.0)
    with pytest.raises(SeqkdError, match=r"^clip random-\d+ of random features, by itself, model.onnx gives logit"):
        export_classifier(ternary.directory, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]


def test_how_far_logits_may_be_apart() -> None:
    logits = torch.tensor([[100.0, 99.0, -3.0], [0.5, 0.0, 0.0]])
    apart, ties = difference(logits, logits + torch.tensor([5e-4, 0.0, 0.0]), "it")
    assert apart == pytest.approx(5e-6, rel=0.05) and ties == 0
    with pytest.raises(SeqkdError, match=r"^it gives logit 99.002 in position 0, class 1, PyTorch 99; .* by 0.001, "):
        difference(logits, logits + torch.tensor([[0.0, 2e-3, 0.0], [0.0, 0.0, 0.0]]), "it")
    with pytest.raises(SeqkdError, match=r"^it gives logit nan"):
        difference(logits, logits * float("nan"), "it")
    with pytest.raises(SeqkdError, match=r"^it gives \(1, 3\) logits, PyTorch \(2, 3\)"):
        difference(logits, logits[:1], "it")
    small = torch.tensor([[1e-6, 0.0]])  # of a clip of small logits, the difference is that of the logits
    assert difference(small, small.flip(1), "it") == (pytest.approx(1e-6), 1)
    with pytest.raises(SeqkdError, match=r"^it gives logit 0 "):
        difference(20 * small, 20 * small.flip(1), "it")
    behind = torch.tensor([[1.2e-5, 0.0]])  # each within the limit, and yet another class by more than it
    with pytest.raises(SeqkdError, match=r"^it finds class 1 in position 0, PyTorch 0; "):
        difference(behind, torch.tensor([[5e-6, 6e-6]]), "it")


def no_weights(model: Path, data: Path) -> None:
    (model / "model.safetensors").unlink()


def other_features(model: Path, data: Path) -> None:
    found = json.loads((model / "model.json").read_text())
    found["features_settings"]["frame_shift_ms"] = 5.0
    (model / "model.json").write_text(json.dumps(found))


def no_features(model: Path, data: Path) -> None:
    found = json.loads((model / "model.json").read_text())
    found["features_settings"] = {"bins": 8}
    (model / "model.json").write_text(json.dumps(found))


def other_classes(model: Path, data: Path) -> None:
    found = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(found | {"classes": ["a", "b", "c"]}))


def not_prepared(model: Path, data: Path) -> None:
    shutil.rmtree(data / "test" / "clips")


FAULTS: list[tuple[Callable[[Path, Path], None], str]] = [
    (no_weights, r"no model.safetensors here"),
    (other_features, r"/test has features of .*, the model of .*; with the model's settings run "),
    (no_features, r"/model.json does not describe features \(.*bins.*\); train again"),
    (other_classes, r"/test has no clip of the model's classes; name another test set"),
    (not_prepared, r"/test has no finished features; run "),
]


@pytest.mark.parametrize(("breaks", "sentence"), FAULTS)
def test_what_cannot_be_exported(
    ternary: Made, data: Path, tmp_path: Path, breaks: Callable[[Path, Path], None], sentence: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(ternary.directory, model)
    shutil.copytree(data, tmp_path / "data")
    breaks(model, tmp_path / "data")
    with pytest.raises(DataError, match=sentence):
        export_classifier(model, tmp_path / "out", tests=TestClips(tmp_path / "data", ["test"]))
    assert not (tmp_path / "out").exists()


def test_nothing_else_is_overwritten(ternary: Made, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="is there and is not an export; name a directory that is new or empty"):
        export_classifier(ternary.directory, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_exports_of_either_kind_are_told_apart(ternary: Made, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"out is the export of a classifier, but one of a speech recogniser is needed"):
        read_export(ternary.out)
    (tmp_path / "export.json").write_text(json.dumps({"format": 1, "files": {"model.onnx": {"sha256": ""}}}))
    with pytest.raises(DataError, match=r"is the export of a speech recogniser, but one of a classifier is needed"):
        read_export(tmp_path, "classifier")


def test_one_model_directory_by_the_command(
    ternary: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqkd.deploy.classifier.trace", lambda model: None)
    monkeypatch.setattr(
        "seqkd.deploy.classifier.write_onnx", lambda path, program: shutil.copy(ternary.out / "model.onnx", path)
    )
    command = ["export", "--model", str(ternary.directory), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: written\n"
    assert "Teacher, training data and scores are not stated" in (tmp_path / "out" / "README.md").read_text()
    assert main(command) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: is up to date\n"
