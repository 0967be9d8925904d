"""What holds for every objective: padding, weights of 0, reductions, precision."""

import pytest
import torch


def test_gradcheck(objective, batch, request):
    if "detached" in request.node.name:
        pytest.skip("its gradient is not that of its value; test_cons_kd.py checks it in closed form")
    torch.autograd.gradcheck(
        lambda z: objective(batch.but(student=z), reduction="none").total,
        batch.student.requires_grad_(),
    )


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -1e30])
def test_padding_never_matters(objective, batch, gradients, garbage):
    clean, clean_gradient = gradients(objective, batch)
    student, teacher, targets = batch.student.clone(), batch.teacher.clone(), batch.targets.clone()
    for i, (n, s) in enumerate(zip(batch.input_lengths, batch.target_lengths, strict=True)):
        student[:, i, n:], teacher[i, n:], targets[i, s:] = garbage, garbage, -100
    dirty, gradient = gradients(objective, batch.but(student=student, teacher=teacher, targets=targets))
    assert torch.equal(clean.total, dirty.total)
    assert torch.equal(clean_gradient, gradient)
    assert all((gradient[:, i, n:] == 0).all() for i, n in enumerate(batch.input_lengths))


def test_a_longer_padded_batch_gives_the_same(objective, batch, gradients):
    short, gradient = gradients(objective, batch)

    def longer(x, fill):
        return torch.nn.functional.pad(x, (0, 0, 0, 5), value=fill)

    padded = batch.but(student=longer(batch.student, 3.0), teacher=longer(batch.teacher, float("nan")))
    long, long_gradient = gradients(objective, padded)
    torch.testing.assert_close(long.total, short.total, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(long_gradient, longer(gradient, 0.0), rtol=1e-12, atol=1e-12)


def test_each_utterance_alone_gives_the_same(objective, batch, request):
    together = objective(batch, reduction="none").total
    indices = [0] if "nbest" in request.node.name else range(3)  # its hypotheses belong to a row
    for i in indices:
        alone = objective(batch.one(i), reduction="none").total
        torch.testing.assert_close(alone[0], together[i], rtol=1e-12, atol=1e-12)


def test_reductions_are_one_loss(objective, batch):
    none, total, mean = (objective(batch, reduction=r) for r in ("none", "sum", "mean"))
    assert none.total.shape == (3,) and total.total.shape == mean.total.shape == ()
    torch.testing.assert_close(none.total.sum(), total.total)
    torch.testing.assert_close(total.total / 3, mean.total)
    assert none.terms.keys() == total.terms.keys() == mean.terms.keys()
    for name, term in none.terms.items():
        torch.testing.assert_close(term.sum(), total.terms[name])
        torch.testing.assert_close(term.sum() / 3, mean.terms[name])


def test_total_is_the_weighted_sum_of_unweighted_terms(objective, batch):
    weights = {"kd_weight": 1.3, "ctc_weight": 0.6}
    result = objective(batch, **weights)
    terms = dict(result.terms)
    expected = 0.6 * terms.pop("ctc") + 1.3 * terms.pop("kd")
    others = {"consistency": 0.4, "inter_kd": 0.3, "inter_ctc": 0.5}
    expected = expected + sum(others[name] * value for name, value in terms.items())
    torch.testing.assert_close(result.total, expected)
    for name, value in objective(batch).terms.items():
        torch.testing.assert_close(value, result.terms[name])


def test_the_teacher_gets_no_gradient(objective, batch):
    teacher = batch.teacher.clone().requires_grad_()
    objective(batch.but(student=batch.student.requires_grad_(), teacher=teacher)).total.backward()
    assert teacher.grad is None and batch.student.grad.abs().sum() > 0


def test_a_weight_of_zero_removes_its_term(objective, batch, gradients):
    without, gradient = gradients(lambda b: objective(b, kd_weight=0.0), batch)
    assert "kd" not in without.terms
    broken = batch.but(teacher=torch.full_like(batch.teacher, torch.nan))
    if "inter_kd" not in without.terms:  # inter-KD has a second term that reads the teacher
        same, same_gradient = gradients(lambda b: objective(b, kd_weight=0.0), broken)
        assert torch.equal(same.total, without.total) and torch.equal(same_gradient, gradient)
    assert "ctc" not in objective(batch, ctc_weight=0.0).terms


def test_nothing_left_is_zero(objective, batch):
    weights = {"kd_weight": 0.0, "ctc_weight": 0.0}
    terms = objective(batch, **weights).terms
    weights |= {f"{name}_weight": 0.0 for name in terms}
    assert objective(batch, **weights, reduction="none").total.tolist() == [0.0, 0.0, 0.0]
    nothing = objective(batch, **weights)
    assert nothing.total == 0 and nothing.terms == {}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(objective, make, gradients, dtype):
    half = make(dtype=dtype)
    full = half.but(student=half.student.float(), teacher=half.teacher.float())
    result, gradient = gradients(objective, half)
    expected, _ = gradients(objective, full)
    assert result.total.dtype == torch.float32 and gradient.dtype == dtype
    assert torch.equal(result.total, expected.total)


def test_a_mixed_precision_teacher_is_welcome(objective, make):
    single = make(dtype=torch.float32)
    assert objective(single.but(teacher=single.teacher.half())).total.dtype == torch.float32


def test_adding_a_constant_to_a_frame_changes_nothing(objective, batch):
    generator = torch.Generator().manual_seed(1)
    shifts = [10 * torch.randn(*x.shape[:-1], 1, generator=generator) for x in (batch.student, batch.teacher)]
    shifted = batch.but(student=batch.student + shifts[0], teacher=batch.teacher + shifts[1])
    torch.testing.assert_close(objective(shifted).total, objective(batch).total, rtol=1e-10, atol=1e-10)


def test_an_utterance_without_transcript_has_no_ctc_term(objective, batch, gradients):
    full = objective(batch, reduction="none")
    nonsense = batch.targets.clone()
    nonsense[1] = 999
    lengths = batch.target_lengths.clone()
    lengths[1] = 77
    unlabelled = batch.but(targets=nonsense, target_lengths=lengths)
    part = objective(unlabelled, reduction="none", labelled=[True, False, True])
    for name, term in part.terms.items():
        expected = full.terms[name].clone()
        if name.endswith("ctc"):
            expected[1] = 0
        torch.testing.assert_close(term, expected, rtol=1e-12, atol=0)
    options = {"labelled": torch.tensor([False] * 3)}
    _, with_ctc = gradients(lambda b: objective(b, **options), batch)
    inner = {"inter_ctc_weight": 0.0} if "inter_ctc" in part.terms else {}
    _, without = gradients(lambda b: objective(b, ctc_weight=0.0, **inner), batch)
    assert torch.equal(with_ctc, without)


def test_a_target_that_cannot_be_aligned(objective, batch):
    crowded = batch.but(targets=torch.ones(3, 7, dtype=torch.long), target_lengths=torch.tensor([7, 2, 0]))
    infinite = objective(crowded, reduction="none")
    assert infinite.total.isinf().tolist() == [True, False, False]
    zeroed = objective(crowded, reduction="none", zero_infinity=True)
    assert zeroed.terms["ctc"][0] == 0 and torch.equal(zeroed.total[1:], infinite.total[1:])


def test_faults_name_the_utterance_and_the_value(objective, batch):
    with pytest.raises(ValueError, match="utterance 1: input length 8 is outside"):
        objective(batch.but(input_lengths=torch.tensor([7, 8, 4])))
    with pytest.raises(ValueError, match=r"utterance 0: target 9 at position 1 is outside \[0, 4\)"):
        objective(batch.but(targets=torch.tensor([[1, 9, 1]] * 3)))
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'avg'"):
        objective(batch, reduction="avg")
    with pytest.raises(ValueError, match="kd_weight must be finite and not negative, got -1"):
        objective(batch, kd_weight=-1.0)
    with pytest.raises(ValueError, match="ctc_weight must be finite and not negative, got nan"):
        objective(batch, ctc_weight=float("nan"))
    with pytest.raises(ValueError, match="labelled must have 3 entries"):
        objective(batch, labelled=[True])


def test_a_teacher_of_another_shape_is_refused(objective, batch, request):
    if "nbest" in request.node.name:
        pytest.skip("its teacher comes as hypotheses")
    with pytest.raises(ValueError, match=r"teacher_logits \(3, 7, 5\) and student_logits \(3, 7, 4\) must have"):
        objective(batch.but(teacher=torch.zeros(3, 7, 5)))
