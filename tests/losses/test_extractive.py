"""Extractive distillation (WACV 2022, 10.1109/wacv51458.2022.00142): by hand, its limits, and its decomposition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses import FrameKd, Labels, Outputs, Term
from seqkd.losses.extractive import ExtractiveKd, extracted

EXAMPLES = {
    "extractive": ExtractiveKd(),
    "extractive_quantile": ExtractiveKd(floor="quantile", quantile=0.5, student_temperature=2.0),
    "positions_extractive": ExtractiveKd(temperature=16.0),
    "positions_disentangled": ExtractiveKd(extract=False),
}

TEACHER = torch.tensor([3.0, 1.0, 0.0, -1.0], dtype=torch.float64)
STUDENT = torch.tensor([1.0, 1.5, 0.0, -0.5], dtype=torch.float64)
ONE = torch.ones(1, dtype=torch.int64)
LABELS = Labels(torch.zeros(1, 1, dtype=torch.int64), ONE)


def of_one(logits: Tensor) -> Outputs:
    """Outputs of one position from logits (C,)."""
    return Outputs(logits[None, None, None], ONE)


def value_and_gradient(term: Term, teacher: Tensor = TEACHER, student: Tensor = STUDENT) -> tuple[float, Tensor]:
    student = student.clone().requires_grad_()
    loss = term(of_one(student), of_one(teacher), LABELS).sum()
    return loss.item(), torch.autograd.grad(loss, student)[0]


def near(*expected: float) -> object:
    return pytest.approx(expected, abs=1e-8)


def test_published_target() -> None:
    log_probs = (TEACHER / 4).log_softmax(-1)
    assert log_probs.exp().tolist() == near(0.40870097, 0.24788967, 0.19305667, 0.15035269)
    target, floor = extracted(log_probs)
    assert target.tolist() == near(0.64815668, 0.2447055, 0.10713782, 0)
    assert target[3] == 0
    term = ExtractiveKd()
    value_and_gradient(term)
    assert floor.item() == pytest.approx(0.60141074, abs=1e-8) == term.noted["floor"].item()
    assert term.noted["uniformity"].item() == pytest.approx(0.94775076, abs=1e-8)


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        (FrameKd(distance="kl", temperature=4.0), (-0.52345771, 0.26776153, 0.0932906, 0.16240558)),
        (ExtractiveKd(extract=False), (-0.10003336, 0.26101719, -0.0795042, -0.08147963)),
        (ExtractiveKd(), (-0.33948906, 0.26420136, 0.00641465, 0.06887305)),
    ],
)
def test_published_gradients(term: Term, expected: tuple[float, ...]) -> None:
    assert value_and_gradient(term)[1].tolist() == near(*expected)


def test_the_three_factors_are_free() -> None:
    term = ExtractiveKd(temperature=7.0, student_temperature=2.0)
    target, _ = extracted((TEACHER / 7).log_softmax(-1))
    value, gradient = value_and_gradient(term)
    assert value == pytest.approx(-(target * (STUDENT / 2).log_softmax(-1)).sum().item())
    torch.testing.assert_close(gradient, ((STUDENT / 2).softmax(-1) - target) / 2)
    tied = value_and_gradient(ExtractiveKd(temperature=4.0, student_temperature=4.0, extract=False))[1]
    torch.testing.assert_close(16 * tied, value_and_gradient(FrameKd(distance="kl", temperature=4.0))[1])


def test_limits_of_the_temperature() -> None:
    target, floor = extracted((TEACHER / 1e4).log_softmax(-1))
    assert target.tolist() == near(0.57145714, 0.2857, 0.14284286, 0)
    assert target.tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7, 0], abs=1e-4)
    assert floor.item() == pytest.approx(1, abs=1e-3)
    single, _ = extracted((TEACHER.float() / 1e4).log_softmax(-1))  # the differences are in the last four digits
    assert single.tolist() == pytest.approx(target.tolist(), abs=3e-3)
    target, floor = extracted((TEACHER / 1e-3).log_softmax(-1))
    assert target.tolist() == [1, 0, 0, 0] and floor.item() == 0


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    classes=st.integers(2, 9),
    temperature=st.sampled_from([0.3, 1.0, 4.0, 64.0]),
    quantile=st.sampled_from([0.0, 0.3, 0.8]),
)
def test_against_the_formula(seed: int, classes: int, temperature: float, quantile: float) -> None:
    """The formulas as written, the decomposition, and that permuting the classes permutes the target."""
    generator = torch.Generator().manual_seed(seed)
    teacher, student = 3 * torch.randn(2, classes, generator=generator, dtype=torch.float64)
    log_p, log_q = (teacher / temperature).log_softmax(-1), student.log_softmax(-1)
    p, target_floor = log_p.exp(), extracted(log_p, quantile)
    target, floor = target_floor
    m = p.sort().values[math.floor(quantile * (classes - 1))]
    assert floor.item() == pytest.approx(p.minimum(m).sum().item())
    torch.testing.assert_close(target, (p - m).clamp(min=0) / (1 - floor), rtol=1e-7, atol=1e-9)
    order = torch.randperm(classes, generator=generator)
    torch.testing.assert_close(extracted(log_p[order], quantile)[0], target[order], rtol=1e-12, atol=1e-15)
    if quantile == 0:
        assert floor.item() == pytest.approx(classes * p.min().item())
        u, uniform = floor.item(), -log_q.mean().item()
        found, _ = value_and_gradient(ExtractiveKd(temperature=temperature), teacher, student)
        plain, _ = value_and_gradient(ExtractiveKd(temperature=temperature, extract=False), teacher, student)
        assert plain == pytest.approx((1 - u) * found + u * uniform, rel=1e-9)


def test_a_teacher_without_a_floor_is_the_target_itself() -> None:
    uniform = torch.full((4,), 0.25, dtype=torch.float64)
    target, floor = extracted(uniform.log())
    torch.testing.assert_close(target, uniform)
    assert floor.item() == pytest.approx(1)
    tied = torch.tensor([0.5, 0.5, 0, 0], dtype=torch.float64)
    for quantile in (0.0, 0.9):  # 0.9 is the greatest probability
        torch.testing.assert_close(extracted(tied.log(), quantile)[0], tied)


def test_notes_beside_ctc_tell_blank_frames_apart() -> None:
    peaked = torch.tensor([[9.0, 0, 0, 0], [0.0, 1, 0, 0], [0.0, 1, 0, 0], [torch.nan] * 4], dtype=torch.float64)
    teacher = Outputs(peaked[None, None], torch.tensor([3]))
    student = Outputs(torch.zeros(2, 1, 4, 4, dtype=torch.float64), torch.tensor([3]))
    term = ExtractiveKd(temperature=1.0)
    term(student, teacher, Labels(torch.tensor([[1]]), ONE))
    of = [torch.special.entr(peaked[i].softmax(-1)).sum().item() / math.log(4) for i in (0, 1)]
    assert term.noted["uniformity_blank"].item() == pytest.approx(of[0])
    assert term.noted["uniformity_nonblank"].item() == pytest.approx(of[1])
    assert term.noted["uniformity"].item() == pytest.approx((of[0] + 2 * of[1]) / 3)
    term(student, teacher, Labels(torch.tensor([[1]]), ONE, blank=3))
    assert term.noted["uniformity_blank"] == 0
    by_position = ExtractiveKd()
    by_position(student, teacher, Labels(torch.zeros(1, 4, dtype=torch.int64), torch.tensor([3])))
    assert set(by_position.noted) == {"uniformity", "floor"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; expected more than 0"),
        ({"student_temperature": -1.0}, "student_temperature is -1.0; expected more than 0"),
        ({"floor": "mean"}, "floor is 'mean'; expected one of min, quantile"),
        ({"quantile": 1.0}, "quantile is 1.0; expected from 0 to less than 1"),
    ],
)
def test_a_fault_is_one_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ExtractiveKd(**options)
