"""L1 on activations: the numbers of methods.md 12, and the loophole of the plain penalty."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqkd.losses.activation import ActivationL1, scaled_activations
from seqkd.losses.objective import Objective
from seqkd.losses.outputs import Features, Labels, Outputs

EXAMPLES = {"activation_l1": ActivationL1(layer="x")}

HIDDEN = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 2.0]], dtype=torch.float64)


def penalty(hidden: Tensor) -> Tensor:
    """Mean over items (B, D)."""
    return ActivationL1(layer="x")(Features.of(hidden[None, :, None], torch.ones(len(hidden))), None, None).mean()


def test_by_hand() -> None:
    hidden = HIDDEN.clone().requires_grad_()
    assert penalty(hidden).item() == pytest.approx(1.75)
    hidden_gradient = torch.autograd.grad(penalty(hidden), hidden)[0]
    assert torch.equal(hidden_gradient, torch.tensor([[0.5, 0, 0.5], [0, 0, 0.5]], dtype=torch.float64))


def test_it_is_a_mean_over_valid_frames() -> None:
    values = torch.tensor([[[[1.0, -2.0], [3.0, 0.0], [9.0, 9.0]], [[4.0, 4.0], [7.0, 7.0], [7.0, 7.0]]]])
    found = ActivationL1(layer="x")(Features.of(values, torch.tensor([2, 1])), None, None)
    assert found.tolist() == [3.0, 8.0]


def test_rescaling_changes_the_plain_penalty_alone() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(4, 6).double(), nn.Linear(6, 3).double()
    x = torch.randn(5, 4, dtype=torch.float64)

    def network() -> tuple[Tensor, Tensor, Tensor]:
        hidden = first(x).relu()
        return second(hidden), penalty(hidden), penalty(scaled_activations(hidden, second.weight))

    before = network()
    with torch.no_grad():
        first.weight /= 3
        first.bias /= 3
        second.weight *= 3
    after = network()
    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1], before[1] / 3)
    torch.testing.assert_close(after[2], before[2])


def test_scaled_activations_by_hand() -> None:
    weight = torch.tensor([[3.0, 0.0, 1.0], [4.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    scaled = scaled_activations(HIDDEN, weight)
    assert scaled.tolist() == [[5.0, 0.0, 0.5], [0.0, 0.0, 2.0]]
    gradient = torch.autograd.grad(scaled.sum(), weight)[0]  # Σ_b h_bj · W₂[:, j] / ‖W₂[:, j]‖, 0 of a column of zeros
    torch.testing.assert_close(gradient, torch.tensor([[0.6, 0.0, 2.5], [0.8, 0.0, 0.0]], dtype=torch.float64))
    convolution = torch.randn(2, 3, 5, dtype=torch.float64)
    expected = HIDDEN * convolution.square().sum((0, 2)).sqrt()
    torch.testing.assert_close(scaled_activations(HIDDEN, convolution), expected)


def test_a_network_gives_the_scaled_layer_by_name() -> None:
    student = Outputs(
        torch.zeros(1, 2, 1, 2),
        torch.ones(2),
        {"hidden": HIDDEN[None, :, None], "hidden_scaled": 2 * HIDDEN[None, :, None]},
    )
    labels = Labels(torch.zeros(2, 1), torch.ones(2))
    objective = Objective(plain=ActivationL1(layer="hidden"), scaled=ActivationL1(layer="hidden_scaled", weight=0.5))
    loss = objective(student, {}, labels, reduction="mean")
    assert loss.terms["plain"].item() == 1.75 and loss.total.item() == 3.5


def test_the_weight_of_another_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"next_weight is \(3, 2\) and activations have 3 units"):
        scaled_activations(HIDDEN, torch.zeros(3, 2))
