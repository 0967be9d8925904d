"""Uncertainty-based distillation (IJAR 2024, 10.1016/j.ijar.2024.109301): by hand, limits, padding and pooling."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses import CrossEntropy, FrameKd, Labels, Objective, Outputs
from seqkd.losses.uncertainty import UncertaintyKd, pooled, uncertainties

EXAMPLES = {
    "positions_uncertainty": UncertaintyKd(reference="batch"),
    "positions_uncertainty_hotter": UncertaintyKd(reference="batch", sign=1, share=0.5, beta=2.0),
    "uncertainty_beside_ctc": UncertaintyKd(reference="batch", pool=2, hard=False),
    "uncertainty_fixed": UncertaintyKd(beta=0.0, hard=False),
}

TEACHER = torch.tensor([3.0, 1.0, 0.0, -1.0], dtype=torch.float64)
PASSES = torch.stack([TEACHER, TEACHER + torch.tensor([-2.0, 1.0, 0.0, 0.0], dtype=torch.float64)])
STUDENT = torch.tensor([1.0, 1.5, 0.0, -0.5], dtype=torch.float64)


def of_positions(logits: Tensor, **options: object) -> Outputs:
    """One item's outputs from logits (S, T, C)."""
    return Outputs(logits[:, None], torch.tensor([logits.shape[1]]), **options)


def gold(*targets: int) -> Labels:
    return Labels(torch.tensor([targets]), torch.tensor([len(targets)]))


def value_and_gradient(term: UncertaintyKd, passes: Tensor) -> tuple[float, Tensor]:
    """Of one position: passes (S, C)."""
    student = STUDENT.clone().requires_grad_()
    loss = term(of_positions(student[None, None]), of_positions(passes[:, None]), gold(0)).sum()
    return loss.item(), torch.autograd.grad(loss, student)[0]


def trust_of(passes: Tensor) -> float:
    term = UncertaintyKd(beta=0.0, hard=False)
    term(of_positions(torch.zeros(1, 1, passes.shape[1])), of_positions(passes[:, None]), gold(0))
    return term.noted["trust"].item()


@pytest.mark.parametrize(
    ("passes", "expected", "trust"),
    [
        (
            torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64).log(),
            (0.69314718, 0.32508297, 0.36806421),
            0.46899559,
        ),
        (torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double().log(), (math.log(2), 0, math.log(2)), 0),
        (PASSES, (0.96767937, 0.77131183, 0.19636755), 0.85835076),
    ],
)
def test_published_uncertainties(passes: Tensor, expected: tuple[float, ...], trust: float) -> None:
    mean, *found = uncertainties(passes)
    assert [one.item() for one in found] == pytest.approx(expected, abs=1e-8)
    torch.testing.assert_close(mean.exp(), passes.softmax(-1).mean(0))
    assert trust_of(passes) == pytest.approx(trust, abs=1e-8)
    for same, other in zip(uncertainties(passes), uncertainties(passes.flip(0)), strict=True):
        torch.testing.assert_close(same, other)


def test_published_loss_and_gradient() -> None:
    value, gradient = value_and_gradient(UncertaintyKd(beta=0.0), PASSES)
    assert value == pytest.approx(0.39620981, abs=1e-8)
    assert gradient.tolist() == pytest.approx([-0.34087788, 0.13255327, 0.08063899, 0.12768562], abs=1e-8)


def mixture(ambiguity: float) -> Tensor:
    """Logits (2,) with H / log 2 = ambiguity, found by halving."""
    low, high = 0.5, 1 - 1e-12
    for _ in range(100):
        p = (low + high) / 2
        entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p)) / math.log(2)
        low, high = (p, high) if entropy > ambiguity else (low, p)
    return torch.tensor([p, 1 - p], dtype=torch.float64).log()


@pytest.mark.parametrize("reference", ["dataset", "batch"])
@pytest.mark.parametrize(("sign", "expected"), [(-1, (5.6, 4, 2.4)), (1, (2.4, 4, 5.6))])
def test_published_temperatures(reference: str, sign: int, expected: tuple[float, ...]) -> None:
    logits = torch.stack([mixture(x) for x in (0.1, 0.5, 0.9)])  # mean .5
    facts = {"aleatoric": 0.5} if reference == "dataset" else {}
    term = UncertaintyKd(reference=reference, sign=sign, share=1.0, hard=False)
    zeros = torch.zeros(1, 3, 2, dtype=torch.float64)
    found = term(of_positions(zeros), of_positions(logits[None], facts=facts), gold(0, 0, 0))
    by_temperature = 0.0
    for row, tau in zip(logits, expected, strict=True):
        fixed = UncertaintyKd(beta=0.0, temperature=tau, share=1.0, hard=False)
        by_temperature += fixed(of_positions(zeros[:, :1]), of_positions(row[None, None]), gold(0)).item()
    assert found.item() == pytest.approx(by_temperature)
    assert term.noted["temperature"].item() == pytest.approx(4)


