"""The native Cons-KD, one kernel for all terms, against the same composed of torch's operations."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.ctc import cpu
from seqkd.losses import cons_kd_loss
from tests.losses.loss_batches import make_batch

pytestmark = pytest.mark.skipif(not cpu.available()[0], reason=cpu.available()[1])


def loss_and_gradient(student, backend, *arguments, **options):
    student = student.clone().requires_grad_()
    result = cons_kd_loss(student, *arguments, backend=backend, reduction="none", **options)
    total = result.total[result.total.isfinite()].sum()
    return result, torch.autograd.grad(total, student, allow_unused=True)[0] if total.requires_grad else None


@st.composite
def settings_of_cons_kd(draw):
    return {
        "blank": draw(st.sampled_from([0, 2])),
        "kd_weight": draw(st.sampled_from([0.0, 0.7])),
        "consistency_weight": draw(st.sampled_from([0.0, 0.4])),
        "ctc_weight": draw(st.sampled_from([0.0, 1.3])),
        "distance": draw(st.sampled_from(["squared", "kl"])),
        "temperature": draw(st.sampled_from([1.0, 0.5, 4.0])),
        "detach_consistency": draw(st.booleans()),
        "select": draw(st.sampled_from(["all", "nonblank"])),
        "labelled": draw(st.sampled_from([None, [True, False, True]])),
        "zero_infinity": draw(st.booleans()),
    }


@settings(max_examples=150, deadline=None)
@given(
    options=settings_of_cons_kd(),
    seed=st.integers(0, 2**16),
    passes=st.integers(1, 3),
    teachers=st.sampled_from(["none", "one", "each"]),
    classes=st.sampled_from([3, 4, 17, 40]),
    double=st.booleans(),
)
def test_equals_the_composed_form(options, seed, passes, teachers, classes, double):
    batch = make_batch(seed, passes=passes, classes=classes)
    blank = options["blank"]
    targets = torch.where(batch.targets == blank, 0 if blank else 1, batch.targets)
    targets[1, 1] = targets[1, 0]
    teacher = {"none": None, "one": batch.teacher, "each": torch.randn_like(batch.student)}[teachers]
    lengths = batch.input_lengths.clone()
    lengths[1] = 2  # too short for two labels that are the same
    dtype = torch.double if double else torch.float
    arguments = (None if teacher is None else teacher.to(dtype), targets, lengths, batch.target_lengths)
    found, gradient = loss_and_gradient(batch.student.to(dtype), "cpu", *arguments, **options)
    student = batch.student.to(dtype).double()
    arguments = (None if teacher is None else arguments[0].double(), *arguments[1:])
    expected, expected_gradient = loss_and_gradient(student, "torch", *arguments, **options)

    assert found.terms.keys() == expected.terms.keys() and found.total.dtype == dtype
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if double else {"rtol": 1e-5, "atol": 2e-6}
    torch.testing.assert_close(found.total.double(), expected.total, **tolerance)
    for name, term in found.terms.items():
        torch.testing.assert_close(term.double(), expected.terms[name], **tolerance)
    if expected_gradient is None:
        assert gradient is None
    else:
        # torch's op gives an utterance that cannot be aligned a NaN gradient
        torch.testing.assert_close(gradient.double(), expected_gradient.nan_to_num(), **tolerance)


@pytest.mark.parametrize("distance", ["squared", "kl"])
def test_float32_keeps_the_digits_of_small_distances(distance):
    """A student a hair's breadth from its teacher, and from itself: where differences of large sums lose all digits."""
    batch = make_batch(dtype=torch.float, frames=50, classes=200)
    teacher = 5 * torch.randn(3, 50, 200)
    student = teacher + 1e-3 * torch.randn(2, 3, 50, 200)
    lengths = torch.tensor([50, 40, 30])
    options = {"kd_weight": 1.0, "consistency_weight": 1.0, "distance": distance}
    found, gradient = loss_and_gradient(
        student, "cpu", teacher, batch.targets, lengths, batch.target_lengths, **options
    )
    expected, expected_gradient = loss_and_gradient(
        student.double(), "torch", teacher.double(), batch.targets, lengths, batch.target_lengths, **options
    )
    for name in ("kd", "consistency"):
        torch.testing.assert_close(found.terms[name].double(), expected.terms[name], rtol=1e-3, atol=0)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_student_and_teacher(dtype):
    batch = make_batch(dtype=dtype, classes=20)
    options = {"kd_weight": 0.7, "consistency_weight": 0.4, "distance": "kl", "temperature": 2.0}
    found, gradient = loss_and_gradient(batch.student, "cpu", batch.teacher, *batch.common, **options)
    whole = batch.student.double(), batch.teacher.double()
    expected, expected_gradient = loss_and_gradient(whole[0], "torch", whole[1], *batch.common, **options)
    assert found.total.dtype == torch.float32 and gradient.dtype == dtype
    torch.testing.assert_close(found.total.double(), expected.total, rtol=1e-5, atol=1e-6)
    assert (gradient.double() - expected_gradient).abs().max() < torch.finfo(dtype).eps


def test_masked_classes_of_student_and_teacher():
    batch = make_batch(classes=6)
    student, teacher = batch.student.clone(), batch.teacher.clone()
    student[..., 5], teacher[..., 5] = -torch.inf, -torch.inf
    teacher[..., 4] = -torch.inf  # the teacher may rule out what the student does not
    targets = batch.targets.clamp(max=3)
    for distance in ("squared", "kl"):
        options = {"kd_weight": 0.7, "consistency_weight": 0.4, "distance": distance}
        result, gradient = loss_and_gradient(student, "cpu", teacher, targets, *batch.common[1:], **options)
        expected, _ = loss_and_gradient(student, "torch", teacher, targets, *batch.common[1:], **options)
        torch.testing.assert_close(result.total, expected.total, rtol=1e-10, atol=0)
        assert gradient.isfinite().all() and (gradient[..., 5] == 0).all()


def test_the_whole_objective_in_one_graph():
    batch = make_batch(classes=20, dtype=torch.float)

    def step(z):
        return cons_kd_loss(z, batch.teacher, *batch.common, kd_weight=0.7, consistency_weight=0.4).total

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    a, b = batch.student.clone().requires_grad_(), batch.student.clone().requires_grad_()
    torch.testing.assert_close(compiled(a), step(b))
    compiled(a).backward(), step(b).backward()
    torch.testing.assert_close(a.grad, b.grad)
