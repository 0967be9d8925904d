"""What is exported must agree with PyTorch, and the check must see it when it does not."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seqkd.deploy.check import LIMIT, CheckSet, Networks, compare, random_features
from seqkd.deploy.network import NetworkOutput
from seqkd.errors import SeqkdError
from seqkd.models.ctc import CtcModel
from tests.models.tiny_models import BINS, tiny_model

FRAMES = {"a": 40, "b": 25, "c": 9, "d": 3}
BATCHES = [["a", "b"], ["c", "d"]]


@pytest.fixture
def model() -> CtcModel:
    return tiny_model("conv").eval()


@pytest.fixture
def test_set() -> CheckSet:
    generator = torch.Generator().manual_seed(0)
    rows = {name: torch.randn(frames, BINS, generator=generator) for name, frames in FRAMES.items()}
    return CheckSet("mine", rows, BATCHES)


def networks(model: CtcModel, change: Callable[[Tensor], None], which: str = "onnx") -> Networks:
    """Networks that are the model itself, but for a change to the logits of one of them."""

    def run(changed: bool) -> Callable[[Tensor, Tensor], NetworkOutput]:
        def forward(features: Tensor, lengths: Tensor) -> NetworkOutput:
            output = model(features, lengths)
            logits = output.logits.clone()
            if changed:
                change(logits)
            return NetworkOutput(logits, output.lengths)

        return forward

    program = run(which == "program")
    return Networks(
        run(which == "onnx"),
        run(which == "int8"),
        lambda features, lengths: (program(features, lengths).logits, lengths),
    )


def nothing(logits: Tensor) -> None:
    pass


def test_equal_networks_agree(model: CtcModel, test_set: CheckSet) -> None:
    seen: list[int] = []
    found = compare(model, networks(model, nothing), test_set, seen.append)
    assert (found.utterances, found.largest_batch, seen) == (4, 2, [2, 2])
    assert found.frames == 10 + 7 + 3 + 1
    assert found.alone == 0.0
    assert found.together < 1e-5
    assert found.changed == 0
    assert found.units.keys() == FRAMES.keys()


def test_the_greatest_difference_is_what_was_put_in(model: CtcModel, test_set: CheckSet) -> None:
    def shift(logits: Tensor) -> None:
        logits[-1, 0, 2] += LIMIT / 2

    found = compare(model, networks(model, shift), test_set)
    assert found.alone == pytest.approx(LIMIT / 2, rel=0.05)


@pytest.mark.parametrize("which", ["onnx", "program"])
def test_a_difference_only_in_a_batch_is_found(model: CtcModel, test_set: CheckSet, which: str) -> None:
    def second_of_a_batch(logits: Tensor) -> None:
        if len(logits) > 1:
            logits[1, 4:, 3] += 1.5 * LIMIT

    file = {"onnx": "model.onnx", "program": "model.pt2"}[which]
    with pytest.raises(SeqkdError) as caught:
        compare(model, networks(model, second_of_a_batch, which), test_set)
    assert re.fullmatch(
        rf"utterance b of mine, in a padded batch of 2, {file} gives logit \S+ in frame \d, class 3, PyTorch \S+; "
        r"they may differ by 0\.0001, nothing was written; .*",
        str(caught.value),
    )


def test_what_is_in_padding_does_not_count(model: CtcModel, test_set: CheckSet) -> None:
    def padding(logits: Tensor) -> None:
        if len(logits) > 1:
            logits[1, 7:] = torch.nan  # b has 7 frames, d 1 of 3

    assert compare(model, networks(model, padding), CheckSet("mine", test_set.features, [["a", "b"]])).utterances == 2


def test_nan_is_a_difference(model: CtcModel, test_set: CheckSet) -> None:
    def broken(logits: Tensor) -> None:
        logits[0, 2, 1] = torch.nan

    with pytest.raises(SeqkdError, match=r"^utterance a of mine, by itself, model.onnx gives logit nan in frame 2"):
        compare(model, networks(model, broken), test_set)


def test_other_text_is_an_error_however_small_the_difference(model: CtcModel, test_set: CheckSet) -> None:
    torch.nn.init.zeros_(model.head.weight)
    model.head.bias.data = torch.tensor([0.0, 4e-5, *[-1.0] * (len(model.head.bias) - 2)])

    def tip(logits: Tensor) -> None:
        logits[..., 1] -= 8e-5

    with pytest.raises(SeqkdError, match=r"^utterance a of mine, by itself, model.onnx decodes to units \[\], PyTorch"):
        compare(model, networks(model, tip), test_set)


def test_8_bit_weights_are_measured_not_judged(model: CtcModel, test_set: CheckSet) -> None:
    def coarse(logits: Tensor) -> None:
        logits[:, 0, 5] += 100.0

    found = compare(model, networks(model, coarse, "int8"), test_set)
    assert found.int8 == pytest.approx(100.0)
    assert found.changed == sum(found.units[name] != found.int8_units[name] for name in FRAMES) > 0


def test_units_are_those_of_the_penalty_that_transcribing_subtracts(model: CtcModel, test_set: CheckSet) -> None:
    found = {penalty: compare(model, networks(model, nothing), test_set, None, penalty) for penalty in (-40.0, 40.0)}
    for units in (found[-40.0].units, found[-40.0].int8_units):
        assert not any(units.values())
    for units in (found[40.0].units, found[40.0].int8_units):
        assert all(units.values()) and all(0 not in one for one in units.values())


def test_random_features_are_like_training_features(model: CtcModel) -> None:
    drawn = random_features(model)
    longest = drawn.features["random-1000"]
    assert torch.allclose(longest.mean(0), model.feature_mean, atol=0.5)
    assert torch.allclose(longest.std(0) * model.feature_scale, torch.ones(BINS), atol=0.1)
    assert {name for ids in drawn.batches for name in ids} == set(drawn.features)
    assert drawn.features["random-1"].shape == (1, BINS)
    again = random_features(model)
    assert all(torch.equal(drawn.features[name], again.features[name]) for name in drawn.features)
