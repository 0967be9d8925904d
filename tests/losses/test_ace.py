"""ACE (Sensors 2020, 10.3390/s20164616): numbers by hand, and what it is where the teacher is right, and wrong."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses import CrossEntropy, FrameKd, Labels, Outputs
from seqkd.losses.ace import Ace

EXAMPLES = {"positions_ace": Ace(), "positions_ace_blend": Ace(mode="blend")}

STUDENT, RIGHT, WRONG = (0.5, 0.3, 0.2), (0.7, 0.2, 0.1), (0.2, 0.7, 0.1)


def outputs(*probs: tuple[float, ...]) -> Outputs:
    """One item, of a position for each distribution."""
    logits = torch.tensor(probs, dtype=torch.float64).log()
    return Outputs(logits[None, None], torch.tensor([len(probs)]))


def labels(*targets: int) -> Labels:
    return Labels(torch.tensor([targets]), torch.tensor([len(targets)]))


def value_and_gradient(term: Ace | FrameKd, teacher: tuple[float, ...]) -> tuple[float, list[float]]:
    student = outputs(STUDENT)
    student.logits.requires_grad_()
    loss = term(student, outputs(teacher), labels(0)).sum()
    return loss.item(), torch.autograd.grad(loss, student.logits)[0].flatten().tolist()


@pytest.mark.parametrize(
    ("mode", "teacher", "value", "gradient"),
    [
        ("hard", RIGHT, 0.88694138, (-0.2, 0.1, 0.1)),
        ("hard", WRONG, 0.69314718, (-0.5, 0.3, 0.2)),
        ("blend", RIGHT, 0.82880312, (-0.29, 0.16, 0.13)),
        ("blend", WRONG, 0.78298858, (-0.34, 0.16, 0.18)),
    ],
)
def test_published_numbers(mode: str, teacher: tuple[float, ...], value: float, gradient: tuple[float, ...]) -> None:
    term = Ace(mode=mode)
    found, slope = value_and_gradient(term, teacher)
    assert found == pytest.approx(value, abs=1e-8) and slope == pytest.approx(gradient, abs=1e-12)
    assert term.noted["right"] == (teacher is RIGHT)
    assert term.noted["trust"].item() == pytest.approx(teacher[0] if mode == "blend" else float(teacher is RIGHT))


def test_plain_distillation_would_go_away_from_the_label() -> None:
    assert value_and_gradient(FrameKd(distance="kl"), WRONG)[1] == pytest.approx((0.3, -0.4, 0.1))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), classes=st.integers(2, 8), mode=st.sampled_from(["hard", "blend"]))
def test_against_the_formula(seed: int, classes: int, mode: str) -> None:
    """Written out position by position; with mixtures, class weights, and two passes of the student."""
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(2, 2, 3, classes, generator=generator, dtype=torch.float64)
    teacher = 2 * torch.randn(1, 2, 3, classes, generator=generator, dtype=torch.float64)
    targets, others = torch.randint(classes, (2, 2, 3), generator=generator)
    part = torch.rand(2, generator=generator, dtype=torch.float64)
    weights = torch.rand(classes, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([3, 2])
    given_labels = Labels(targets, lengths, mixed=others, share=part, class_weights=weights)
    found = Ace(mode=mode)(Outputs(student, lengths), Outputs(teacher, lengths), given_labels)

    def goal(p: Tensor, y: int) -> Tensor:
        one_hot = torch.nn.functional.one_hot(torch.tensor(y), classes).double()
        if mode == "hard":
            return p if p.argmax() == y else one_hot
        return p[y] * p + (1 - p[y]) * one_hot

    expected = torch.zeros(2, dtype=torch.float64)
    for item in range(2):
        for t in range(int(lengths[item])):
            p = teacher[0, item, t].softmax(-1)
            g = part[item] * goal(p, int(targets[item, t])) + (1 - part[item]) * goal(p, int(others[item, t]))
            for one in student[:, item, t]:
                expected[item] -= (g * weights * one.log_softmax(-1)).sum() / 2
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("mode", ["hard", "blend"])
def test_a_teacher_that_is_the_label_is_cross_entropy(mode: str) -> None:
    student, sure = outputs(STUDENT, WRONG), outputs((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    expected = CrossEntropy()(student, None, labels(0, 1))
    torch.testing.assert_close(Ace(mode=mode)(student, sure, labels(0, 1)), expected)
    torch.testing.assert_close(Ace(mode=mode)(student, sure, labels(2, 0)), CrossEntropy()(student, None, labels(2, 0)))


def test_positions_without_a_target_take_no_part() -> None:
    student, teacher = outputs(STUDENT, STUDENT), outputs(RIGHT, WRONG)
    term, alone = Ace(mode="blend"), Ace(mode="blend")
    found = term(student, teacher, labels(0, -100))
    torch.testing.assert_close(found, alone(outputs(STUDENT), outputs(RIGHT), labels(0)))
    torch.testing.assert_close(term.noted, alone.noted)
    unlabelled = labels(0, 1)
    unlabelled.labelled = torch.tensor([False])
    assert term(student, teacher, unlabelled) == 0 and term.noted["trust"] == 0


def test_faults_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match="mode is 'soft'; expected one of hard, blend"):
        Ace(mode="soft")
    with pytest.raises(ConfigError, match="Ace needs one target a position, but there are 1 targets for 2 positions"):
        Ace()(outputs(STUDENT, STUDENT), outputs(RIGHT, RIGHT), labels(0))
