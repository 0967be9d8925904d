"""Distillation on a subset of classes (CSKD, ACCV 2022, 10.1007/978-3-031-26284-5_24), by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from seqkd.losses.frame_kd import FrameKd
from seqkd.losses.outputs import Labels, Outputs
from seqkd.losses.subset import SubsetKd, subset_kd_loss

EXAMPLES = {"subset_kd": SubsetKd(), "subset_kd_tempered": SubsetKd(temperature=3.0, min_mass=0.1)}

Z = torch.tensor([2.0, 1.0, 0.0, -1.0], dtype=torch.float64)
KEPT = torch.tensor([0, 2])
ONE = torch.tensor([1])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value(student: Tensor, teacher: Tensor = Z, subset: Tensor | None = KEPT, **options: float) -> Tensor:
    """Of one position."""
    term = SubsetKd(**options)
    both = (Outputs(z[None, None, None], ONE) for z in (student, teacher))
    return term(*both, Labels(torch.tensor([[0]]), ONE, subset=subset)).sum()


def test_by_hand() -> None:
    p = Z[KEPT].softmax(-1)
    assert p.tolist() == pytest.approx([0.88079708, 0.11920292], abs=1e-8)
    torch.testing.assert_close(p, Z.softmax(-1)[KEPT] / Z.softmax(-1)[KEPT].sum())
    student = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # (.5, .5)
    loss = value(student)
    assert loss.item() == pytest.approx(0.32781333, abs=1e-8)
    gradient = torch.autograd.grad(loss, student)[0]
    assert gradient.tolist() == pytest.approx([-0.38079708, 0.38079708], abs=1e-8)
    assert value(student, temperature=4.0).item() == pytest.approx(0.48479779, abs=1e-8)


def test_the_teachers_other_logits_do_not_matter() -> None:
    student = torch.tensor([0.3, -0.2], dtype=torch.float64)
    for others in (0.0, 9.0, -torch.inf):
        changed = Z.clone()
        changed[[1, 3]] = others
        assert value(student, changed).item() == pytest.approx(value(student).item())
    assert value(student.flip(0), subset=KEPT.flip(0)).item() == pytest.approx(value(student).item())


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_of_all_classes_it_is_plain_distillation(temperature: float) -> None:
    lengths = torch.tensor([3, 2])
    student, teacher = Outputs(drawn(2, 2, 3, 4), lengths), Outputs(drawn(1, 2, 3, 4, seed=1), lengths)
    plain = FrameKd(distance="kl", temperature=temperature)(student, teacher, None)
    for subset in (None, torch.arange(4)):
        labels = Labels(torch.zeros(2, 1), lengths, subset=subset)
        torch.testing.assert_close(SubsetKd(temperature=temperature)(student, teacher, labels), plain)


def test_positions_with_little_mass_are_left_out() -> None:
    lengths = torch.tensor([3, 2])
    student, teacher = Outputs(drawn(2, 2, 3, 2), lengths), Outputs(drawn(1, 2, 3, 4, seed=1), lengths)
    labels = Labels(torch.zeros(2, 1), lengths, subset=KEPT)
    mass = teacher.logits.softmax(-1)[0][..., KEPT].sum(-1)  # (B, T)
    term = SubsetKd()
    whole = term(student, teacher, labels)
    valid = mass[student.mask]
    torch.testing.assert_close(term.noted["mass"], valid.mean())
    threshold = float(valid.median())
    each = torch.tensor(
        [
            [sum(value(s, t) for s in student.logits[:, b, i]) / 2 for i, t in enumerate(teacher.logits[0, b])]
            for b in range(2)
        ]
    )
    torch.testing.assert_close(whole, (each * student.mask).sum(1))
    kept = student.mask & (mass >= threshold)
    assert 0 < kept.sum() < 5
    found = SubsetKd(min_mass=threshold)(student, teacher, labels)
    torch.testing.assert_close(found, (each * kept).sum(1))


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        (torch.tensor([0, 1, 2]), r"the subset has shape \(3,\) and the student 2 classes"),
        (torch.tensor([0, 4]), r"class 4, outside the teacher's \[0, 4\)"),
        (torch.tensor([-1, 0]), "class -1, outside"),
        (torch.tensor([1, 1]), "a class twice"),
    ],
)
def test_a_wrong_subset_is_refused(subset: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        value(torch.zeros(2, dtype=torch.float64), subset=subset)
    with pytest.raises(ValueError, match=message):
        subset_kd_loss(torch.zeros(1, 2), Z[None], torch.tensor([0]), subset, kd_weight=0.2)


def test_without_a_subset_the_classes_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="must have the same"):
        value(torch.zeros(2, dtype=torch.float64), subset=None)


def test_the_function_adds_cross_entropy() -> None:
    logits, teacher = drawn(4, 2).requires_grad_(), drawn(4, 5, seed=1).requires_grad_()
    targets = torch.tensor([0, 1, -100, 1])
    each = subset_kd_loss(logits, teacher, targets, KEPT, kd_weight=0.2, temperature=2.0, reduction="none")
    hard = cross_entropy(logits, targets, reduction="none")
    kd = torch.stack([value(s, t, temperature=2.0) for s, t in zip(logits, teacher, strict=True)]) * (targets >= 0)
    torch.testing.assert_close(each.terms["hard"], hard)
    torch.testing.assert_close(each.terms["kd"], kd)
    torch.testing.assert_close(each.total, hard + 0.2 * kd)
    mean = subset_kd_loss(logits, teacher, targets, [0, 2], kd_weight=0.2, temperature=2.0)
    torch.testing.assert_close(mean.total, each.total.sum() / 3)
    assert torch.autograd.grad(mean.total, [logits, teacher], allow_unused=True)[1] is None
    none = subset_kd_loss(logits, teacher, targets, KEPT, kd_weight=0.0)
    assert set(none.terms) == {"hard"}
    torch.testing.assert_close(none.total, cross_entropy(logits, targets))
    torch.autograd.gradcheck(lambda z: subset_kd_loss(z, teacher, targets, KEPT, kd_weight=0.7).total, logits)
