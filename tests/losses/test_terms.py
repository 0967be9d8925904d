"""What holds for every term. It finds the terms by itself.

A test file of tests/losses says what is to be tried: ``EXAMPLES``, terms by name, of which those by position
(``labels`` of one class a frame) have a name that begins with ``positions``. Terms that look at features name the
layer ``x``; their teacher's features are as wide as the student's. ``NO_GRADCHECK`` there names those whose gradient is
not that of their value, or whose value jumps: that file checks them in closed form; ``RAW_LOGITS`` those that adding a
constant to the logits of a frame does change.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import seqkd.losses
import tests.losses
from seqkd.errors import ConfigError
from seqkd.losses import (
    AdaptiveSmoothing,
    AlignedSmoothing,
    BestPath,
    BookKd,
    ConfidencePenalty,
    Consistency,
    CrossEntropy,
    Ctc,
    Delayed,
    FrameKd,
    Guided,
    Hypotheses,
    Labels,
    LabelSmoothing,
    NBest,
    Objective,
    Outputs,
    SoftTargets,
    Term,
    VirtualTeacher,
)

EXAMPLES = {
    "ctc": Ctc(),
    "ctc_composed": Ctc(backend="torch"),
    "frame_kd": FrameKd(),
    "frame_kd_kl": FrameKd(distance="kl", temperature=2.0, select="nonblank"),
    "frame_kd_per_class": FrameKd(distance="kl", per_class=True),
    "consistency": Consistency(),
    "guided": Guided(),
    "guided_log": Guided(variant="log"),
    "delayed": Delayed(max_delay=2),
    "delayed_mean": Delayed(max_delay=2, match="mean", distance="squared"),
    "best_path": BestPath(),
    "nbest": NBest(),
    "book_kd": BookKd(temperature=2.0),
    "confidence_penalty": ConfidencePenalty(),
    "aligned_smoothing": AlignedSmoothing(),
    "positions_cross_entropy": CrossEntropy(smoothing=0.1),
    "positions_smoothing": LabelSmoothing(smoothing=0.2),
    "positions_adaptive": AdaptiveSmoothing(),
    "positions_book_kd": BookKd(regularisation=0.2),
    "positions_soft_targets": SoftTargets(temperature=3.0),
    "positions_virtual": VirtualTeacher(temperature=2.0),
    "positions_virtual_released": VirtualTeacher(variant="released"),
}
# The gradient of these is not that of their value, or their value jumps: their own tests check them in closed form.
NO_GRADCHECK = {"positions_adaptive", "aligned_smoothing", "frame_kd_kl", "delayed"}


def said(attribute: str, empty: dict | set) -> dict | set:
    """What the test files of this folder say under that name, together."""
    found = empty
    for module in pkgutil.iter_modules(tests.losses.__path__):
        if module.name.startswith("test_"):
            found = found | getattr(importlib.import_module(f"tests.losses.{module.name}"), attribute, empty)
    return found


def examples() -> dict[str, Term]:
    """All of this folder."""
    return said("EXAMPLES", {})


def terms_of_the_package() -> set[type[Term]]:
    """Every public class of seqkd.losses that is a term."""
    found = set()
    for module in pkgutil.iter_modules(seqkd.losses.__path__):
        for one in vars(importlib.import_module(f"seqkd.losses.{module.name}")).values():
            if isinstance(one, type) and issubclass(one, Term) and one is not Term and not one.__name__.startswith("_"):
                found.add(one)
    return found


@pytest.fixture(params=examples(), ids=str)
def named(request: pytest.FixtureRequest) -> tuple[str, Term]:
    return request.param, examples()[request.param]


class Case:
    """A batch of three items of 7, 6 and 4 frames, two passes, four classes; and features of six."""

    def __init__(self, name: str, term: Term, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(0)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)  # noqa: E731
        self.term, self.lengths = term, torch.tensor([7, 6, 4])
        self.student = Outputs(draw(2, 3, 7, 4), self.lengths, {"x": draw(2, 3, 7, 6)})
        self.other = Outputs(2 * draw(1, 3, 7, 4), self.lengths, {"x": draw(1, 3, 7, 6)})
        if name == "nbest":
            hypotheses = torch.tensor([[1, 2, -1], [3, -1, -1]]).expand(3, 2, 3)
            scores = torch.tensor([[-0.2, -1.5], [-1.0, -torch.inf], [-1.0, -1.0]])
            self.other = Hypotheses(hypotheses, torch.tensor([[2, 1]] * 3), scores)
        self.labels = Labels(torch.tensor([[1, 3, 2], [2, 2, 0], [0, 0, 0]]), torch.tensor([3, 2, 0]))
        if name.startswith("positions"):
            self.labels = Labels(torch.randint(4, (3, 7), generator=generator), self.lengths)

    @property
    def input(self) -> Tensor:
        """What the term is differentiated by."""
        return self.student.logits if self.term.layer == "output" else self.student.layers[self.term.layer]

    def outputs(self, value: Tensor) -> Outputs:
        """The student's, with another input."""
        if self.term.layer == "output":
            return Outputs(value, self.student.lengths, self.student.layers)
        return Outputs(self.student.logits, self.student.lengths, {**self.student.layers, self.term.layer: value})

    def loss(self, student: Outputs | None = None, reduction: str = "none", other: Outputs | None = None) -> Tensor:
        objective = Objective(term=self.term)
        others = {self.term.source: other or self.other} if self.term.source else {}
        return objective(student or self.student, others, self.labels, reduction=reduction).total

    def value_and_gradient(self, value: Tensor, other: Outputs | None = None) -> tuple[Tensor, Tensor]:
        value = value.clone().requires_grad_()
        loss = self.loss(self.outputs(value), other=other)
        return loss.detach(), torch.autograd.grad(loss.sum(), value)[0]


