"""The classifier: padding never matters, layers by name, lengths, a class a frame, images, and what a clip costs."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from seqkd.errors import ConfigError
from seqkd.models.classifier import Classifier, MaskedBatchNorm, multiply_adds
from tests.classification.tiny import CLASSES, FEATURES, FRAME, SETTINGS, padded, random_model, tiny_model

LAYERS = ("stage1", "stage2", "stage3", "hidden", "hidden_scaled")


def test_padding_never_matters() -> None:
    """Neither how much there is, nor what stands there, NaN too; for clips, and for frames."""
    features, lengths = padded(5, 9)
    for settings in (SETTINGS, FRAME):
        model = tiny_model(**settings)
        expected = model(features, lengths, LAYERS)
        for fill in (0.0, 1e4, float("nan")):
            more = torch.full((5, 14, FEATURES), fill)
            more[:, :9] = torch.where((torch.arange(9) < lengths[:, None])[..., None], features, fill)
            found = model(more, lengths, LAYERS)
            assert found.lengths.equal(expected.lengths)
            valid = torch.arange(expected.logits.shape[1]) < expected.lengths[:, None]
            torch.testing.assert_close(found.logits[:, : valid.shape[1]][valid], expected.logits[valid])
            for name in LAYERS:
                (one, length), (other, same) = expected.layers[name], found.layers[name]
                assert length.equal(same)
                valid = torch.arange(one.shape[1]) < length[:, None]
                torch.testing.assert_close(other[:, : one.shape[1]][valid], one[valid])
                assert name == "hidden" or "hidden" in name or (other[:, one.shape[1] :] == 0).all()
        for row, length in enumerate(lengths.tolist()):  # and each clip is what it is alone
            alone = model(features[row : row + 1, :length], lengths[row : row + 1])
            torch.testing.assert_close(alone.logits[0], expected.logits[row, : alone.logits.shape[1]])


def test_padding_is_no_part_of_the_statistics_in_training() -> None:
    features, lengths = padded(5, 9)
    found = []
    for fill, frames in ((0.0, 9), (float("nan"), 14)):
        model = tiny_model(dropout=0.0).train()
        more = torch.full((5, frames, FEATURES), fill)
        more[:, :9] = torch.where((torch.arange(9) < lengths[:, None])[..., None], features, fill)
        logits = model(more, lengths).logits
        logits.square().sum().backward()
        gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        statistics = torch.cat([buffer.float().flatten() for buffer in model.buffers()])
        found.append((logits, gradients, statistics))
    for one, other in zip(*found, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_statistics_are_those_of_valid_frames() -> None:
    torch.manual_seed(0)
    norm, x = MaskedBatchNorm(3).train(), torch.randn(4, 3, 6)
    valid = torch.arange(6) < torch.tensor([6, 2, 4, 1])[:, None]
    rows = x.transpose(1, 2)[valid]
    y = norm(x, valid)
    normalised = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + norm.eps).sqrt()
    torch.testing.assert_close(y.transpose(1, 2)[valid], normalised)
    assert (y.transpose(1, 2)[~valid] == 0).all()
    torch.testing.assert_close(norm.running_mean, 0.1 * rows.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * rows.var(0))
    twin = torch.nn.BatchNorm1d(3).train()
    everything = torch.ones(4, 6, dtype=torch.bool)
    torch.testing.assert_close(MaskedBatchNorm(3).train()(x, everything), twin(x))
    torch.testing.assert_close(norm.eval()(x, valid), torch.nn.BatchNorm1d.forward(norm, x))


def test_the_statistics_of_several_processes_are_those_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one process the sums over processes are its own: value, gradient and running statistics are torch's."""
    import torch.distributed.nn.functional as over

    monkeypatch.setattr(over, "all_reduce", lambda value: value.clone())
    torch.manual_seed(0)
    ours, theirs = MaskedBatchNorm(3).train(), torch.nn.BatchNorm1d(3).train()
    for norm in (ours, theirs):
        torch.nn.init.normal_(norm.weight.data, generator=torch.Generator().manual_seed(1))
        torch.nn.init.normal_(norm.bias.data, generator=torch.Generator().manual_seed(2))
    rows = torch.randn(10, 3, dtype=torch.float64).float()
    found = []
    for norm, call in ((ours, ours.over_processes), (theirs, theirs)):
        x = rows.clone().requires_grad_()
        y = call(x)
        (y.square() * torch.arange(3)).sum().backward()
        found.append([y, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var])
        assert norm.num_batches_tracked == 1
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9])
@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 1, 2), (3, 2, 1)])
def test_lengths_are_divided_and_rounded_up(frames: int, strides: tuple[int, ...]) -> None:
    model = tiny_model(strides=list(strides))
    found = model(torch.randn(2, frames, FEATURES), torch.tensor([frames, 1]), LAYERS)
    expected = [frames, 1]
    for number, (stride, width) in enumerate(zip(strides, SETTINGS["widths"], strict=True), 1):
        expected = [math.ceil(length / stride) for length in expected]
        values, lengths = found.layers[f"stage{number}"]
        assert lengths.tolist() == expected and values.shape == (2, expected[0], width)
    assert found.logits.shape == (2, 1, CLASSES) and found.lengths.tolist() == [1, 1]


