"""L1 on activations (KDDP, Gazi 2022, 10.29109/gujsc.1141648): by hand, and the loophole of the plain penalty."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqkd.losses.activation import ActivationL1
from seqkd.losses.objective import Objective
from seqkd.losses.outputs import Features, Labels, Outputs
from tests.classification.tiny import padded, tiny_model

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
    model, (x, lengths) = tiny_model().double(), padded(5, 9)

    def network() -> tuple[Tensor, Tensor, Tensor]:
        found = model(x.double(), lengths, ["hidden", "hidden_scaled"])
        plain, scaled = (penalty(found.layers[name][0][:, 0]) for name in ("hidden", "hidden_scaled"))
        return found.logits, plain, scaled

    before = network()
    with torch.no_grad():
        model.hidden.weight /= 3
        model.hidden.bias /= 3
        model.output.weight *= 3
    after = network()
    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1], before[1] / 3)
    torch.testing.assert_close(after[2], before[2])


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
