"""Quantised networks on disk: nothing is lost, bit for bit, and they are small."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from seqkd.errors import ConfigError, DataError
from seqkd.models.classifier import Classifier
from seqkd.models.packing import (
    load_packed,
    pack_levels,
    packed_bytes,
    save_packed,
    unpack_levels,
)
from seqkd.models.quantised import quantised
from seqkd.models.reparametrised import plain


@pytest.mark.parametrize("levels", [3, 7, 15])
@pytest.mark.parametrize("weights", [0, 1, 2, 4, 5, 7, 8, 9, 1000])
def test_levels_come_back(levels: int, weights: int) -> None:
    most = (levels - 1) // 2
    n = torch.randint(-most, most + 1, (weights,), generator=torch.Generator().manual_seed(weights)).to(torch.int8)
    packed = pack_levels(n, levels)
    assert packed.dtype == torch.uint8 and len(packed) == packed_bytes(weights, levels)
    found = unpack_levels(packed, weights, levels)
    assert found.dtype == torch.int8 and torch.equal(found, n)


def test_ternary_weights_take_a_fifth_of_a_byte() -> None:
    assert (packed_bytes(1000, 3), packed_bytes(1000, 7), packed_bytes(1000, 15)) == (200, 375, 500)
    assert 4 * 1000 / packed_bytes(1000, 3) == 20  # against float32
    every = torch.cartesian_prod(*[torch.tensor([-1, 0, 1])] * 5).to(torch.int8)  # all groups of five
    packed = pack_levels(every, 3)
    assert sorted(packed.tolist()) == list(range(243))
    assert torch.equal(unpack_levels(packed, 5 * 243, 3).view(-1, 5), every)
    assert pack_levels(torch.tensor([1, 0, -1, 1, 1]), 3).tolist() == [2 + 1 * 3 + 0 * 9 + 2 * 27 + 2 * 81]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="n is from -1 to 2; expected at most 1"):
        pack_levels(torch.tensor([-1, 2]), 3)
    with pytest.raises(ConfigError, match="levels is 9"):
        pack_levels(torch.zeros(3), 9)
    with pytest.raises(ConfigError, match="packed has 1 bytes; expected 2 for 6 weights"):
        unpack_levels(torch.zeros(1, dtype=torch.uint8), 6, 3)


def classifier(hidden: int = 32, planes: int = 0) -> Classifier:
    return Classifier(40, 35, hidden=hidden, planes=planes).eval()


def trained(levels: int, planes: int = 0) -> Classifier:
    """Quantised, with statistics, weights and norms that are not those of a new network."""
    torch.manual_seed(levels)
    model = classifier(planes=planes)
    model.normalise(torch.randn(40), torch.rand(40) + 0.5)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d):
            for value in (layer.weight, layer.bias, layer.running_mean):
                nn.init.normal_(value)
            nn.init.uniform_(layer.running_var, 0.1, 3.0)
    model = quantised(model, levels=levels).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(2):
        x, lengths = batch()
        model(x, lengths).logits.square().sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(3, 50, 40), torch.tensor([50, 31, 12])


@pytest.mark.parametrize("planes", [0, 2])
@pytest.mark.parametrize("levels", [3, 7, 15])
def test_logits_are_the_same_bit_for_bit(levels: int, planes: int, tmp_path: Path) -> None:
    model = trained(levels, planes)
    x, lengths = batch()
    expected = model(x, lengths).logits
    size = save_packed(tmp_path / "packed.safetensors", model)
    torch.manual_seed(99)
    loaded = load_packed(tmp_path / "packed.safetensors", classifier(planes=planes))
    assert torch.equal(loaded(x, lengths).logits, expected)
    assert torch.equal(model(x, lengths).logits, expected)
    assert size == (tmp_path / "packed.safetensors").stat().st_size
    twice = load_packed(tmp_path / "packed.safetensors", loaded)
    assert torch.equal(twice(x, lengths).logits, expected)


def test_the_file_is_as_small_as_its_numbers(tmp_path: Path) -> None:
    model = trained(3)
    size = save_packed(tmp_path / "packed.safetensors", model)
    save_file(plain(model).state_dict(), tmp_path / "floats.safetensors")
    inner = sum(
        layer.weight.numel() for name, layer in model.named_modules()
        if isinstance(layer, (nn.Conv1d, nn.Linear)) and name not in ("stages.0.conv1", "stages.0.shortcut", "output")
    )  # fmt: skip
    outer = 16 * 40 * 3 + 16 * 40 + 35 * 32
    norms, rest = 2 * 2 * (16 + 16 + 24 + 32), 32 + 35 + 40 + 40
    steps = 13  # layers of weights: 8 convolutions, 3 shortcuts, 2 linear layers
    numbers = packed_bytes(inner, 3) + outer + 4 * (norms + rest + steps)
    assert numbers < size < numbers + 600  # and the header
    assert size < (tmp_path / "floats.safetensors").stat().st_size / 6


def test_files_that_are_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "packed.safetensors"
    with pytest.raises(DataError, match="there is no such file"):
        load_packed(path, classifier())
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        load_packed(path, classifier())
    save_file({"few": torch.zeros(3)}, path)
    with pytest.raises(DataError, match="no file of packed weights"):
        load_packed(path, classifier())


def test_another_network_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    save_packed(tmp_path / "packed.safetensors", trained(7))
    other = classifier(hidden=31)
    before = [value.clone() for value in other.state_dict().values()]
    with pytest.raises(DataError, match="another shape"):
        load_packed(tmp_path / "packed.safetensors", other)
    assert all(map(torch.equal, before, other.state_dict().values()))
    with pytest.raises(ConfigError, match="no quantised weights"):
        save_packed(tmp_path / "floats.safetensors", other)
    with pytest.raises(ConfigError, match=r"float64; expected torch\.float32"):
        save_packed(tmp_path / "double.safetensors", trained(3).double())
    assert not (tmp_path / "double.safetensors").exists()
