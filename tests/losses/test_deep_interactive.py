"""The objective of deep interactive learning: closed forms, the printed gradient, and the invariants of every loss."""

import math

import pytest
import torch
from torch.nn import functional as F

from seqkd.losses.deep_interactive import deep_interactive_loss
from tests.losses.test_label_smoothing import IGNORED, make, total_and_gradient


def example(**options) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (3, 5, 6), targets (3, 5) and a teacher's probabilities (3, 5, 6)."""
    logits, teacher, targets = make(**options)
    return logits, targets, teacher.softmax(-1)


def printed(logits, targets, probs, weight, temperature):
    """The formula on valid rows, written out: (N,) hard and kd."""
    valid = targets != IGNORED
    z, y, o = logits[valid], targets[valid], probs[valid]
    powers = o ** (1 / temperature)  # softmax(log o / τ) = o^(1/τ) / Σ o^(1/τ)
    soft = powers / powers.sum(-1, keepdim=True)
    hard = -torch.stack([row.softmax(-1)[label].log() for row, label in zip(z, y, strict=True)])
    return hard, -(soft * (z / temperature).softmax(-1).log()).sum(-1), soft


@pytest.mark.parametrize("temperature", [1.0, 3.0, 20.0])
@pytest.mark.parametrize("weight", [0.5, 0.2, 1.0])
def test_the_printed_formula(weight, temperature):
    logits, targets, probs = example()
    hard, kd, _ = printed(logits, targets, probs, weight, temperature)
    found = deep_interactive_loss(logits, targets, probs, kd_weight=weight, temperature=temperature)
    torch.testing.assert_close(found.total, ((1 - weight) * hard + weight * kd).mean())
    torch.testing.assert_close(found.terms["kd"], kd.mean())
    scaled = deep_interactive_loss(
        logits, targets, probs, kd_weight=weight, temperature=temperature, scale_by_temperature=True
    )
    torch.testing.assert_close(scaled.terms["kd"], temperature**2 * kd.mean())


def test_the_paper_s_weights_are_the_defaults():
    logits, targets, probs = example()
    explicit = deep_interactive_loss(
        logits, targets, probs, kd_weight=0.5, temperature=20.0, scale_by_temperature=False, reduction="mean"
    )
    assert deep_interactive_loss(logits, targets, probs).total.equal(explicit.total)


def test_a_case_by_hand():
    # softmax(log o) = o at τ = 1; uniform logits: CE is log 2 whatever the soft target is.
    found = deep_interactive_loss(
        torch.zeros(1, 1, 2), torch.tensor([[0]]), torch.tensor([[[0.9, 0.1]]]), temperature=1.0
    )
    assert found.total.item() == pytest.approx(math.log(2))
    # τ = 2: √.9 : √.1 = 3 : 1.
    logits = torch.tensor([[[2 * math.log(3), 0.0]]], dtype=torch.float64)  # softmax(z / 2) = (3/4, 1/4) too
    found = deep_interactive_loss(logits, torch.tensor([[1]]), torch.tensor([[[0.9, 0.1]]]), temperature=2.0)
    assert found.terms["kd"].item() == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert found.terms["hard"].item() == pytest.approx(math.log(10))


@pytest.mark.parametrize("scaled", [False, True])
def test_the_gradient_as_derived(scaled):
    logits, targets, probs = example()
    _, found = total_and_gradient(
        lambda z: deep_interactive_loss(
            z, targets, probs, kd_weight=0.3, temperature=4.0, scale_by_temperature=scaled, reduction="sum"
        ),
        logits,
    )
    powers = probs**0.25
    soft = powers / powers.sum(-1, keepdim=True)
    gold = F.one_hot(targets.clamp(min=0), 6)
    factor = 0.3 * (4.0 if scaled else 1 / 4.0)
    expected = 0.7 * (logits.softmax(-1) - gold) + factor * ((logits / 4).softmax(-1) - soft)
    torch.testing.assert_close(found, expected * (targets != IGNORED)[..., None])


def test_gradcheck():
    logits, targets, probs = example()
    assert logits.dtype == torch.float64
    for reduction in ("mean", "sum", "none"):
        assert torch.autograd.gradcheck(
            lambda z, reduction=reduction: (
                deep_interactive_loss(z, targets, probs, temperature=2.0, reduction=reduction).total
            ),
            logits.requires_grad_(),
        )


