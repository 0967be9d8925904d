"""Cons-KD (IEEE Access 2024, 10.1109/access.2024.3457859): by hand, and an independent computation with loops."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.losses import cons_kd_loss, ctc_kd_loss
from seqkd.losses.base import kl_divergence
from seqkd.losses.consistency import symmetric_kl
from tests.losses.loss_batches import make_batch

WEIGHTS = {"kd_weight": 0.7, "consistency_weight": 0.4}
P, Q = torch.tensor([0.9, 0.1]).double(), torch.tensor([0.6, 0.4]).double()


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def kl(p, q):
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))


def by_loops(batch, blank, distance, temperature, select):
    """(B,) terms kd and consistency, one number at a time."""
    passes = len(batch.student)
    kd, consistency = np.zeros(3), np.zeros(3)
    for i, length in enumerate(batch.input_lengths.tolist()):
        for t in range(length):
            teacher = batch.teacher[i, t].numpy()
            students = [z[i, t].numpy() for z in batch.student]
            for z in students:
                if select == "nonblank" and teacher.argmax() == blank:
                    continue
                p, q = softmax(teacher / temperature), softmax(z / temperature)
                kd[i] += (((p - q) ** 2).sum() if distance == "squared" else temperature**2 * kl(p, q)) / passes
            pairs = list(combinations(map(softmax, students), 2))
            consistency[i] += sum((kl(p, q) + kl(q, p)) / 2 for p, q in pairs) / max(len(pairs), 1)
    return kd, consistency


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**16),
    st.integers(1, 4),
    st.sampled_from(["squared", "kl"]),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.sampled_from(["all", "nonblank"]),
    st.sampled_from([0, 3]),
    st.booleans(),
    st.sampled_from(["auto", "torch", "reference"]),
)
def test_equals_a_computation_with_loops(seed, passes, distance, temperature, select, blank, detach, backend):
    batch = make_batch(seed, passes=passes)
    batch = batch.but(targets=batch.targets - int(blank == 3))
    result = cons_kd_loss(
        batch.student,
        batch.teacher,
        *batch.common,
        blank=blank,
        distance=distance,
        temperature=temperature,
        select=select,
        detach_consistency=detach,
        backend=backend,
        reduction="none",
        **WEIGHTS,
    )
    kd, consistency = by_loops(batch, blank, distance, temperature, select)
    ctc = np.mean(
        [
            torch.nn.functional.ctc_loss(
                z.log_softmax(-1).transpose(0, 1), *batch.common, blank=blank, reduction="none"
            ).numpy()
            for z in batch.student
        ],
        axis=0,
    )
    np.testing.assert_allclose(result.terms["ctc"], ctc, rtol=1e-10)
    np.testing.assert_allclose(result.terms["kd"], kd, rtol=1e-9, atol=1e-12)
    if passes > 1:
        np.testing.assert_allclose(result.terms["consistency"], consistency, rtol=1e-9, atol=1e-12)
    else:
        assert "consistency" not in result.terms
    np.testing.assert_allclose(result.total, ctc + 0.7 * kd + 0.4 * consistency * (passes > 1), rtol=1e-9)


def test_published_numbers():
    assert kl_divergence(P.log(), Q.log()).item() == pytest.approx(0.22629, abs=5e-6)
    assert kl_divergence(Q.log(), P.log()).item() == pytest.approx(0.31124, abs=5e-6)
    student = torch.stack([P.log(), Q.log()])[:, None, None]  # (2, 1, 1, 2)
    result = cons_kd_loss(student, Q.log()[None, None], [[1]], [1], [1], distance="kl", **WEIGHTS)
    assert result.terms["consistency"].item() == pytest.approx(0.26876, abs=5e-6)
    assert result.terms["kd"].item() == pytest.approx(0.31124 / 2, abs=5e-6)  # KL(teacher q ‖ student p)
    squared = cons_kd_loss(student, Q.log()[None, None], [[1]], [1], [1], **WEIGHTS)
    assert squared.terms["kd"].item() == pytest.approx((0.3**2 + 0.3**2) / 2)


def test_without_dropout_the_passes_agree_exactly(make):
    one = make(passes=1, dtype=torch.float32)
    for detach in (True, False):
        student = one.student.repeat(3, 1, 1, 1).requires_grad_()
        result = cons_kd_loss(
            student,
            None,
            *one.common,
            kd_weight=0.0,
            consistency_weight=1.0,
            ctc_weight=0.0,
            detach_consistency=detach,
        )
        assert result.terms["consistency"] == 0
        result.total.backward()
        assert (student.grad == 0).all()


def test_detached_gradient_is_half_the_difference(batch, gradients):
    def loss(b, detach):
        return cons_kd_loss(
            b.student,
            None,
            *b.common,
            kd_weight=0.0,
            consistency_weight=1.0,
            ctc_weight=0.0,
            detach_consistency=detach,
            reduction="sum",
        )

    detached, gradient = gradients(lambda b: loss(b, True), batch)
    attached, other = gradients(lambda b: loss(b, False), batch)
    p1, p2 = batch.student.softmax(-1)
    valid = torch.arange(7) < batch.input_lengths[:, None]
    expected = 0.5 * (p1 - p2) * valid[..., None]
    torch.testing.assert_close(gradient, torch.stack([expected, -expected]), rtol=1e-10, atol=1e-12)
    assert detached.total == attached.total
    assert (other - gradient).abs().max() > 1e-2


def test_detached_form_is_cr_ctc_as_written(batch):
    first, second = (z.clone().requires_grad_() for z in batch.student.log_softmax(-1)[:, 0])
    written = 0.5 * (kl_divergence(second.detach(), first) + kl_divergence(first.detach(), second)).sum()
    ours = symmetric_kl(first, second, detach=True).sum()
    assert written.item() == pytest.approx(ours.item())


def test_kl_gradient_is_tau_times_the_difference(batch, gradients):
    tau = 3.0
    _, gradient = gradients(
        lambda b: ctc_kd_loss(
            b.student[0],
            b.teacher,
            *b.common,
            kd_weight=1.0,
            ctc_weight=0.0,
            distance="kl",
            temperature=tau,
            reduction="sum",
        ),
        batch,
    )
    valid = torch.arange(7) < batch.input_lengths[:, None]
    expected = tau * ((batch.student[0] / tau).softmax(-1) - (batch.teacher / tau).softmax(-1)) * valid[..., None]
    torch.testing.assert_close(gradient[0], expected, rtol=1e-10, atol=1e-12)


def test_a_perfect_student_has_no_distance(batch):
    for distance in ("squared", "kl"):
        copied = batch.but(student=batch.teacher.expand(2, -1, -1, -1))
        result = cons_kd_loss(copied.student, batch.teacher, *batch.common, distance=distance, **WEIGHTS)
        assert result.terms["kd"] == 0 and result.terms["consistency"] == 0


def test_one_pass_is_ctc_kd(batch):
    three = cons_kd_loss(batch.student[:1], batch.teacher, *batch.common, **WEIGHTS)
    two = ctc_kd_loss(batch.student[0], batch.teacher, *batch.common, kd_weight=0.7)
    assert torch.equal(three.total, two.total) and three.terms.keys() == two.terms.keys() == {"ctc", "kd"}


def test_without_teacher_there_is_no_kd(batch):
    result = cons_kd_loss(batch.student, None, *batch.common, **WEIGHTS)
    assert result.terms.keys() == {"ctc", "consistency"}


def test_weight_zero_keeps_a_broken_second_pass_out_of_consistency(batch):
    weights = {"kd_weight": 0.0, "consistency_weight": 0.0}
    result = cons_kd_loss(batch.student, batch.teacher, *batch.common, **weights)
    assert result.terms.keys() == {"ctc"} and torch.equal(result.total, result.terms["ctc"])


def test_classes_masked_in_both_contribute_nothing(make, gradients):
    batch = make(classes=5)
    student, teacher = batch.student.clone(), batch.teacher.clone()
    student[..., 4], teacher[..., 4] = -torch.inf, -torch.inf
    smaller = batch.but(student=student[..., :4], teacher=teacher[..., :4], targets=batch.targets.clamp(max=3))
    for distance in ("squared", "kl"):

        def loss(b, distance=distance):
            return cons_kd_loss(b.student, b.teacher, *b.common, distance=distance, ctc_weight=0.0, **WEIGHTS)

        masked, gradient = gradients(loss, smaller.but(student=student, teacher=teacher))
        expected, expected_gradient = gradients(loss, smaller)
        torch.testing.assert_close(masked.total, expected.total)
        torch.testing.assert_close(gradient[..., :4], expected_gradient)
        assert (gradient[..., 4] == 0).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"distance": "l2"}, "distance must be one of 'squared', 'kl', got 'l2'"),
        ({"temperature": 0.0}, "temperature must be finite and positive, got 0.0"),
        ({"select": "blank"}, "select must be one of 'all', 'nonblank', got 'blank'"),
        ({"consistency_weight": -0.1}, "consistency_weight must be finite and not negative, got -0.1"),
        ({"blank": 4}, r"blank must be in \[0, 4\), got 4"),
    ],
)
def test_a_fault_is_one_sentence(batch, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        cons_kd_loss(batch.student, batch.teacher, *batch.common, **{**WEIGHTS, **options})


def test_a_missing_pass_dimension_is_named(batch):
    with pytest.raises(ValueError, match=r"student_logits must be a floating-point tensor \(P, B, T, C\)"):
        cons_kd_loss(batch.student[0], batch.teacher, *batch.common, **WEIGHTS)
    with pytest.raises(ValueError, match=r"student_logits must be a floating-point tensor \(B, T, C\)"):
        ctc_kd_loss(batch.student, batch.teacher, *batch.common, kd_weight=1.0)


@pytest.mark.parametrize("distance", ["squared", "kl"])
@pytest.mark.parametrize("select", ["all", "nonblank"])
def test_a_teacher_that_heard_each_pass_teaches_each_pass(distance, select):
    batch = make_batch(5)
    teachers = torch.stack([batch.teacher, batch.teacher.roll(1, dims=-1)])
    options = {"kd_weight": 1.0, "distance": distance, "select": select, "reduction": "none"}
    both = cons_kd_loss(batch.student, teachers, *batch.common, consistency_weight=0.0, **options).terms["kd"]
    alone = [
        ctc_kd_loss(z, teacher, *batch.common, **options).terms["kd"]
        for z, teacher in zip(batch.student, teachers, strict=True)
    ]
    torch.testing.assert_close(both, sum(alone) / 2)
    same = cons_kd_loss(
        batch.student, batch.teacher.expand_as(teachers), *batch.common, consistency_weight=0.0, **options
    )
    one = cons_kd_loss(batch.student, batch.teacher, *batch.common, consistency_weight=0.0, **options)
    assert same.terms["kd"].equal(one.terms["kd"])
