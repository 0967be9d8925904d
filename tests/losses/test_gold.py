"""Targets of positions, for every term that reads them: what is no class, what MixUp has mixed, weights of classes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses import (
    AdaptiveSmoothing,
    BookKd,
    CrossEntropy,
    Labels,
    LabelSmoothing,
    Objective,
    Outputs,
    Term,
    VirtualTeacher,
)
from seqkd.losses.ace import Ace
from seqkd.losses.aligned_smoothing import AlignedSmoothing
from seqkd.losses.ccskd import SelectiveKd
from seqkd.losses.class_statistics import IntraClassVariance
from seqkd.losses.multi_teacher import MultiTeacherKd
from seqkd.losses.outputs import IGNORE
from seqkd.losses.uncertainty import UncertaintyKd

BATCH, CLASSES = 3, 4
LENGTHS = torch.ones(BATCH, dtype=torch.int64)
SHARE = torch.tensor([0.25, 1.0, 0.6], dtype=torch.float64)
FIRST, SECOND = torch.tensor([[0], [1], [2]]), torch.tensor([[3], [0], [2]])
WEIGHTS = torch.tensor([1.0, 3.0, 0.5, 2.0], dtype=torch.float64)
BY_POSITION = {
    "cross_entropy": CrossEntropy(smoothing=0.1),
    "smoothing": LabelSmoothing(smoothing=0.1),
    "adaptive": AdaptiveSmoothing(),
    "virtual": VirtualTeacher(temperature=2.0),
    "ace": Ace(),
    "uncertainty": UncertaintyKd(beta=0.0),
}
READ_TARGETS = {
    **BY_POSITION,
    "multi_teacher": MultiTeacherKd(combine="per_sample"),
    "book": BookKd(regularisation=0.2),
    "variance": IntraClassVariance(),
}


def drawn(seed: int, passes: int = 1, frames: int = 1) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(passes, BATCH, frames, CLASSES, generator=generator, dtype=torch.float64)
    return Outputs(logits, torch.full((BATCH,), frames))


def value(term: Term, labels: Labels, teacher: Outputs | None = None, student: Outputs | None = None) -> Tensor:
    """(B,), by an objective."""
    others = {"teacher": teacher or drawn(1)} if term.source == "teacher" else {}
    return Objective(term=term)(student or drawn(0), others, labels, reduction="none").total


def labelled(targets: Tensor, **more: Tensor) -> Labels:
    return Labels(targets, LENGTHS, **more)


def mixed(**more: Tensor) -> Labels:
    return labelled(FIRST, mixed=SECOND, share=SHARE, **more)


def in_shares(one: Tensor, other: Tensor) -> Tensor:
    return SHARE * one + (1 - SHARE) * other


# ---- what is no class


@pytest.mark.parametrize("wrong", [CLASSES, -1, -7])
@pytest.mark.parametrize("name", READ_TARGETS)
def test_what_is_no_class_is_never_trained(name: str, wrong: int) -> None:
    if name == "variance" and wrong == CLASSES:
        pytest.skip("it looks at features, whose classes nobody has counted")
    with pytest.raises(ValueError, match=rf"target {wrong} at position 0"):
        value(READ_TARGETS[name], labelled(torch.tensor([[0], [wrong], [2]])))
    value(READ_TARGETS[name], labelled(torch.tensor([[0], [IGNORE], [2]])))


def test_what_is_mixed_in_is_looked_at_too() -> None:
    labels = labelled(FIRST, mixed=torch.tensor([[0], [9], [0]]), share=SHARE)
    with pytest.raises(ValueError, match=r"item 1: target 9 at position 0 is outside \[0, 4\).*or -100 for none"):
        value(CrossEntropy(), labels)


def test_values_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, whole = [], Tensor.any
    monkeypatch.setattr(Tensor, "any", lambda self, *given: looks.append(1) or whole(self, *given))
    labels = labelled(FIRST)
    for _ in range(3):
        labels.check_classes(torch.ones(BATCH, 1, dtype=torch.bool), CLASSES)
    assert len(looks) == 1


@pytest.mark.parametrize("name", BY_POSITION)
def test_a_transcript_has_no_target_a_position(name: str) -> None:
    """One label an utterance would else be that of all its frames, and more would be a traceback."""
    for width in (1, 2):
        labels = Labels(torch.ones(BATCH, width, dtype=torch.int64), torch.full((BATCH,), width))
        with pytest.raises(ConfigError, match=rf"needs one target a position, but there are {width} targets for 5"):
            value(BY_POSITION[name], labels, drawn(1, frames=5), drawn(0, frames=5))


def test_a_book_is_regularised_where_there_is_a_target() -> None:
    student, teacher = drawn(0), drawn(1)
    labels = labelled(torch.tensor([[0], [IGNORE], [2]]))
    found, plain = (value(BookKd(regularisation=one), labels) for one in (0.3, 0.0))
    assert found[1] == plain[1] and found[0] != plain[0]
    b = 0.7 * teacher.logits[0, 2, 0].softmax(-1) + 0.3 * torch.eye(CLASSES)[2]
    weight = 1 - torch.special.entr(b).sum() / torch.tensor(4.0, dtype=torch.float64).log()
    divergence = (b * (b.log() - student.logits[0, 2, 0].log_softmax(-1))).sum()
    torch.testing.assert_close(found[2], weight * divergence)


# ---- mixtures and weights


def test_smoothing_is_cross_entropy_with_mixtures_and_weights() -> None:
    for labels in (mixed(), labelled(FIRST, class_weights=WEIGHTS), mixed(class_weights=WEIGHTS)):
        for amount in (0.0, 0.1, 1.0):
            term = LabelSmoothing(smoothing=amount)
            expected = value(CrossEntropy(smoothing=amount), labels, student=drawn(0, 2))
            torch.testing.assert_close(value(term, labels, student=drawn(0, 2)), expected)
            of_parts = (1 - amount) * term.noted["hard"] + amount * term.noted["soft"]
            assert of_parts.item() == pytest.approx(expected.mean().item())


@pytest.mark.parametrize(
    "term",
    [VirtualTeacher(temperature=2.0), VirtualTeacher(variant="released"), SelectiveKd(), SelectiveKd(variant="clean")],
)
def test_a_mixture_is_worth_its_parts(term: Term) -> None:
    one, other = (value(term, labelled(targets)) for targets in (FIRST, SECOND))
    torch.testing.assert_close(value(term, mixed()), in_shares(one, other))
    assert not torch.allclose(one, other)


def test_teachers_are_weighed_by_what_they_give_the_mixture() -> None:
    teachers = drawn(1, 2)
    log_probs = teachers.logits[:, :, 0].log_softmax(-1)  # (K, B, C)
    target = SHARE[:, None] * torch.eye(CLASSES)[FIRST[:, 0]] + (1 - SHARE)[:, None] * torch.eye(CLASSES)[SECOND[:, 0]]
    shares = (log_probs * target).sum(-1).softmax(0)  # ∝ exp(−CE)
    of_all = (shares[..., None] * log_probs.exp()).sum(0)
    expected = (of_all * (of_all.log() - drawn(0).logits[0, :, 0].log_softmax(-1))).sum(-1)
    torch.testing.assert_close(value(MultiTeacherKd(combine="per_sample"), mixed(), teachers), expected)


def test_a_part_of_no_weight_may_be_impossible() -> None:
    teachers = drawn(1, 2)
    teachers.logits[0, 1, 0, 0] = -torch.inf  # of item 1, whose second target has a share of nothing
    assert value(MultiTeacherKd(combine="per_sample"), mixed(), teachers).isfinite().all()


def test_a_book_is_regularised_by_the_mixture() -> None:
    y = in_shares(torch.eye(CLASSES, dtype=torch.float64)[FIRST[:, 0]].T, torch.eye(CLASSES)[SECOND[:, 0]].T).T
    b = 0.8 * drawn(1).logits[0, :, 0].softmax(-1) + 0.2 * y
    expected = (b * (b.log() - drawn(0).logits[0, :, 0].log_softmax(-1))).sum(-1)
    torch.testing.assert_close(value(BookKd(regularisation=0.2, adjust=False), mixed()), expected)


@pytest.mark.parametrize(
    ("term", "labels", "said"),
    [
        (AdaptiveSmoothing(), mixed(), r"term term \(AdaptiveSmoothing\) cannot take labels that MixUp has mixed"),
        (AlignedSmoothing(), mixed(), r"term term \(AlignedSmoothing\) cannot take labels that MixUp has mixed"),
        (AdaptiveSmoothing(), labelled(FIRST, class_weights=WEIGHTS), "cannot take weights of classes"),
        (VirtualTeacher(), labelled(FIRST, class_weights=WEIGHTS), "cannot take weights of classes"),
    ],
)
def test_what_a_term_cannot_take_is_no_secret(term: Term, labels: Labels, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        value(term, labels)


# ---- beside CTC


def test_an_utterance_that_cannot_be_aligned_is_left_out() -> None:
    """Of three frames: one transcript fits, one needs a blank between equal units, one is too long."""
    student = drawn(0, frames=3)
    targets = torch.tensor([[1, 2, 3, 1], [2, 2, 1, 0], [1, 2, 3, 1]])
    found = value(AlignedSmoothing(), Labels(targets, torch.tensor([3, 3, 4])), student=student)
    assert found[0] > 0 and found[1:].tolist() == [0.0, 0.0]
    fits = value(AlignedSmoothing(), Labels(targets, torch.tensor([3, 2, 0])), student=student)
    assert fits[1] > 0 and fits[0] == found[0]
