"""Entry by entry what the quantiser computes: worked numbers, its invariances, and training through it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from seqkd.errors import ConfigError
from seqkd.models.classifier import Classifier
from seqkd.models.packing import load_packed, save_packed
from seqkd.models.quantised import (
    improved_step,
    nearest_levels,
    optimal_step,
    outer_layers,
    quantised,
    quantised_layers,
)
from seqkd.models.reparametrised import plain

W = torch.tensor([-1.2, -0.4, -0.1, 0.05, 0.3, 0.9], dtype=torch.float64)


def rounded(w: Tensor, levels: int, step: Tensor | None = None) -> Tensor:
    step = optimal_step(w, levels) if step is None else step
    return nearest_levels(w, step, levels) * step


def error(w: Tensor, step: Tensor | float, levels: int) -> float:
    return float((w - nearest_levels(w, torch.as_tensor(step), levels) * step).square().sum())


@pytest.mark.parametrize(
    ("levels", "step", "apart"), [(3, 1.05, 0.3075), (7, 0.40666667, 0.03183333), (15, 0.17349398, 0.01418675)]
)
def test_the_best_step_of_the_worked_example(levels: int, step: float, apart: float) -> None:
    found = optimal_step(W, levels)
    assert float(found) == pytest.approx(step, abs=1e-8)
    assert error(W, found, levels) == pytest.approx(apart, abs=1e-8)


def test_ternary_values_of_the_worked_example() -> None:
    expected = torch.tensor([-1.05, 0, 0, 0, 0, 1.05], dtype=torch.float64)
    torch.testing.assert_close(rounded(W, 3), expected)


@pytest.mark.parametrize("levels", [3, 5, 7, 15, 31])
def test_no_step_of_a_fine_scan_is_better(levels: int) -> None:
    generator = torch.Generator().manual_seed(levels)
    for _ in range(20):
        w = torch.randn(int(torch.randint(1, 40, (), generator=generator)), generator=generator, dtype=torch.float64)
        least = error(w, optimal_step(w, levels), levels)
        scan = torch.linspace(1e-3, 2.5, 2000, dtype=torch.float64) * w.abs().max()
        assert least <= min(error(w, step, levels) for step in scan) + 1e-12
        # ... and it is a fixed point of the alternation Δ ← ⟨w, n⟩ / ⟨n, n⟩.
        assert error(w, improved_step(w, optimal_step(w, levels), levels), levels) == pytest.approx(least)


def test_an_alternation_alone_may_end_elsewhere() -> None:
    """Why all steps are gone through: from a far start the alternation stops in a local minimum."""
    stuck = improved_step(W, torch.tensor(0.8, dtype=torch.float64), 7, times=50)
    assert error(W, stuck, 7) > 1.5 * error(W, optimal_step(W, 7), 7)


@pytest.mark.parametrize("levels", [3, 7, 15])
def test_scale_sign_and_repetition(levels: int) -> None:
    w = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rounded(3 * w, levels), 3 * rounded(w, levels))
    torch.testing.assert_close(rounded(-w, levels), -rounded(w, levels))
    step = optimal_step(w, levels)
    assert torch.equal(rounded(rounded(w, levels, step), levels, step), rounded(w, levels, step))


def test_zero_weights_stay_zero() -> None:
    zero = torch.zeros(4)
    assert float(optimal_step(zero, 3)) == float(improved_step(zero, torch.tensor(1.0), 3)) == 1.0
    assert torch.equal(rounded(zero, 7), zero)
    # Weights that all became small beside the last step do not stay 0 for ever.
    assert float(improved_step(torch.tensor([0.01, -0.02]), torch.tensor(1.0), 3)) == pytest.approx(0.015)


def classifier(planes: int = 0) -> Classifier:
    torch.manual_seed(0)
    return Classifier(6, 3, widths=(4, 4, 8), strides=(1, 1, 2), hidden=5, dropout=0.0, planes=planes)


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(4, 9, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([9, 5, 3, 9])


def test_the_outer_layers_have_eight_bits_and_the_others_few_levels() -> None:
    model = quantised(classifier(), levels=7)
    weights = {name: layer.weight for name, layer in model.named_modules() if hasattr(layer, "weight")}
    assert {name for name, one in quantised_layers(model).items() if one.levels == 255} == {
        "stages.0.conv1", "stages.0.shortcut", "output"
    }  # fmt: skip
    for name, one in quantised_layers(model).items():
        n = weights[name].detach() / one.step
        torch.testing.assert_close(n, n.round(), rtol=0, atol=1e-4)
        assert n.abs().max().round() == (127 if one.levels == 255 else n.abs().max().round())
        assert n.abs().max().round() <= (one.levels - 1) // 2
        assert torch.equal(one.codes(model.get_submodule(name).parametrizations.weight.original).float(), n.round())
    assert outer_layers(classifier(planes=2)) == ["stem.conv1", "output"]
    assert outer_layers(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 2))) == ["0", "2"]


def test_the_model_itself_is_left_alone_and_eight_bits_change_little() -> None:
    model, (x, lengths) = classifier().eval(), batch()
    before = model(x, lengths).logits
    eight = quantised(model, outer=[name for name, _ in quantised_layers(quantised(model)).items()])
    assert torch.equal(model(x, lengths).logits, before)
    assert (eight(x, lengths).logits - before).abs().max() < 0.05
    assert not torch.equal(eight(x, lengths).logits, before)
    with pytest.raises(ConfigError, match="outer is 'stage'"):
        quantised(model, outer=["stage"])
    with pytest.raises(ConfigError, match="levels is 4"):
        quantised(model, levels=4)
    with pytest.raises(ConfigError, match="levels is 4; expected an odd number"):
        optimal_step(W, 4)


def test_the_gradient_passes_as_if_nothing_were_in_between() -> None:
    layer = quantised(nn.Linear(5, 3), outer=[]).double()
    shadow = layer.parametrizations.weight.original
    x = torch.randn(7, 5, dtype=torch.float64)
    values, given = torch.randn(7, 3, dtype=torch.float64), layer(x)
    (given * values).sum().backward()
    torch.testing.assert_close(shadow.grad, values.T @ x)  # of a plain layer: x is what its weight's gradient has
    assert not torch.equal(layer.weight, shadow)


def test_the_step_follows_the_weights_in_training_and_stands_in_evaluation() -> None:
    layer = quantised(nn.Linear(40, 30), levels=7, outer=[])
    weight = layer.parametrizations.weight[0]
    before = weight.step.clone()
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(1.1)
    layer.eval()
    _ = layer.weight
    assert torch.equal(weight.step, before)
    layer.train()
    for _ in range(30):  # forwards
        _ = layer.weight
    torch.testing.assert_close(weight.step, 1.1 * before)
    torch.testing.assert_close(weight.step, optimal_step(layer.parametrizations.weight.original, 7))


def test_training_improves_it_and_its_state_can_be_loaded() -> None:
    x, lengths = batch()
    targets = torch.tensor([0, 1, 2, 0])
    model = quantised(classifier())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(x, lengths).logits[:, 0], targets)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    model.eval()
    other = quantised(classifier()).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x, lengths).logits, model(x, lengths).logits)
    assert torch.equal(copy.deepcopy(model)(x, lengths).logits, model(x, lengths).logits)


def test_a_plain_copy_has_the_same_logits_and_the_keys_of_the_plain_network() -> None:
    x, lengths = batch()
    model = quantised(classifier()).eval()
    expected = model(x, lengths).logits
    found = plain(model)
    assert torch.equal(found(x, lengths).logits, expected)
    assert set(found.state_dict()) == set(classifier().state_dict())
    fresh = classifier().eval()
    fresh.load_state_dict(found.state_dict())
    assert torch.equal(fresh(x, lengths).logits, expected)
    assert torch.equal(model(x, lengths).logits, expected)  # the copy took nothing from it
    assert not any(hasattr(layer, "parametrizations") for layer in found.modules())


def test_padding_changes_nothing() -> None:
    x, lengths = batch()
    model = quantised(classifier()).eval()
    junk = x.clone()
    junk[1, 5:], junk[2, 3:] = 7.0, float("nan")
    torch.testing.assert_close(model(junk, lengths).logits, model(x, lengths).logits)


@pytest.mark.parametrize("bits", [2, 3, 4, 9])
def test_outer_layers_have_more_levels_than_the_others(bits: int) -> None:
    """Of 2 to 4 bits they would be taken for inner ones: evenly spaced levels lost, and no file written at the end."""
    with pytest.raises(ConfigError, match=f"outer_bits is {bits}; expected one of 5, 6, 7, 8"):
        quantised(classifier(), outer_bits=bits)


@pytest.mark.parametrize("bits", [5, 8])
def test_outer_bits_are_packed(bits: int, tmp_path: Path) -> None:
    model, (x, lengths) = quantised(classifier(), outer_bits=bits).eval(), batch()
    save_packed(tmp_path / "packed", model)
    assert torch.equal(
        load_packed(tmp_path / "packed", classifier().eval())(x, lengths).logits, model(x, lengths).logits
    )
