"""Virtual attention: worked numbers, its limits, and nothing left of it after folding."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkd.errors import ConfigError
from seqkd.models.classifier import Classifier, block_logits, multiply_adds
from seqkd.models.vam import AttendedWeight, attended_layers, folded, with_vam


def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(6, 3, widths=(4, 4, 8), strides=(1, 1, 2), hidden=5, dropout=0.0)


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(4, 9, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([9, 5, 3, 9])


def attended(groups: int = 2, temperature: float = 1.0) -> Classifier:
    model = with_vam(classifier(), groups=groups, temperature=temperature)
    generator = torch.Generator().manual_seed(2)
    for weight in attended_layers(model).values():
        nn.init.normal_(weight.attention, generator=generator)
    return model


def entropy(logits: Tensor) -> Tensor:
    log_probs = logits.log_softmax(-1)
    return -(log_probs.exp() * log_probs).sum(-1)


def test_attention_of_zero_is_the_plain_network() -> None:
    x, lengths = batch()
    plain, model = classifier().eval(), with_vam(classifier(), groups=2).eval()
    assert torch.equal(model(x, lengths).logits, plain(x, lengths).logits)
    logits = block_logits(model)
    torch.testing.assert_close(entropy(logits), torch.full((len(logits),), math.log(2)))


def test_layers_with_attention() -> None:
    names = list(attended_layers(with_vam(Classifier(40, 36), groups=4)))
    every = [name for name, one in Classifier(40, 36).named_modules() if isinstance(one, (nn.Conv1d, nn.Linear))]
    assert names == [name for name in every if name != "output"]
    # 4 divides neither the 6 features nor the 5 hidden units.
    fewer = list(attended_layers(with_vam(classifier(), groups=4)))
    assert fewer == [
        "stages.0.conv2", "stages.1.conv1", "stages.1.conv2", "stages.2.conv1", "stages.2.conv2", "stages.2.shortcut"
    ]  # fmt: skip


def test_every_block_is_weighed_as_written() -> None:
    torch.manual_seed(3)
    weight = torch.randn(6, 4, 3, dtype=torch.float64)
    layer = AttendedWeight(weight, 2, temperature=0.7)
    nn.init.normal_(layer.attention)
    alpha = (layer.attention.double() / 0.7).exp()
    alpha = alpha / alpha.sum(1, keepdim=True)
    found = layer.double()(weight)
    for j in range(6):
        for i in range(4):
            torch.testing.assert_close(found[j, i], 2 * alpha[j // 3, i // 2] * weight[j, i])


def test_one_hot_attention_is_a_grouped_convolution() -> None:
    torch.manual_seed(4)
    layer = nn.Sequential(nn.Conv1d(6, 4, 3, padding=1, bias=False), nn.Conv1d(4, 2, 1)).double()
    model = with_vam(layer, groups=2)
    with torch.no_grad():
        attended_layers(model)["0"].attention.copy_(1e4 * torch.eye(2))
    x = torch.randn(2, 6, 7, dtype=torch.float64)
    kept = torch.cat([layer[0].weight[:2, :3], layer[0].weight[2:, 3:]])  # (4, 3, K): each group its own half
    torch.testing.assert_close(model[0](x), 2 * functional.conv1d(x, kept, padding=1, groups=2))


def test_the_gradient_of_the_entropy() -> None:
    a = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    entropy(a).sum().backward()
    torch.testing.assert_close(entropy(a.detach()), torch.tensor([0.58220311], dtype=torch.float64))
    torch.testing.assert_close(a.grad, torch.tensor([[-0.19661193, 0.19661193]], dtype=torch.float64))
    assert a.detach().softmax(-1)[0].tolist() == pytest.approx([0.73105858, 0.26894142])


def test_the_blocks_that_a_term_is_given_are_the_logits_of_alpha() -> None:
    model, (x, lengths) = attended(temperature=0.5), batch()
    blocks, rows = model(x, lengths, layers=["blocks"]).layers["blocks"]
    count = sum(len(weight.attention) for weight in attended_layers(model).values())
    assert blocks.shape == (4, count, 2) and rows.tolist() == [count] * 4
    first = next(iter(attended_layers(model).values()))
    torch.testing.assert_close(blocks[0, :2], first.attention / 0.5)
    # Rows are output blocks: a layer's factors are 2 · softmax of its rows.
    layer = model.stages[0].conv1
    ratio = layer.weight / layer.parametrizations.weight.original
    torch.testing.assert_close(ratio[::2, ::3, 0], 2 * blocks[0, :2].softmax(-1))
    entropy(blocks).sum().backward()
    assert all(weight.attention.grad.abs().sum() > 0 for weight in attended_layers(model).values())
    assert block_logits(classifier()) is None


@pytest.mark.parametrize("groups", [2, 4])
def test_folding_changes_no_logit_and_leaves_no_parameter(groups: int) -> None:
    x, lengths = batch()
    plain, model = classifier(), attended(groups).eval()
    expected = model(x, lengths).logits
    assert not torch.allclose(expected, plain.eval()(x, lengths).logits)
    network = folded(model)
    assert type(network) is Classifier
    assert torch.equal(network(x, lengths).logits, expected)
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape for name, value in plain.state_dict().items()
    }
    extra = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in plain.parameters())
    assert extra == groups**2 * len(attended_layers(model))
    assert multiply_adds(model, 9) == multiply_adds(plain, 9)
    plain.load_state_dict(network.state_dict())
    assert torch.equal(plain(x, lengths).logits, expected)
    assert torch.equal(model(x, lengths).logits, expected)  # it still works after it was folded


def test_it_trains_and_its_state_can_be_loaded() -> None:
    x, lengths = batch()
    model = with_vam(classifier(), groups=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        functional.cross_entropy(model(x, lengths).logits[:, 0], torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
    assert all(weight.attention.abs().max() > 0.01 for weight in attended_layers(model).values())
    other = with_vam(classifier(), groups=2).eval()
    other.load_state_dict(model.state_dict())
    expected = model.eval()(x, lengths).logits
    assert torch.equal(other(x, lengths).logits, expected)
    assert torch.equal(copy.deepcopy(model)(x, lengths).logits, expected)
    torch.testing.assert_close(folded(model)(x, lengths).logits, expected)


def test_padding_changes_nothing() -> None:
    model, (x, lengths) = attended().eval(), batch()
    junk = x.clone()
    junk[1, 5:], junk[2, 3:] = 7.0, float("nan")
    torch.testing.assert_close(model(junk, lengths).logits, model(x, lengths).logits)


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="groups is 1; expected at least 2"):
        with_vam(classifier(), groups=1)
    with pytest.raises(ConfigError, match="temperature is 0"):
        with_vam(classifier(), temperature=0)
    with pytest.raises(ConfigError, match="groups is 7; expected a divisor"):
        with_vam(classifier(), groups=7)
    with pytest.raises(ConfigError, match="no virtual attention"):
        folded(classifier())
