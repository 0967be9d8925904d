"""TTM and WTTM against their formulas, computed in other ways."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seqkd.errors import ConfigError
from seqkd.losses import FrameKd, Outputs, Term
from seqkd.losses.ttm import Ttm
from tests.losses.test_extractive import LABELS, STUDENT, TEACHER, of_one, value_and_gradient

EXAMPLES = {
    "ttm": Ttm(),
    "wttm": Ttm(temperature=4.0, weighted=True),
    "positions_wttm": Ttm(temperature=2.0, weighted=True),
}


def power(probs: Tensor, exponent: float) -> tuple[Tensor, float]:
    """p^γ normalised, and Σ p^γ."""
    raised = probs**exponent
    return raised / raised.sum(), raised.sum().item()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 10.0])
def test_value_and_gradient_in_closed_form(temperature: float) -> None:
    target, total = power(TEACHER.softmax(-1), 1 / temperature)
    value, gradient = value_and_gradient(Ttm(temperature=temperature))
    assert value == pytest.approx(F.kl_div(STUDENT.log_softmax(-1), target, reduction="sum").item())
    torch.testing.assert_close(gradient, STUDENT.softmax(-1) - target)
    term = Ttm(temperature=temperature, weighted=True)
    weighted, weighted_gradient = value_and_gradient(term)
    assert weighted == pytest.approx(total * value) and term.noted["weight"].item() == pytest.approx(total)
    torch.testing.assert_close(weighted_gradient, total * gradient)


def test_numbers_at_temperature_four() -> None:
    # p_T^(1/4) = (.40870097, .24788967, .19305667, .15035269), as extractive distillation has it; Σ p_T^¼ by hand.
    assert value_and_gradient(Ttm(temperature=4.0))[1].tolist() == pytest.approx(
        [-0.10003336, 0.26101719, -0.0795042, -0.08147963], abs=1e-8
    )
    total = sum(p**0.25 for p in TEACHER.softmax(-1).tolist())
    term = Ttm(temperature=4.0, weighted=True)
    value_and_gradient(term)
    assert term.noted["weight"].item() == pytest.approx(total, rel=1e-12)


def test_it_is_distillation_and_a_renyi_entropy() -> None:
    tau = 3.0
    target, _ = power(TEACHER.softmax(-1), 1 / tau)
    entropy = torch.special.entr(target).sum().item()
    kd, _ = value_and_gradient(FrameKd(distance="kl", temperature=tau))
    student = STUDENT.softmax(-1)
    renyi = math.log(power(student, 1 / tau)[1]) / (1 - 1 / tau)
    value, _ = value_and_gradient(Ttm(temperature=tau))
    assert value + entropy == pytest.approx(tau * (kd / tau**2 + entropy) - (tau - 1) * renyi, rel=1e-12)


def test_the_weight_is_from_one_to_a_power_of_the_classes() -> None:
    term = Ttm(temperature=4.0, weighted=True)
    value_and_gradient(term, torch.zeros(4, dtype=torch.float64))
    assert term.noted["weight"].item() == pytest.approx(4**0.75)
    value_and_gradient(term, torch.tensor([1e3, 0, 0, 0], dtype=torch.float64))
    assert term.noted["weight"].item() == pytest.approx(1)


@pytest.mark.parametrize("weighted", [False, True])
def test_at_temperature_one_it_is_distillation(weighted: bool) -> None:
    plain: Term = FrameKd(distance="kl")
    assert value_and_gradient(Ttm(temperature=1.0, weighted=weighted))[0] == pytest.approx(value_and_gradient(plain)[0])


def test_padded_frames_have_no_part_in_the_mean_weight() -> None:
    padded = torch.stack([TEACHER, torch.full_like(TEACHER, torch.nan)])
    teacher, student = (Outputs(x[None, None], torch.tensor([1])) for x in (padded, torch.zeros_like(padded)))
    term, alone = Ttm(weighted=True), Ttm(weighted=True)
    term(student, teacher, LABELS)
    alone(of_one(STUDENT), of_one(TEACHER), LABELS)
    assert term.noted["weight"].item() == pytest.approx(alone.noted["weight"].item())


def test_a_fault_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="temperature is 0; expected more than 0"):
        Ttm(temperature=0)