def test_temperatures_are_clipped() -> None:
    # U_ale / log 2 is 1 and near 0, the reference ½: 4 (1 ∓ 2 · ½) = 0 and 8.
    logits = torch.tensor([[0.0, 0.0], [60.0, 0.0]], dtype=torch.float64)
    for row, expected in ((0, 1.0), (1, 6.0)):
        term = UncertaintyKd(beta=2.0, max_temperature=6.0)
        teacher = of_positions(logits[None, row : row + 1], facts={"aleatoric": 0.5})
        term(of_positions(torch.zeros(1, 1, 2)), teacher, gold(0))
        assert term.noted["temperature"].item() == pytest.approx(expected)


def test_one_pass_is_ordinary_distillation() -> None:
    value, gradient = value_and_gradient(UncertaintyKd(beta=0.0, share=0.7), PASSES[:1])
    student = STUDENT.clone().requires_grad_()
    ours, theirs = of_positions(student[None, None]), of_positions(PASSES[:1, None])
    expected = 0.3 * CrossEntropy()(ours, None, gold(0)) + 0.7 * FrameKd(distance="kl", temperature=4.0)(
        ours, theirs, gold(0)
    )
    assert value == pytest.approx(expected.item()) and trust_of(PASSES[:1]) == 1
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), student)[0])


def test_a_teacher_that_contradicts_itself_leaves_cross_entropy() -> None:
    sure = torch.tensor([[60.0, 0.0], [0.0, 60.0]], dtype=torch.float64)
    student = torch.tensor([[[1.0, 2.0]]], dtype=torch.float64)
    found = UncertaintyKd(beta=0.0)(of_positions(student), of_positions(sure[:, None]), gold(0))
    torch.testing.assert_close(found, CrossEntropy()(of_positions(student), None, gold(0)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), passes=st.integers(1, 4), classes=st.integers(2, 6), sign=st.sampled_from([-1, 1]))