def filled(outputs: Outputs, value: float) -> Outputs:
    """Outputs whose padding holds ``value``."""

    def fill(x: Tensor) -> Tensor:
        x = x.clone()
        for item, length in enumerate(outputs.lengths):
            x[:, item, length:] = value
        return x

    return replace(outputs, logits=fill(outputs.logits), layers={k: fill(v) for k, v in outputs.layers.items()})


def longer(outputs: Outputs, value: float) -> Outputs:
    """Outputs with five padded frames more."""
    pad = lambda x: torch.nn.functional.pad(x, (0, 0, 0, 5), value=value)  # noqa: E731
    return replace(outputs, logits=pad(outputs.logits), layers={k: pad(v) for k, v in outputs.layers.items()})


def test_every_term_of_the_package_has_an_example() -> None:
    assert terms_of_the_package() == {type(term) for term in examples().values()} & terms_of_the_package()


def test_it_is_differentiable(named: tuple[str, Term]) -> None:
    name, term = named
    case = Case(name, term)
    loss, gradient = case.value_and_gradient(case.input)
    assert loss.shape == (3,) and loss.isfinite().all() and gradient.abs().sum() > 0
    if name not in said("NO_GRADCHECK", set()):
        torch.autograd.gradcheck(lambda value: case.loss(case.outputs(value)), case.input.clone().requires_grad_())


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -1e30])
def test_padding_never_matters(named: tuple[str, Term], garbage: float) -> None:
    case = Case(*named)
    loss, gradient = case.value_and_gradient(case.input)
    dirty = filled(case.student, garbage)
    other = case.other if isinstance(case.other, Hypotheses) else filled(case.other, garbage)
    value = dirty.logits if case.term.layer == "output" else dirty.layers[case.term.layer]
    same, same_gradient = case.value_and_gradient(value, other)
    assert torch.equal(loss, same) and torch.equal(gradient, same_gradient)
    for item, length in enumerate(case.lengths):
        assert (same_gradient[:, item, length:] == 0).all()


def test_a_longer_padded_batch_gives_the_same(named: tuple[str, Term]) -> None:
    case = Case(*named)
    other = case.other if isinstance(case.other, Hypotheses) else longer(case.other, float("nan"))
    expected, case.labels = case.loss(), replace(case.labels)
    if named[0].startswith("positions"):
        case.labels.targets = torch.nn.functional.pad(case.labels.targets, (0, 5), value=3)
    torch.testing.assert_close(case.loss(longer(case.student, 3.0), other=other), expected, rtol=1e-12, atol=1e-12)


def test_the_other_gets_no_gradient(named: tuple[str, Term]) -> None:
    case = Case(*named)
    if case.term.source is None or isinstance(case.other, Hypotheses):
        pytest.skip("it looks at no other network")
    leaves = [case.other.logits.requires_grad_(), case.other.layers["x"].requires_grad_()]
    case.value_and_gradient(case.input)
    assert all(leaf.grad is None for leaf in leaves)
    assert not case.loss().requires_grad


def test_reductions_are_one_loss(named: tuple[str, Term]) -> None:
    case = Case(*named)
    each = case.loss()
    torch.testing.assert_close(case.loss(reduction="sum"), each.sum())
    torch.testing.assert_close(case.loss(reduction="mean"), each.sum() / 3)


def test_a_weight_of_zero_removes_it(named: tuple[str, Term]) -> None:
    case = Case(*named)
    broken = Outputs(torch.full_like(case.student.logits, torch.nan), case.lengths)
    weight, case.term.weight = case.term.weight, 0.0
    try:
        loss = Objective(term=case.term)(broken, {}, case.labels)
    finally:
        case.term.weight = weight
    assert loss.total == 0 and loss.terms == {} and loss.notes == {}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(named: tuple[str, Term], dtype: torch.dtype) -> None:
    half, full = Case(*named, dtype), Case(*named, dtype)

    def single(one: Outputs | Hypotheses) -> Outputs | Hypotheses:
        if isinstance(one, Hypotheses):
            return one
        return replace(one, logits=one.logits.float(), layers={k: v.float() for k, v in one.layers.items()})

    full.student, full.other = single(full.student), single(full.other)
    loss, gradient = half.value_and_gradient(half.input)
    expected, _ = full.value_and_gradient(full.input)
    assert loss.dtype == torch.float32 and gradient.dtype == dtype
    assert torch.equal(loss, expected)