def test_padding_changes_nothing():
    logits, targets, probs = example()
    valid = targets != IGNORED
    assert not valid.all()
    nonsense = [torch.where(valid[..., None], x, torch.full_like(x, math.nan)) for x in (logits, probs)]
    longer = [F.pad(nonsense[0], (0, 0, 0, 2)), F.pad(targets, (0, 2), value=IGNORED), F.pad(nonsense[1], (0, 0, 0, 2))]
    plain, gradient = total_and_gradient(lambda z: deep_interactive_loss(z, targets, probs), logits)
    padded, padded_gradient = total_and_gradient(lambda z: deep_interactive_loss(z, *longer[1:]), longer[0])
    assert padded.total.equal(plain.total)
    assert padded_gradient[:, :5].equal(gradient) and (padded_gradient[:, 5:] == 0).all()


def test_reductions_agree():
    logits, targets, probs = example()
    each = deep_interactive_loss(logits, targets, probs, reduction="none")
    valid = targets != IGNORED
    assert each.total.shape == targets.shape and (each.total[~valid] == 0).all()
    for reduction, expected in (("sum", each.total.sum()), ("mean", each.total.sum() / valid.sum())):
        torch.testing.assert_close(deep_interactive_loss(logits, targets, probs, reduction=reduction).total, expected)


def test_a_weight_of_zero_removes_its_term():
    logits, targets, probs = example(ignored=0)
    broken = torch.full_like(probs, math.nan)
    alone = deep_interactive_loss(logits, targets, broken, kd_weight=0.0)
    assert alone.terms.keys() == {"hard"}
    torch.testing.assert_close(alone.total, F.cross_entropy(logits.flatten(0, 1), targets.flatten()))
    taught = deep_interactive_loss(logits, targets, probs, kd_weight=1.0)
    assert taught.terms.keys() == {"kd"} and taught.total.equal(taught.terms["kd"])


def test_a_perfect_student_has_the_entropy_of_its_target_and_no_gradient():
    _, targets, probs = example(ignored=0)
    result, gradient = total_and_gradient(
        lambda z: deep_interactive_loss(z, targets, probs, kd_weight=1.0, temperature=5.0), probs.log()
    )
    soft = (probs.log() / 5).softmax(-1)
    torch.testing.assert_close(result.total, -(soft * soft.log()).sum(-1).mean())
    assert gradient.abs().max() < 1e-15


def test_a_teacher_that_rules_classes_out():
    logits, targets, _ = example(ignored=0)
    sure = F.one_hot(targets, 6).double()
    result, gradient = total_and_gradient(lambda z: deep_interactive_loss(z, targets, sure, temperature=20.0), logits)
    expected = F.cross_entropy(logits.flatten(0, 1) / 20, targets.flatten())
    torch.testing.assert_close(result.terms["kd"], expected)
    assert gradient.isfinite().all()
    masked = logits.masked_fill(F.one_hot((targets + 1) % 6, 6).bool(), -math.inf)  # the student rules one out too
    assert deep_interactive_loss(masked, targets, sure).total.isfinite()


def test_the_teacher_gets_no_gradient_and_half_precision_is_computed_in_single():
    logits, targets, probs = example()
    probs = probs.requires_grad_()
    student = logits.half().requires_grad_()
    result = deep_interactive_loss(student, targets, probs.half())
    result.total.backward()
    assert result.total.dtype == torch.float32 and student.grad.dtype == torch.float16 and probs.grad is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kd_weight": 1.5}, r"kd_weight must be in \[0, 1\], got 1.5"),
        ({"temperature": 0.0}, "temperature must be finite and positive, got 0.0"),
        ({"reduction": "average"}, "reduction must be one of"),
    ],
)
def test_faults_of_options(change, says):
    with pytest.raises(ValueError, match=says):
        deep_interactive_loss(*example(), **change)


def test_faults_of_the_teacher():
    logits, targets, probs = example(ignored=0)
    with pytest.raises(ValueError, match=r"teacher_probs \(3, 4, 6\) and logits \(3, 5, 6\) must have the same"):
        deep_interactive_loss(logits, targets, probs[:, :4])
    probs[1, 3] = logits[1, 3]
    with pytest.raises(ValueError, match=r"teacher_probs of sequence 1, position 3 are no distribution.*not logits"):
        deep_interactive_loss(logits, targets, probs)
    targets[0, :] = IGNORED
    with pytest.raises(ValueError, match="teacher_probs of sequence 1, position 3 are no distribution"):
        deep_interactive_loss(logits, targets, probs)