def test_against_the_formula(seed: int, passes: int, classes: int, sign: int) -> None:
    """Written out position by position, for two passes of the student; with class weights and a mixture."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    student, teacher, lengths = draw(2, 2, 3, classes), draw(passes, 2, 3, classes), torch.tensor([3, 1])
    targets, others = torch.randint(classes, (2, 2, 3), generator=generator)
    part, weights = torch.rand(2, generator=generator).double(), torch.rand(classes, generator=generator).double()
    term = UncertaintyKd(share=0.8, temperature=3.0, beta=1.5, sign=sign, max_temperature=5.0)
    found = term(
        Outputs(student, lengths),
        Outputs(teacher, lengths, facts={"aleatoric": 0.4}),
        Labels(targets, lengths, mixed=others, share=part, class_weights=weights),
    )
    expected, trusts = torch.zeros(2, dtype=torch.float64), []
    for item in range(2):
        for t in range(int(lengths[item])):
            each = teacher[:, item, t].softmax(-1)
            entropy = lambda p: -(p * p.log()).sum().item() / math.log(classes)  # noqa: E731
            ale = sum(entropy(p) for p in each) / passes
            w = 1 - (entropy(each.mean(0)) - ale)
            tau = min(max(3 * (1 + sign * 1.5 * (ale - 0.4)), 1), 5)
            target = each.mean(0) ** (1 / tau)
            target /= target.sum()
            trusts.append(w)
            for z in student[:, item, t]:
                log_p = weights * z.log_softmax(-1)
                ce = -part[item] * log_p[targets[item, t]] - (1 - part[item]) * log_p[others[item, t]]
                kl = (target * (target.log() - (z / tau).log_softmax(-1))).sum()
                expected[item] += ((1 - 0.8 * w) * ce + 0.8 * w * tau**2 * kl) / 2
    torch.testing.assert_close(found, expected)
    quantiles = torch.tensor(trusts, dtype=torch.float64).quantile(torch.tensor([0.1, 0.5, 0.9]).double())
    assert [term.noted[f"trust_{q}"].item() for q in (10, 50, 90)] == pytest.approx(quantiles.tolist())


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("garbage", [math.nan, math.inf])
def test_padding_of_several_passes_never_matters(hard: bool, garbage: float) -> None:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    student, teacher, lengths = draw(2, 2, 6, 4), draw(3, 2, 6, 4), torch.tensor([6, 4])
    labels = Labels(torch.randint(4, (2, 6), generator=generator), lengths)

    def run(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        student = student.clone().requires_grad_()
        term = UncertaintyKd(reference="batch", pool=2, hard=hard)
        loss = term(Outputs(student, lengths), Outputs(teacher, lengths), labels)
        return loss.detach(), torch.autograd.grad(loss.sum(), student)[0], term.noted

    expected = run(student, teacher)
    student[:, 1, 4:], teacher[:, 1, 4:] = garbage, garbage
    for one, other in zip(run(student, teacher), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_pooling_is_a_mean_of_near_valid_frames() -> None:
    values = torch.tensor([[1.0, 2.0, 4.0, 8.0, torch.nan]])
    mask = torch.tensor([[True] * 4 + [False]])
    assert pooled(values, mask, 1)[0, :4].tolist() == pytest.approx([1.5, 7 / 3, 14 / 3, 6])
    assert pooled(values, mask, 9)[0, :4].tolist() == pytest.approx([3.75] * 4)


def test_pooling_forgives_a_spike_one_frame_late() -> None:
    def spike(at: int) -> Tensor:
        logits = torch.zeros(5, 3)
        logits[:, 0], logits[at, 1] = 9.0, 20.0
        return logits

    teacher, student = of_positions(torch.stack([spike(1), spike(2)])), of_positions(torch.zeros(1, 5, 3))
    lowest = []
    for pool in (0, 2):
        term = UncertaintyKd(beta=0.0, pool=pool, hard=False)
        term(student, teacher, gold(1))
        lowest.append(term.noted["trust_10"].item())
    assert lowest[0] < 0.4 < 0.6 < lowest[1]


def test_a_share_of_zero_does_not_read_the_teacher() -> None:
    student, broken = of_positions(STUDENT[None, None]), of_positions(torch.full((2, 1, 4), torch.nan))
    found = UncertaintyKd(share=0.0)(student, broken, gold(0))
    assert found.equal(CrossEntropy()(student, None, gold(0)))


def test_a_position_without_a_target_has_the_distillation_part_alone() -> None:
    student, teacher = of_positions(STUDENT[None, None]), of_positions(PASSES[:, None])
    found = UncertaintyKd(beta=0.0)(student, teacher, gold(-100))
    torch.testing.assert_close(found, UncertaintyKd(beta=0.0, hard=False)(student, teacher, gold(0)))


def test_five_lines_in_a_training_loop() -> None:
    torch.manual_seed(0)
    teacher = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 4))
    network, x, lengths = torch.nn.Linear(3, 4), torch.randn(2, 5, 3), torch.tensor([5, 3])
    labels = Labels(torch.randint(4, (2, 5)), lengths)

    passes = torch.stack([teacher(x) for _ in range(8)])
    objective = Objective(loss=UncertaintyKd(beta=0.0))
    student = Outputs(network(x)[None], lengths)
    loss = objective(student, {"teacher": Outputs(passes, lengths)}, labels, reduction="mean")
    loss.total.backward()

    assert network.weight.grad.abs().sum() > 0 and all(p.grad is None for p in teacher.parameters())
    assert 0 < loss.notes["loss.trust"] < 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"share": 1.5}, "share is 1.5; expected from 0 to 1"),
        ({"temperature": 0.5}, "temperature is 0.5; expected at least 1"),
        ({"temperature": 8.0, "max_temperature": 4.0}, "max_temperature is 4.0; expected at least 8"),
        ({"beta": -1.0}, "beta is -1.0; expected at least 0"),
        ({"sign": 0}, "sign is 0; expected one of -1, 1"),
        ({"reference": "epoch"}, "reference is 'epoch'; expected one of dataset, batch"),
        ({"pool": 1.5}, "pool is 1.5; expected a whole number, at least 0"),
        ({"share": 0.0, "hard": False}, "which leaves nothing"),
    ],
)
def test_a_wrong_setting_is_one_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        UncertaintyKd(**options)


def test_what_is_missing_is_one_sentence() -> None:
    student, teacher = of_positions(torch.zeros(1, 2, 4)), of_positions(torch.zeros(3, 2, 4))
    with pytest.raises(ConfigError, match=r"facts\['aleatoric'\] of the teacher's outputs is not there; store it"):
        UncertaintyKd()(student, teacher, gold(0, 1))
    with pytest.raises(ConfigError, match="hard=True needs one target a position, but there are 1 targets for 2"):
        UncertaintyKd(beta=0.0)(student, teacher, gold(0))
    with pytest.raises(ValueError, match=r"\(3, 1, 2, 5\) and student_logits \(1, 1, 2, 4\) must have the same"):
        UncertaintyKd()(student, of_positions(torch.zeros(3, 2, 5)), gold(0, 1))
    with pytest.raises(ValueError, match="at least one pass"):
        uncertainties(torch.zeros(0, 3))