def test_mixed_precision_changes_nothing(named: tuple[str, Term]) -> None:
    """Products of features would otherwise be computed in half precision, of which small differences are lost."""
    case = Case(*named, torch.float32)
    loss, gradient = case.value_and_gradient(case.input)
    value = case.input.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = case.loss(case.outputs(value))
    assert found.dtype == torch.float32 and torch.equal(found, loss)
    assert torch.equal(torch.autograd.grad(found.sum(), value)[0], gradient)


# Whose value is neither a sum nor a mean over frames: one alignment more or less, one delay.
ALIGNED = {"ctc", "ctc_composed", "nbest", "best_path", "delayed", "delayed_mean", "aligned_smoothing"}


def test_it_is_a_sum_over_positions_or_one_number_an_item(named: tuple[str, Term]) -> None:
    """Each frame twice doubles a sum and leaves a mean, which `Objective` is told by ``per_item``."""
    case = Case(*named)
    if named[0] in ALIGNED:
        pytest.skip("it is an alignment's")
    twice = lambda x: x.repeat_interleave(2, 2)  # noqa: E731
    doubled = lambda one: Outputs(twice(one.logits), 2 * one.lengths, {"x": twice(one.layers["x"])})  # noqa: E731
    before, labels = case.loss().abs().sum(), case.labels
    if named[0].startswith("positions"):
        case.labels = Labels(labels.targets.repeat_interleave(2, 1), 2 * labels.lengths)
    if before < 1e-9:
        pytest.skip("two items alone always have the same relation")
    ratio = case.loss(doubled(case.student), other=doubled(case.other)).abs().sum() / before
    assert (ratio < 1.5) == case.term.per_item


def test_a_mean_over_items_stays_one_where_losses_are_divided_by_positions(named: tuple[str, Term]) -> None:
    case = Case(*named)
    plain, expected = case.loss(), case.loss()
    case.labels = replace(case.labels, by_position=True)
    count = case.labels.lengths.sum()
    if case.term.per_item:
        expected = plain * case.labels.lengths
        assert case.loss(reduction="sum") / count <= plain.max() + 1e-12
    torch.testing.assert_close(case.loss(), expected)
    torch.testing.assert_close(case.loss(reduction="mean"), expected.sum() / count)
    case.labels.labelled = torch.tensor([True, False, True])
    torch.testing.assert_close(
        case.loss(reduction="mean"), case.loss().sum() / (count - case.labels.lengths[1]), rtol=1e-12, atol=1e-12
    )


def test_several_teachers_are_no_passes_of_one(named: tuple[str, Term]) -> None:
    """As many teachers as passes would else teach a pass each."""
    case = Case(*named)
    if case.term.source != "teacher" or isinstance(case.other, Hypotheses):
        pytest.skip("it has no teacher with logits")
    two = lambda x: torch.cat([x, -x])  # noqa: E731
    case.other = Outputs(two(case.other.logits), case.lengths, {"x": two(case.other.layers["x"])}, teachers=2)
    if case.term.several:
        return
    with pytest.raises(ConfigError, match=r"compares with one teacher, but there are 2 teachers or draws; name one"):
        case.loss()


def test_adding_a_constant_to_a_frame_changes_nothing(named: tuple[str, Term]) -> None:
    case = Case(*named)
    if case.term.layer != "output" or named[0] in said("RAW_LOGITS", set()):
        pytest.skip("features are no logits; nor does it hold of a variant that takes logits as they are")
    shift = 10 * torch.randn(2, 3, 7, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    other = case.other if isinstance(case.other, Hypotheses) else replace(case.other, logits=case.other.logits + 3.0)
    moved = case.loss(Outputs(case.student.logits + shift, case.lengths), other=other)
    torch.testing.assert_close(moved, case.loss(), rtol=1e-9, atol=1e-9)


def test_cross_entropy_of_mixtures_and_weighted_classes_is_that_of_torch() -> None:
    """Torch's value for probability targets, 5/3 of that for indices."""
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    student = Outputs(logits[None, :, None], torch.ones(3, dtype=torch.int64))
    targets, weights = torch.tensor([0, 0, 1]), torch.tensor([1.0, 3.0], dtype=torch.float64)
    labels = Labels(targets[:, None], student.lengths, class_weights=weights)
    of_torch = torch.nn.functional.cross_entropy
    for smoothing, expected in ((0.0, 1.17321041), (0.1, 1.24811183)):
        loss = CrossEntropy(smoothing=smoothing)(student, None, labels).mean()
        assert loss.item() == pytest.approx(expected, abs=1e-8)
        by_index = of_torch(logits, targets, weights, label_smoothing=smoothing)
        assert loss.item() == pytest.approx(by_index.item() * 5 / 3)
    other = torch.tensor([1, 1, 0])
    mixed = Labels(targets[:, None], student.lengths, None, 0, other[:, None], torch.tensor([0.25, 1.0, 0.5]), weights)
    soft = torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(CrossEntropy()(student, None, mixed), of_torch(logits, soft, weights, reduction="none"))
