"""Grafting's loss (AAAI 2021, 10.1609/aaai.v35i3.16356): by hand, and what must change nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from seqkd.losses.grafting import GraftMatch
from seqkd.losses.outputs import Labels, Outputs

EXAMPLES = {"graft_match": GraftMatch(), "graft_match_released": GraftMatch(center=False)}
RAW_LOGITS = {"graft_match_released"}

TEACHER, STUDENT = (torch.tensor(z, dtype=torch.float64) for z in ([3.0, 1.0, 0.0, -1.0], [1.0, 1.5, 0.0, -0.5]))
ONE = torch.tensor([1])


def value(student: Tensor, teacher: Tensor, center: bool) -> Tensor:
    """Of one position."""
    both = (Outputs(z[None, None, None], ONE) for z in (student, teacher))
    return GraftMatch(center=center)(*both, Labels(ONE[None], ONE)).sum()


def test_by_hand() -> None:
    student = STUDENT.clone().requires_grad_()
    loss = value(student, TEACHER, False)
    assert cosine_similarity(STUDENT, TEACHER, dim=0).item() == pytest.approx(0.80582296, abs=1e-8)
    assert loss.item() == pytest.approx(0.38835407, abs=1e-8)
    gradient = torch.autograd.grad(loss, student)[0]
    expected = torch.tensor([-0.50651729, 0.36837621, 0.0, 0.09209405], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, atol=1e-8, rtol=0)
    assert (gradient @ STUDENT).item() == pytest.approx(0.0, abs=1e-12)
    assert value(STUDENT + 1, TEACHER, False).item() == pytest.approx(0.57742648, abs=1e-8)


def test_centred_is_blind_to_a_constant() -> None:
    loss = 2 - 2 * 3.5 / 21.875**0.5  # z_T − .75, z_S − .5
    for shift in (0.0, 1.0, 10.0):
        assert value(STUDENT + shift, TEACHER - shift, True).item() == pytest.approx(loss, abs=1e-8)


@pytest.mark.parametrize("center", [True, False])
def test_the_scale_is_nothing_and_opposites_are_furthest(center: bool) -> None:
    assert value(7 * STUDENT, TEACHER, center).item() == pytest.approx(value(STUDENT, TEACHER, center).item())
    assert value(STUDENT, 7 * TEACHER, center).item() == pytest.approx(value(STUDENT, TEACHER, center).item())
    assert value(-TEACHER, TEACHER, center).item() == pytest.approx(4.0)
    assert value(TEACHER, TEACHER, center).item() == 0.0


@pytest.mark.parametrize("center", [True, False])
def test_logits_of_zeros_have_no_direction_and_no_nan(center: bool) -> None:
    student = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    loss = value(student, TEACHER, center)
    assert loss.item() == pytest.approx(1.0)
    assert (torch.autograd.grad(loss, student)[0] == 0).all()


def test_it_sums_over_positions() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(1, 2, 3, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    lengths = torch.tensor([3, 2])
    found = GraftMatch(center=False)(
        Outputs(student, lengths), Outputs(teacher, lengths), Labels(lengths[:, None], ONE)
    )
    each = 2 * (1 - cosine_similarity(student[0], teacher[0], dim=-1))
    torch.testing.assert_close(found, torch.stack([each[0].sum(), each[1, :2].sum()]))
