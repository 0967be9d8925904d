"""Tf-KD (CVPR 2020, 10.1109/cvpr42600.2020.00396) and R-Drop: the author code as printed, and closed forms.

What holds for every loss of one target token is in test_label_smoothing.py.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from seqkd.errors import ConfigError
from seqkd.losses import Labels, Outputs, VirtualTeacher, r_drop_loss, tf_kd_reg_loss, tf_kd_self_loss
from seqkd.losses.tf_kd import virtual_teacher
from tests.losses.test_label_smoothing import IGNORED, make, total_and_gradient

EXAMPLES = {"positions_virtual_printed": VirtualTeacher(temperature=2.0, variant="printed")}

# One position whose target is class 0.
TEACHER = torch.tensor([[[3.0, 1.0, 0.0, -1.0]]], dtype=torch.float64)
STUDENT = torch.tensor([[[1.0, 1.5, 0.0, -0.5]]], dtype=torch.float64)
GOLD = torch.tensor([[0]])


def test_published_virtual_teacher():
    for variant in ("released", "printed"):
        assert virtual_teacher(100, 20.0, 0.99, variant) == pytest.approx((0.01050207, 0.00999493), abs=1e-8)
        assert virtual_teacher(4, 20.0, 0.99, variant)[0] == pytest.approx(0.25936359, abs=1e-8)
    assert virtual_teacher(100, 20.0, 0.99, "paper")[0] == pytest.approx(0.01574, abs=5e-6)
    assert virtual_teacher(100, 1.0, 0.99, "paper") == pytest.approx((0.99, 0.01 / 99))


def test_published_released_loss_and_gradient():
    options = {"kd_weight": 0.95, "temperature": 20.0, "variant": "released"}
    result, gradient = total_and_gradient(lambda z: tf_kd_reg_loss(z, GOLD, **options), STUDENT)
    assert result.total.item() == pytest.approx(0.12603105, abs=1e-8)
    assert gradient.flatten().tolist() == pytest.approx([-0.02285691, 0.08767701, -0.02598738, -0.03883271], abs=1e-8)


def test_a_multiplier_of_the_classes_gives_the_summed_form():
    options = {"kd_weight": 0.95, "temperature": 20.0, "variant": "released"}
    result = tf_kd_reg_loss(STUDENT, GOLD, multiplier=4.0, **options)
    soft = (virtual(GOLD[0], 4, 0.99) / 20).softmax(-1)
    summed = F.kl_div(STUDENT[0].log_softmax(-1), soft, reduction="batchmean")
    torch.testing.assert_close(result.total, 0.05 * F.cross_entropy(STUDENT[0], GOLD[0]) + 0.95 * summed)


@pytest.mark.parametrize(
    ("kd_weight", "temperature", "multiplier", "expected"),
    [(0.95, 40.0, 1.0, (0.05, 0.0095)), (0.1, 20.0, 100.0, (0.9, 0.1)), (0.1, 40.0, 50.0, (0.9, 0.05))],
)
def test_published_weights_at_a_hundred_classes(kd_weight, temperature, multiplier, expected):
    logits, _, targets = make(classes=100, ignored=0)
    found = tf_kd_reg_loss(
        logits, targets, kd_weight=kd_weight, temperature=temperature, multiplier=multiplier, variant="released"
    )
    z, y = logits.flatten(0, 1), targets.flatten()
    summed = F.kl_div(z.log_softmax(-1), (virtual(y, 100, 0.99) / temperature).softmax(-1), reduction="batchmean")
    hard, soft = expected
    torch.testing.assert_close(found.total, hard * F.cross_entropy(z, y) + soft * summed)


def test_an_untrained_teacher_is_label_smoothing():
    """As τ grows the virtual teacher becomes uniform; so is that of logits of 0, a network that has learned nothing."""
    published = [-0.01633239, 0.28390686, -0.11144753, -0.15612695]
    smoothed = torch.autograd.functional.jacobian(
        lambda z: F.cross_entropy(z, GOLD[0], label_smoothing=0.9), STUDENT[0]
    )
    assert smoothed.flatten().tolist() == pytest.approx(published, abs=1e-8)
    for loss in (
        lambda z: tf_kd_reg_loss(z, GOLD, kd_weight=0.9, temperature=1e9, multiplier=4.0, variant="released"),
        lambda z: tf_kd_self_loss(z, GOLD, torch.zeros_like(z), kd_weight=0.9, temperature=1.0),
    ):
        assert total_and_gradient(loss, STUDENT)[1].flatten().tolist() == pytest.approx(published, abs=1e-8)


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_a_constant_added_to_teacher_logits_changes_nothing(variant):
    options = {"kd_weight": 0.6, "temperature": 20.0, "variant": variant}
    expected, gradient = total_and_gradient(lambda z: tf_kd_self_loss(z, GOLD, TEACHER, **options), STUDENT)
    found, same = total_and_gradient(lambda z: tf_kd_self_loss(z, GOLD, TEACHER + 50, **options), STUDENT)
    torch.testing.assert_close(found.total, expected.total)
    torch.testing.assert_close(same, gradient)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_the_printed_form_tempers_both_sides(temperature):
    logits, _, targets = make(ignored=0)
    z, y = logits.flatten(0, 1), targets.flatten()
    soft = (virtual(y, 6, 0.99) / temperature).softmax(-1)
    options = {"kd_weight": 0.9, "temperature": temperature, "multiplier": 2.0, "variant": "printed"}
    found, gradient = total_and_gradient(lambda x: tf_kd_reg_loss(x, targets, **options), logits)
    kd = F.kl_div((z / temperature).log_softmax(-1), soft, reduction="batchmean")
    torch.testing.assert_close(found.terms["kd"], kd)
    torch.testing.assert_close(found.total, 0.1 * F.cross_entropy(z, y) + 0.9 * 2 * kd)
    slope = 0.1 * (z.softmax(-1) - F.one_hot(y, 6)) + 1.8 / temperature * ((z / temperature).softmax(-1) - soft)
    torch.testing.assert_close(gradient.flatten(0, 1), slope / len(y))


@pytest.mark.parametrize("variant", ["paper", "released", "printed"])
def test_the_term_is_the_function(variant):
    logits, _, targets = make(ignored=0)
    lengths = torch.full((3,), 5)
    term = VirtualTeacher(temperature=20.0, variant=variant)
    found = term(Outputs(logits[None], lengths), None, Labels(targets, lengths))
    expected = tf_kd_reg_loss(logits, targets, kd_weight=1.0, temperature=20.0, variant=variant, reduction="none")
    torch.testing.assert_close(found, expected.total.sum(-1))


def test_the_printed_form_is_of_the_virtual_teacher_alone():
    logits, teacher, targets = make()
    with pytest.raises(ValueError, match="variant must be one of 'paper', 'released', got 'printed'"):
        tf_kd_self_loss(logits, targets, teacher, kd_weight=0.5, variant="printed")
    with pytest.raises(ConfigError, match="variant is 'exact'; expected one of paper, released, printed"):
        VirtualTeacher(variant="exact")


@pytest.mark.parametrize("variant", ["paper", "released", "printed"])
@pytest.mark.parametrize("temperature", [1e-3, 0.5, 1.0, 20.0, 1e6])
def test_the_virtual_teacher_is_a_distribution(variant, temperature):
    gold, other = virtual_teacher(50, temperature, 0.9, variant)
    assert gold + 49 * other == pytest.approx(1) and gold >= other >= 0


def virtual(targets, classes, correct_prob):
    """p^d (N, C), written out as the author code does."""
    teacher = torch.ones(len(targets), classes, dtype=torch.float64) * (1 - correct_prob) / (classes - 1)
    for i, target in enumerate(targets):
        teacher[i, target] = correct_prob
    return teacher


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    classes=st.integers(2, 9),
    kd_weight=st.sampled_from([0.0, 0.1, 0.95, 1.0]),
    temperature=st.sampled_from([0.7, 1.0, 20.0]),
    multiplier=st.sampled_from([1.0, 40.0]),
    correct_prob=st.sampled_from([0.99, 0.6]),
)
def test_released_forms_are_the_author_code(seed, classes, kd_weight, temperature, multiplier, correct_prob):
    logits, teacher, targets = make(seed, classes=classes, ignored=0)
    z, y = logits.flatten(0, 1), targets.flatten()
    mean = nn.KLDivLoss(reduction="mean")  # over positions and classes
    ce = F.cross_entropy(z, y)
    options = {"kd_weight": kd_weight, "temperature": temperature, "multiplier": multiplier, "variant": "released"}

    soft = F.softmax(virtual(y, classes, correct_prob) / temperature, dim=1)
    kd = mean(F.log_softmax(z, dim=1), soft) * multiplier
    found = tf_kd_reg_loss(logits, targets, correct_prob=correct_prob, **options)
    assert found.total.item() == pytest.approx(((1 - kd_weight) * ce + kd_weight * kd).item(), rel=1e-9)

    soft = F.softmax(teacher.flatten(0, 1) / temperature, dim=1)
    kd = mean(F.log_softmax(z / temperature, dim=1), soft) * temperature**2 * multiplier
    found = tf_kd_self_loss(logits, targets, teacher, **options)
    assert found.total.item() == pytest.approx(((1 - kd_weight) * ce + kd_weight * kd).item(), rel=1e-9)
    assert set(found.terms) == {name for name, w in (("hard", 1 - kd_weight), ("kd", kd_weight)) if w}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 40.0])
def test_paper_forms(temperature):
    logits, teacher, targets = make(ignored=0)
    z, y = logits.flatten(0, 1), targets.flatten()
    student = (z / temperature).log_softmax(-1)
    options = {"kd_weight": 0.95, "temperature": temperature, "multiplier": 2.0}
    for found, soft, factor in (
        (tf_kd_reg_loss(logits, targets, **options), (virtual(y, 6, 0.99).log() / temperature).softmax(-1), 1),
        (
            tf_kd_self_loss(logits, targets, teacher, **options),
            (teacher.flatten(0, 1) / temperature).softmax(-1),
            temperature**2,
        ),
    ):
        kd = factor * F.kl_div(student, soft, reduction="batchmean")
        torch.testing.assert_close(found.terms["kd"], kd)
        torch.testing.assert_close(found.terms["hard"], F.cross_entropy(z, y))
        torch.testing.assert_close(found.total, 0.05 * F.cross_entropy(z, y) + 0.95 * 2 * kd)


def test_at_temperature_one_it_is_label_smoothing():
    # (1−α) CE(q, p) + α KL(u ‖ p) = CE((1−α) q + α u, p) − α H(u)
    logits, _, targets = make(ignored=0)
    log_p, y, share = logits.flatten(0, 1).log_softmax(-1), targets.flatten(), 0.3
    for correct_prob in (0.99, 1 / 6):  # 1/6 is the uniform distribution
        u = virtual(y, 6, correct_prob)
        smooth = (1 - share) * F.one_hot(y, 6) + share * u
        expected = -(smooth * log_p).sum(-1).mean() + share * (u * u.log()).sum(-1).mean()
        found = tf_kd_reg_loss(logits, targets, kd_weight=share, temperature=1.0, correct_prob=correct_prob)
        torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(
        total_and_gradient(
            lambda z: tf_kd_reg_loss(z, targets, kd_weight=share, temperature=1.0, correct_prob=1 / 6), logits
        )[1].flatten(0, 1),
        torch.autograd.grad(F.cross_entropy((z := logits.flatten(0, 1).requires_grad_()), y, label_smoothing=share), z)[
            0
        ],
    )


def test_gradient_of_self_is_tau_times_the_difference():
    logits, teacher, targets = make()
    _, found = total_and_gradient(
        lambda z: tf_kd_self_loss(z, targets, teacher, kd_weight=1.0, temperature=3.0, reduction="sum"), logits
    )
    expected = 3 * ((logits / 3).softmax(-1) - (teacher / 3).softmax(-1)) * (targets != IGNORED)[..., None]
    torch.testing.assert_close(found, expected)


def test_a_perfect_copy_has_no_distance():
    logits, _, targets = make()
    result, gradient = total_and_gradient(lambda z: tf_kd_self_loss(z, targets, logits, kd_weight=1.0), logits)
    assert result.total == 0 and result.terms.keys() == {"kd"} and gradient.abs().max() < 1e-15


def test_a_weight_of_zero_is_cross_entropy():
    logits, teacher, targets = make()
    broken = torch.full_like(teacher, math.nan)
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    for found in (
        tf_kd_self_loss(logits, targets, broken, kd_weight=0.0),
        tf_kd_reg_loss(logits, targets, kd_weight=0.0),
        tf_kd_reg_loss(logits, targets, kd_weight=0.0, variant="released"),
        tf_kd_reg_loss(logits, targets, kd_weight=0.0, variant="printed"),
        r_drop_loss(torch.stack([logits, logits]), targets, consistency_weight=0.0),
    ):
        assert found.terms.keys() == {"hard"} and found.total.equal(found.terms["hard"])
        torch.testing.assert_close(found.total, expected)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kd_weight": 1.1}, r"kd_weight must be in \[0, 1\], got 1.1"),
        ({"temperature": 0.0}, "temperature must be finite and positive, got 0.0"),
        ({"multiplier": -1.0}, "multiplier must be finite and positive, got -1.0"),
        ({"variant": "exact"}, "variant must be one of 'paper', 'released'.*, got 'exact'"),
    ],
)
def test_a_fault_is_one_sentence(options, sentence):
    logits, teacher, targets = make()
    with pytest.raises(ValueError, match=sentence):
        tf_kd_self_loss(logits, targets, teacher, **{"kd_weight": 0.5} | options)
    with pytest.raises(ValueError, match=sentence):
        tf_kd_reg_loss(logits, targets, **{"kd_weight": 0.5} | options)


def test_faults_of_the_teachers():
    logits, teacher, targets = make()
    with pytest.raises(ValueError, match=r"teacher_logits \(3, 4, 6\) and logits \(3, 5, 6\) must have the same"):
        tf_kd_self_loss(logits, targets, teacher[:, :4], kd_weight=0.5)
    for correct_prob in (0.0, 1.0):
        with pytest.raises(ValueError, match="correct_prob must be between 0 and 1"):
            tf_kd_reg_loss(logits, targets, kd_weight=0.5, correct_prob=correct_prob)
    with pytest.raises(ValueError, match="at least 2 classes"):
        tf_kd_reg_loss(logits[..., :1], targets.clamp(max=0), kd_weight=0.5)


# R-Drop.


def test_r_drop_of_published_distributions():
    passes = torch.tensor([[0.9, 0.1], [0.6, 0.4]], dtype=torch.float64).log()[:, None, None]  # (2, 1, 1, 2)
    result = r_drop_loss(passes, torch.tensor([[1]]), consistency_weight=2.0)
    assert result.terms["consistency"].item() == pytest.approx(0.26876, abs=5e-6)
    assert result.terms["hard"].item() == pytest.approx(-(math.log(0.1) + math.log(0.4)) / 2)
    assert result.total.equal(result.terms["hard"] + 2 * result.terms["consistency"])


def test_without_dropout_the_passes_agree_exactly():
    logits, _, targets = make()
    passes = logits.repeat(3, 1, 1, 1).requires_grad_()
    result = r_drop_loss(passes, targets, consistency_weight=1.0, hard_weight=0.0)
    assert result.terms.keys() == {"consistency"} and result.total == 0
    result.total.backward()
    assert (passes.grad == 0).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_the_hard_term_may_be_smoothed(smoothing):
    logits, other, targets = make()
    found = r_drop_loss(torch.stack([logits, other]), targets, consistency_weight=0.0, smoothing=smoothing)
    expected = sum(
        F.cross_entropy(z.flatten(0, 1), targets.flatten(), label_smoothing=smoothing) / 2 for z in (logits, other)
    )
    torch.testing.assert_close(found.total, expected)


def test_nothing_left_is_zero():
    logits, _, targets = make()
    nothing = r_drop_loss(torch.stack([logits, logits]), targets, consistency_weight=0.0, hard_weight=0.0)
    assert nothing.total == 0 and nothing.terms == {}


def test_a_single_pass_has_nothing_to_agree_with():
    logits, _, targets = make()
    with pytest.raises(ValueError, match="at least 2 passes"):
        r_drop_loss(logits[None], targets, consistency_weight=1.0)
    with pytest.raises(ValueError, match=r"logits must be a floating-point tensor \(P, B, S, C\)"):
        r_drop_loss(logits, targets, consistency_weight=1.0)


# Temperatures so low that one class is left.


@pytest.mark.parametrize("variant", ["paper", "printed", "released"])
def test_a_virtual_teacher_that_is_cold_is_the_target(variant):
    logits, _, targets = make()
    found = tf_kd_reg_loss(logits, targets, kd_weight=1.0, temperature=1e-3, variant=variant, reduction="none").terms[
        "kd"
    ]
    assert found.isfinite().all()
    z = logits if variant == "released" else logits / 1e-3
    expected = F.cross_entropy(z.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
    torch.testing.assert_close(found, expected / (logits.shape[-1] if variant == "released" else 1))
