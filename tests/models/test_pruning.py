"""Pruning of hidden units: what is inactive, that nothing but the dead goes, and that training goes on as it was."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkd.errors import ConfigError
from seqkd.models.classifier import Classifier
from seqkd.models.layers import feed_forward
from seqkd.models.pruning import (
    Activity,
    inactive_units,
    magnitude_keep,
    prune_classifier,
    prune_hidden,
)

H = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 2.0]])


def activity(kind: str, hidden: Tensor, lengths: Tensor | None = None) -> Activity:
    found = Activity(kind)
    found.add(hidden, lengths)
    return found


def test_the_inactive_unit_of_the_worked_example() -> None:
    seen = activity("max", H[:, None])
    assert seen.sizes().tolist() == [1, 0, 2]
    assert inactive_units(seen.sizes(), 0.01).tolist() == [False, True, False]
    assert seen.means().tolist() == [0.5, 0.0, 1.25]


def test_epsilon_is_a_share_of_the_median_and_a_minimum_is_kept() -> None:
    sizes = torch.tensor([4.0, 0.02, 2.0, 0.0, 2.0])  # median 2
    assert inactive_units(sizes, 0.0).tolist() == [False, False, False, True, False]
    assert inactive_units(sizes, 0.01).tolist() == [False, True, False, True, False]
    assert inactive_units(sizes, 1.0).tolist() == [False, True, True, True, True]
    assert inactive_units(sizes, 1.0, minimum=3).tolist() == [False, True, False, True, False]
    assert inactive_units(torch.zeros(3), 0.5).tolist() == [False, True, True]  # one is always left
    assert not inactive_units(sizes, 1.0, minimum=9).any()
    assert torch.equal(inactive_units(7 * sizes, 0.01), inactive_units(sizes, 0.01))
    for setting in ({"epsilon": -1}, {"epsilon": 0, "minimum": 0}):
        with pytest.raises(ConfigError):
            inactive_units(sizes, **setting)


def test_a_rare_outlier_keeps_a_unit_alive_by_its_maximum_only() -> None:
    hidden = torch.ones(200, 1, 3)
    hidden[:, 0, 1] = 0
    hidden[0, 0, 1] = 5.0
    assert inactive_units(activity("max", hidden).sizes(), 0.01).tolist() == [False, False, False]
    seen = activity("q99", hidden)
    assert seen.sizes().tolist() == [1, 0, 1]
    assert inactive_units(seen.sizes(), 0.01).tolist() == [False, True, False]
    # The statistic does not depend on how the pass is cut in batches.
    parts = Activity("q99")
    values = torch.randn(203, 1, 3)
    for part in values.split(17):
        parts.add(part)
    torch.testing.assert_close(parts.sizes(), activity("q99", values).sizes())
    torch.testing.assert_close(parts.sizes(), values[:, 0].abs().quantile(0.99, dim=0, interpolation="higher"))
    torch.testing.assert_close(parts.means(), values.mean((0, 1)))


def test_padded_positions_do_not_count() -> None:
    hidden = torch.ones(2, 3, 2)
    hidden[0, 1:], hidden[1, 2:] = 9.0, float("nan")
    seen = activity("max", hidden, torch.tensor([1, 2]))
    assert seen.sizes().tolist() == seen.means().tolist() == [1, 1]
    with pytest.raises(ConfigError, match="no activation was added"):
        Activity().sizes()
    with pytest.raises(ConfigError, match="inactive is 'q98'"):
        Activity("q98")


def pair(hidden: int = 6) -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    return nn.Linear(4, hidden).double(), nn.Linear(hidden, 3).double()


def outputs(first: nn.Linear, second: nn.Linear, x: Tensor) -> Tensor:
    return second(first(x).relu())


def test_a_dead_and_a_constant_unit_go_and_the_outputs_stay() -> None:
    first, second = pair()
    with torch.no_grad():
        first.bias[1] = -100  # never active
        first.weight[4], first.bias[4] = 0.0, 0.75  # always the same
    x = torch.randn(50, 4, dtype=torch.float64)
    before = outputs(first, second, x)
    seen = activity("max", first(x).relu()[:, None])
    keep = torch.tensor([True, False, True, True, False, True])
    rows, columns = first.weight[keep].clone(), second.weight[:, keep].clone()
    prune_hidden(first, second, keep, seen.means())
    torch.testing.assert_close(outputs(first, second, x), before, rtol=0, atol=1e-14)
    assert torch.equal(first.weight, rows) and torch.equal(second.weight, columns)
    assert (first.out_features, second.in_features) == (4, 4)
    # Left out, the constant is missed.
    first, second = pair()
    with torch.no_grad():
        first.weight[4], first.bias[4] = 0.0, 0.75
    before = outputs(first, second, x)
    prune_hidden(first, second, torch.arange(6) != 4)
    assert (outputs(first, second, x) - before).abs().max() > 0.01


def test_a_second_layer_without_a_bias_is_given_one_if_it_needs_it() -> None:
    first, _ = pair()
    second = nn.Linear(6, 3, bias=False).double()
    with torch.no_grad():
        first.weight[4], first.bias[4] = 0.0, 0.75
    x = torch.randn(5, 4, dtype=torch.float64)
    before = outputs(first, second, x)
    optimizer = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=0.1)
    prune_hidden(first, second, torch.arange(6) != 4, torch.full((6,), 0.75), optimizer)
    torch.testing.assert_close(outputs(first, second, x), before)
    assert optimizer.param_groups[-1]["params"][0] is second.bias


def test_nothing_dead_nothing_pruned() -> None:
    first, second = pair()
    parameters = list(first.parameters())
    seen = activity("max", first(torch.randn(200, 4, dtype=torch.float64)).relu()[:, None])
    keep = ~inactive_units(seen.sizes(), 1e-3)
    prune_hidden(first, second, keep, seen.means())
    assert keep.all() and all(map(torch.equal, parameters, first.parameters()))
    assert all(one is other for one, other in zip(parameters, first.parameters(), strict=True))


def test_rescaling_a_unit_changes_its_penalty_alone() -> None:
    first, second = pair()
    x = torch.randn(50, 4, dtype=torch.float64)
    hidden, given = first(x).relu(), outputs(first, second, x)
    keep, norms = magnitude_keep(first, second, 3), second.weight.norm(dim=0)
    with torch.no_grad():
        first.weight /= 3
        first.bias /= 3
        second.weight *= 3
    scaled = first(x).relu()
    torch.testing.assert_close(outputs(first, second, x), given)
    torch.testing.assert_close(scaled.sum(), hidden.sum() / 3)  # the L1 penalty: fooled
    torch.testing.assert_close(scaled * second.weight.norm(dim=0), hidden * norms)  # the scaled one: not
    assert torch.equal(magnitude_keep(first, second, 3), keep)


def test_the_control_keeps_the_largest_weights() -> None:
    first, second = pair()
    with torch.no_grad():
        first.weight[2] *= 100
        second.weight[:, 5] *= 100
        first.weight[0] = 0
    keep = magnitude_keep(first, second, 2)
    assert keep.nonzero()[:, 0].tolist() == [2, 5]
    assert magnitude_keep(first, second, 5).tolist() == [False, True, True, True, True, True]
    with pytest.raises(ConfigError, match="width is 7; expected from 1 to 6"):
        magnitude_keep(first, second, 7)


def classifier(hidden: int = 8) -> Classifier:
    torch.manual_seed(0)
    return Classifier(6, 3, widths=(4, 8), strides=(2, 1), hidden=hidden, dropout=0.0)


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(5, 9, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([9, 5, 3, 9, 1])


def step(model: Classifier, optimizer: torch.optim.Optimizer) -> None:
    x, lengths = batch()
    x = x.to(model.output.weight.dtype)
    optimizer.zero_grad()
    functional.cross_entropy(model(x, lengths).logits[:, 0], torch.tensor([0, 1, 2, 0, 1])).backward()
    optimizer.step()


@pytest.mark.parametrize(
    "kind", [torch.optim.AdamW, torch.optim.RMSprop, lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)]
)
def test_training_goes_on_as_if_the_dead_unit_had_never_been(kind: type[torch.optim.Optimizer]) -> None:
    """A dead unit has no gradient and no moment, so two trainings, with it and without, are one."""
    whole = classifier().double()
    with torch.no_grad():
        whole.hidden.bias[[1, 6]] = -100.0
    optimizer = kind(whole.parameters(), lr=0.01)
    for _ in range(3):
        step(whole, optimizer)
    pruned = copy.deepcopy(whole)
    other = kind(pruned.parameters(), lr=0.01)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    keep = torch.ones(8, dtype=torch.bool)
    keep[[1, 6]] = False
    before = len(other.state)
    assert prune_classifier(pruned, keep, optimizer=other) is pruned
    assert len(other.state) == before and set(other.state) == set(pruned.parameters())
    held = list(itertools.chain.from_iterable(group["params"] for group in other.param_groups))
    assert set(held) == set(pruned.parameters())
    for _ in range(3):
        step(whole, optimizer)
        step(pruned, other)
    for name, one in (("weight", pruned.hidden.weight), ("bias", pruned.hidden.bias)):
        torch.testing.assert_close(one, getattr(whole.hidden, name)[keep])
    torch.testing.assert_close(pruned.output.weight, whole.output.weight[:, keep])
    x, lengths = batch()
    torch.testing.assert_close(pruned.eval()(x.double(), lengths).logits, whole.eval()(x.double(), lengths).logits)


def test_the_moments_are_those_of_the_units_that_stay() -> None:
    model = classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    step(model, optimizer)
    moments = {key: value.clone() for key, value in optimizer.state[model.output.weight].items()}
    keep = torch.arange(8) % 2 == 0
    prune_classifier(model, keep, optimizer=optimizer)
    for key in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(optimizer.state[model.output.weight][key], moments[key][:, keep])
        assert optimizer.state[model.hidden.bias][key].shape == (4,)
    assert optimizer.state[model.output.weight]["step"] == moments["step"]
    step(model, optimizer)


def test_a_pruned_classifier_is_an_ordinary_one() -> None:
    model = prune_classifier(classifier().eval(), torch.arange(8) < 5)
    other = classifier(hidden=5).eval()
    other.load_state_dict(model.state_dict())
    x, lengths = batch()
    assert torch.equal(other(x, lengths).logits, model(x, lengths).logits)
    assert model(x, lengths, layers=["hidden_scaled"]).layers["hidden_scaled"][0].shape == (5, 1, 5)


def test_more_is_pruned_the_more_activations_cost() -> None:
    """Along a sweep of the penalty the kept width falls."""
    torch.manual_seed(1)
    x = torch.randn(100, 4)
    y = (x[:, 0] * x[:, 1] > 0).long()
    widths = []
    for price in (0.0, 0.03, 0.1, 1.0):
        torch.manual_seed(2)
        first, second = nn.Linear(4, 16), nn.Linear(16, 2)
        optimizer = torch.optim.AdamW([*first.parameters(), *second.parameters()], lr=0.02, weight_decay=1e-3)
        for _ in range(200):
            hidden = first(x).relu()
            loss = functional.cross_entropy(second(hidden), y) + price * hidden.abs().sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seen = activity("max", first(x).relu()[:, None])
        keep = ~inactive_units(seen.sizes(), 0.01)
        before = outputs(first, second, x)
        prune_hidden(first, second, keep, seen.means(), optimizer)
        torch.testing.assert_close(outputs(first, second, x), before, rtol=0, atol=0.05)
        widths.append(first.out_features)
    assert widths[0] == 16 and widths == sorted(widths, reverse=True) and widths[-1] < widths[1] < 16


def test_units_of_a_feed_forward_block_go_too() -> None:
    torch.manual_seed(0)
    block = feed_forward(4, 10, 0.0).eval()
    block[2] = nn.ReLU()  # in the place of SiLU, whose units never fall silent
    with torch.no_grad():
        block[1].bias[[0, 3]] = -100.0
    x = torch.randn(2, 7, 4)
    before = block(x)
    hidden = block[:3](x)
    seen = activity("max", hidden, torch.tensor([7, 4]))
    keep = ~inactive_units(seen.sizes(), 0.01)
    prune_hidden(block[1], block[4], keep, seen.means())
    assert block[1].out_features == int(keep.sum()) <= 8
    torch.testing.assert_close(block(x), before)


def test_what_does_not_fit_is_refused_and_nothing_is_changed() -> None:
    first, second = pair()
    before = first.weight
    for keep, message in (
        (torch.ones(5, dtype=torch.bool), r"keep is torch.bool of shape \(5,\); expected torch.bool of \(6,\)"),
        (torch.ones(6), r"keep is torch.float32"),
        (torch.zeros(6, dtype=torch.bool), "keep is false for all units"),
    ):
        with pytest.raises(ConfigError, match=message):
            prune_hidden(first, second, keep)
    with pytest.raises(ConfigError, match="first has 6 outputs, second 4 inputs"):
        prune_hidden(first, nn.Linear(4, 2), torch.ones(6, dtype=torch.bool))
    assert first.weight is before