def test_layers_are_given_by_name() -> None:
    model, (features, lengths) = tiny_model(), padded(3, 9)
    assert model(features, lengths).layers == {}
    found = model(features, lengths, LAYERS)
    assert set(found.layers) == set(LAYERS) and found.logits.equal(model(features, lengths).logits)
    hidden, positions = found.layers["hidden"]
    assert hidden.shape == (3, 1, 7) and positions.tolist() == [1, 1, 1] and (hidden >= 0).all()
    torch.testing.assert_close(model.output(hidden), found.logits)
    scaled = hidden * model.output.weight.square().sum(0).sqrt()
    torch.testing.assert_close(found.layers["hidden_scaled"][0], scaled)
    last, length = found.layers["stage3"]
    mean = last.sum(1) / length[:, None]
    torch.testing.assert_close(torch.relu(model.hidden(mean))[:, None], hidden)
    for name in ("stage0", "stage4", "blocks", "output"):
        with pytest.raises(
            ConfigError, match=f"layer is '{name}'; this network has stage1, stage2, stage3, hidden, hid"
        ):
            model(features, lengths, [name])


def test_a_class_a_frame() -> None:
    model, (features, lengths) = tiny_model(**FRAME), padded(3, 9)
    found = model(features, lengths, ["hidden"])
    assert found.logits.shape == (3, 9, CLASSES) and found.lengths.equal(lengths)
    assert found.layers["hidden"][0].shape == (3, 9, 7) and found.layers["hidden"][1].equal(lengths)
    moved = features.clone()
    moved[0, 0] += 1  # three stages of two kernels of 3 see 6 frames away
    assert (model(moved, lengths).logits[0] != found.logits[0]).any(-1).tolist() == [True] * 7 + [False] * 2


def test_features_are_normalised() -> None:
    features, lengths = padded(4, 9)
    mean, std = torch.randn(FEATURES), torch.rand(FEATURES) + 0.5
    model = random_model(Classifier(FEATURES, CLASSES, **SETTINGS))
    model.normalise(torch.zeros(FEATURES), torch.ones(FEATURES))
    shifted = copy.deepcopy(model)
    shifted.normalise(mean, std)
    expected = model((features - mean) / std, lengths).logits
    torch.testing.assert_close(shifted(features, lengths).logits, expected, rtol=1e-4, atol=1e-5)
    shifted.normalise(mean, torch.zeros(FEATURES))  # a bin that never changes
    assert shifted(features, lengths).logits.isfinite().all()


def test_images_are_columns_of_pixels() -> None:
    """A stem of two strided convolutions over height and width; what stands in padded columns changes nothing."""
    torch.manual_seed(0)
    model = random_model(Classifier(3 * 10, CLASSES, **SETTINGS | {"planes": 3}))
    features, lengths = torch.rand(2, 12, 30), torch.tensor([12, 12])
    x, after = model.front(features, lengths)
    assert x.shape == (2, model.stem.outputs, 3) == (2, 5 * 3, 3) and after.tolist() == [3, 3]
    image = (features[0] - model.feature_mean) * model.feature_scale
    image = image.reshape(12, 3, 10).permute(1, 2, 0)[None]  # (1, colours, height, width)
    expected = torch.relu(model.stem.conv2(torch.relu(model.stem.conv1(image))))
    torch.testing.assert_close(x[0], expected[0].flatten(0, 1))
    short = torch.tensor([12, 7])
    filled = features.clone()
    filled[1, 7:] = float("nan")
    narrow = model(features[1:, :7], short[1:]).logits
    torch.testing.assert_close(model(filled, short).logits[1:], narrow, rtol=1e-4, atol=1e-5)
    grey = Classifier(10, CLASSES, **SETTINGS | {"planes": 1})
    assert grey.front(features[..., :10], lengths)[0].shape == (2, 15, 3)


def test_multiplications_are_counted_by_hand() -> None:
    """Of 9 frames: stages of 5, 5 and 3 frames; each output of a convolution costs inputs times kernel."""
    first = 5 * 5 * (6 * 3) + 5 * 5 * (5 * 3) + 5 * 5 * 6  # two convolutions and the shortcut
    second = 5 * 4 * (5 * 3) + 5 * 4 * (4 * 3) + 5 * 4 * 5
    third = 3 * 6 * (4 * 3) + 3 * 6 * (6 * 3) + 3 * 6 * 4
    model = tiny_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert multiply_adds(model, 9) == first + second + third + 6 * 7 + 7 * 4
    assert model.training and all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert not model.hidden._forward_hooks
    same = tiny_model(widths=[4, 4], strides=[1, 1], kernel=1, hidden=2)  # the second stage has no shortcut to compute
    assert multiply_adds(same, 3) == 3 * 4 * (6 + 4 + 6) + 3 * 4 * (4 + 4) + 4 * 2 + 2 * 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"widths": []}, "widths is [] and strides [2, 1, 2]; expected one of each a stage"),
        ({"strides": [1, 1]}, "widths is [5, 4, 6] and strides [1, 1]; expected one of each a stage"),
        ({"widths": 8}, "widths is 8 and strides [2, 1, 2]; expected one of each a stage"),
        ({"widths": [5, 0, 6]}, "widths is 0; expected at least 1"),
        ({"strides": [2, 1, -1]}, "strides is -1; expected at least 1"),
        ({"kernel": 4}, "kernel is 4; expected an odd number"),
        ({"kernel": -1}, "kernel is -1; expected at least 1"),
        ({"kernel": "3"}, "kernel is '3'; expected a number, at least 1"),
        ({"hidden": 0}, "hidden is 0; expected at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0; expected from 0 to less than 1"),
        ({"planes": -1}, "planes is -1; expected at least 0"),
        ({"planes": 4}, "planes is 4; expected a divisor of the 6 values of a column"),
        ({"target": "word"}, "target is 'word'; expected one of clip, frame"),
        ({"target": "frame"}, "strides is [2, 1, 2]; expected 1 everywhere where each frame has a class"),
    ],
)
def test_settings_out_of_range_are_one_sentence(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Classifier(FEATURES, CLASSES, **SETTINGS | settings)
    assert str(caught.value) == said
