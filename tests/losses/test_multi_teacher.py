"""Targets of several teachers (ICAICE 2021, 10.1109/icaice54393.2021.00127): by hand, and the mixture written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses.frame_kd import FrameKd
from seqkd.losses.multi_teacher import MultiTeacherKd
from seqkd.losses.outputs import IGNORE, Labels, Outputs

EXAMPLES = {
    "multi_teacher": MultiTeacherKd(temperature=2.0),
    "multi_teacher_dev": MultiTeacherKd(combine="dev", shares=[0.7]),
    "positions_multi_teacher": MultiTeacherKd(combine="per_sample"),
}
# Gold class 0: .7 and .4.
GOLD = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1]], dtype=torch.float64)
TARGET = torch.tensor([0.59090909, 0.30909091, 0.1], dtype=torch.float64)
ONE = torch.tensor([1])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch(teachers: int = 3) -> tuple[Outputs, Outputs, Labels]:
    """Two passes of three items of 5, 5 and 2 positions, four classes."""
    lengths = torch.tensor([5, 5, 2])
    targets = torch.randint(4, (3, 5), generator=torch.Generator().manual_seed(1))
    return (
        Outputs(drawn(2, 3, 5, 4), lengths),
        Outputs(drawn(teachers, 3, 5, 4, seed=2), lengths),
        Labels(targets, lengths),
    )


def test_better_teachers_guide_more() -> None:
    logits = torch.tensor([[[[1.0, 0.5, -0.2]]]], dtype=torch.float64, requires_grad=True)
    teacher = Outputs(GOLD.log()[:, None, None], ONE)
    term = MultiTeacherKd(combine="per_sample")
    loss = term(Outputs(logits, ONE), teacher, Labels(torch.tensor([[0]]), ONE)).sum()
    shares = term._log_shares(teacher, Labels(torch.tensor([[0]]), ONE)).exp().flatten()
    torch.testing.assert_close(shares, torch.tensor([0.63636364, 0.36363636], dtype=torch.float64), atol=1e-8, rtol=0)
    target = (shares[:, None] * GOLD).sum(0)
    torch.testing.assert_close(target, TARGET, atol=1e-8, rtol=0)
    ours = logits.log_softmax(-1).flatten()
    torch.testing.assert_close(loss, (target * (target.log() - ours)).sum())
    # p − target
    gradient = torch.autograd.grad(loss, logits)[0].flatten()
    torch.testing.assert_close(gradient, (ours.exp() - TARGET).detach(), atol=1e-8, rtol=0)


@pytest.mark.parametrize("combine", ["uniform", "per_sample", "dev"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_it_is_the_mixture_written_out(combine: str, temperature: float) -> None:
    student, teacher, labels = batch()
    shares = [0.5, 1.0, 2.0] if combine == "dev" else None
    found = MultiTeacherKd(combine=combine, shares=shares, temperature=temperature)(student, teacher, labels)
    expected = torch.zeros(3, dtype=torch.float64)
    for item, length in enumerate(student.lengths):
        for position in range(length):
            z = teacher.logits[:, item, position]
            if combine == "uniform":
                a = torch.full((3,), 1 / 3, dtype=torch.float64)
            elif combine == "dev":
                a = torch.tensor(shares, dtype=torch.float64) / 3.5
            else:
                ce = -z.log_softmax(-1)[:, labels.targets[item, position]]
                a = (-ce).exp() / (-ce).exp().sum()
            target = (a[:, None] * (z / temperature).softmax(-1)).sum(0)
            for one in student.logits[:, item, position]:
                p = (one / temperature).softmax(-1)
                expected[item] += temperature**2 * (target * (target / p).log()).sum() / 2
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("combine", ["uniform", "per_sample", "dev"])
def test_equal_teachers_are_one(combine: str) -> None:
    student, teacher, labels = batch(teachers=1)
    many = Outputs(teacher.logits.expand(3, -1, -1, -1), teacher.lengths)
    term = MultiTeacherKd(combine=combine, shares=[1.0, 2.0, 3.0] if combine == "dev" else None, temperature=2.0)
    one = FrameKd(distance="kl", temperature=2.0)(student, teacher, labels)
    torch.testing.assert_close(term(student, many, labels), one)


def test_probabilities_are_averaged_not_logits() -> None:
    """A teacher whose logits are ten times as large does not drown the other."""
    p = torch.tensor([0.9, 0.1], dtype=torch.float64)
    loud = torch.tensor([-50.0, 50.0], dtype=torch.float64)
    teacher = Outputs(torch.stack([p.log(), loud])[:, None, None], ONE)
    student = Outputs(torch.tensor([[[[0.45, 0.55]]]], dtype=torch.float64).log(), ONE)
    assert MultiTeacherKd()(student, teacher, Labels(ONE[None] * 0, ONE)).item() == pytest.approx(0.0, abs=1e-9)


def test_without_a_target_teachers_are_equals() -> None:
    student, teacher, labels = batch()
    labels.labelled = torch.tensor([True, False, True])
    found = MultiTeacherKd(combine="per_sample")(student, teacher, labels)
    uniform = MultiTeacherKd()(student, teacher, labels)
    assert labels.positions(5)[1].eq(IGNORE).all()
    torch.testing.assert_close(found[1], uniform[1])
    assert not torch.isclose(found[0], uniform[0])
    none = Outputs(teacher.logits.clone(), teacher.lengths)  # all teachers rule the first target out
    none.logits[:, 0, 0, labels.targets[0, 0]] = -torch.inf
    assert MultiTeacherKd(combine="per_sample")(student, none, labels).isfinite().all()


def test_shares_of_nothing_leave_a_teacher_out() -> None:
    student, teacher, labels = batch(teachers=2)
    first = Outputs(teacher.logits[:1], teacher.lengths)
    found = MultiTeacherKd(combine="dev", shares=[2.0, 0.0])(student, teacher, labels)
    torch.testing.assert_close(found, MultiTeacherKd()(student, first, labels))


def test_wrong_settings_are_refused() -> None:
    for shares, combine in (([1.0], "uniform"), (None, "dev")):
        with pytest.raises(ConfigError, match="expected both shares and 'dev', or none"):
            MultiTeacherKd(combine=combine, shares=shares)
    with pytest.raises(ConfigError, match="of which one is more than 0"):
        MultiTeacherKd(combine="dev", shares=[0.0, 0.0])
    with pytest.raises(ConfigError, match=r"shares is -1\.0; expected at least 0"):
        MultiTeacherKd(combine="dev", shares=[1.0, -1.0])
    student, teacher, labels = batch()
    with pytest.raises(ConfigError, match="shares has 2 numbers and there are 3 teachers"):
        MultiTeacherKd(combine="dev", shares=[1.0, 1.0])(student, teacher, labels)
    with pytest.raises(ConfigError, match="needs one target a position"):
        MultiTeacherKd(combine="per_sample")(student, teacher, Labels(labels.targets[:, :2], torch.tensor([2, 2, 1])))
    with pytest.raises(ValueError, match="must have the same"):
        MultiTeacherKd()(student, Outputs(teacher.logits[..., :3], teacher.lengths), labels)
