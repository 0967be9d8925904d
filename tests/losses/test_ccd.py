"""Counterpart distillation (ACCV 2022, 10.1007/978-3-031-26284-5_31): by hand, and what the weight is blind to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses import FrameKd, Labels, Outputs
from seqkd.losses.ccd import CounterpartKd, agreement


def of_a_second_view(term: CounterpartKd) -> CounterpartKd:
    """The term, which a teacher of one view is given two of: test_terms has one. The second view is made of it."""
    forward = term.forward

    def with_two(student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        views = torch.cat([teacher.logits, 0.5 * teacher.logits.roll(1, -1)])
        return forward(student, replace(teacher, logits=views), labels)

    term.forward = with_two
    return term


EXAMPLES = {
    "ccd": of_a_second_view(CounterpartKd()),
    "ccd_released": of_a_second_view(CounterpartKd(variant="released", normalize=True)),
    "positions_ccd_constant": of_a_second_view(CounterpartKd(weight_of="constant", constant=1.7)),
}
RAW_LOGITS = {"ccd_released"}

ORIGINAL, AUGMENTED = (torch.tensor(z, dtype=torch.float64) for z in ([3.0, 1, 0, -1], [2.0, 2, 0, -1]))
STUDENT = torch.tensor([[1.0, 1.5, 0, -0.5], [0.5, 1, 0, 0]], dtype=torch.float64)
TEACHER = torch.stack([ORIGINAL, AUGMENTED])
NO_LABELS = Labels(torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, dtype=torch.int64))


def outputs(views: Tensor) -> Outputs:
    """Of one item, of one position, from (2, C)."""
    return Outputs(views[:, None, None], torch.tensor([1]))


def value_and_gradient(
    term: CounterpartKd | FrameKd, teacher: Tensor = TEACHER, student: Tensor = STUDENT
) -> tuple[float, Tensor]:
    """The gradient is (2, C)."""
    student = student.clone().requires_grad_()
    loss = term(outputs(student), outputs(teacher), NO_LABELS).sum()
    return loss.item(), torch.autograd.grad(loss, student)[0]


def weight_of(teacher: Tensor, **options: object) -> float:
    term = CounterpartKd(**options)
    value_and_gradient(term, teacher)
    return term.noted["weight"].item()


def test_published_loss_and_gradient() -> None:
    value, gradient = value_and_gradient(CounterpartKd(variant="released"))
    assert value == pytest.approx(0.71373188, abs=1e-8)
    assert gradient[1].tolist() == pytest.approx([-0.26000379, -0.12989784, 0.11196003, 0.2779416], abs=1e-8)
    centered, slope = value_and_gradient(CounterpartKd())
    torch.testing.assert_close(slope[0], gradient[0])  # the original's part has no weight
    torch.testing.assert_close(slope[1], gradient[1] * 1.87831007 / 1.90453403)
    assert centered < value


def test_published_weights() -> None:
    assert weight_of(TEACHER, variant="released") == pytest.approx(1.90453403, abs=1e-8)
    assert weight_of(TEACHER + 10, variant="released") == pytest.approx(1.9978746, abs=1e-8)
    assert weight_of(TEACHER) == pytest.approx(1.87831007, abs=1e-8)
    assert weight_of(TEACHER + torch.tensor([[10.0], [-3.0]])) == pytest.approx(1.87831007, abs=1e-8)
    assert weight_of(TEACHER.log_softmax(-1)) == pytest.approx(1.87831007, abs=1e-8)


@pytest.mark.parametrize("variant", ["centered", "released"])
def test_the_weight_is_from_none_to_two(variant: str) -> None:
    assert weight_of(torch.stack([ORIGINAL, -ORIGINAL]), variant=variant) == pytest.approx(0, abs=1e-12)
    assert weight_of(torch.stack([ORIGINAL, 7 * ORIGINAL]), variant=variant) == pytest.approx(2)
    assert weight_of(torch.stack([ORIGINAL, 0 * ORIGINAL]), variant=variant) == pytest.approx(1)


def test_a_contradiction_leaves_the_original_alone() -> None:
    teacher = torch.stack([ORIGINAL, -ORIGINAL])
    value, gradient = value_and_gradient(CounterpartKd(), teacher)
    single = FrameKd(distance="kl", temperature=4.0)(outputs(STUDENT[:1]), outputs(teacher[:1]), NO_LABELS)
    assert value == pytest.approx(single.item() / 2) and gradient[1].abs().max() < 1e-12


def test_equal_views_are_one_and_a_half_distillations() -> None:
    same, student = torch.stack([ORIGINAL, ORIGINAL]), torch.stack([STUDENT[0], STUDENT[0]])
    plain, _ = value_and_gradient(FrameKd(distance="kl", temperature=4.0), same, student)
    assert value_and_gradient(CounterpartKd(), same, student)[0] == pytest.approx(1.5 * plain)
    assert value_and_gradient(CounterpartKd(normalize=True), same, student)[0] == pytest.approx(plain)


def test_a_constant_weight_of_one_is_distillation_on_both_views() -> None:
    plain = value_and_gradient(FrameKd(distance="kl", temperature=4.0))
    found = value_and_gradient(CounterpartKd(weight_of="constant"))
    assert found[0] == pytest.approx(plain[0])
    torch.testing.assert_close(found[1], plain[1])
    assert weight_of(TEACHER, weight_of="constant", constant=1.5) == 1.5
    assert weight_of(0 * TEACHER, weight_of="constant", constant=0.0, normalize=True) == 0


@pytest.mark.parametrize("normalize", [False, True])
def test_frames_are_weighed_one_by_one(normalize: bool) -> None:
    """Written out frame by frame, where lengths differ and padding holds anything."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 2, 2, 4, 5, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([4, 2])
    frames = [(item, t) for item in range(2) for t in range(int(lengths[item]))]
    teacher[:, 1, 2:] = torch.nan
    centered = teacher - teacher.mean(-1, keepdim=True)
    weights = {}
    for item, t in frames:
        x, y = centered[:, item, t]
        weights[item, t] = 1 + (x @ y / (x.norm() * y.norm())).item()
    mean = sum(weights.values()) / len(frames)
    expected = [0.0, 0.0]
    for item, t in frames:
        for view, weight in ((0, 1.0), (1, weights[item, t] / (mean if normalize else 1))):
            p, q = (teacher[view, item, t] / 3).softmax(-1), (student[view, item, t] / 3).softmax(-1)
            expected[item] += 9 * weight * (p * (p / q).log()).sum().item() / 2
    term = CounterpartKd(temperature=3.0, normalize=normalize)
    found = term(Outputs(student, lengths), Outputs(teacher, lengths), NO_LABELS)
    assert found.tolist() == pytest.approx(expected)
    assert term.noted["weight"].item() == pytest.approx(1 if normalize else mean)


def test_agreement_is_taken_over_classes() -> None:
    assert agreement(TEACHER[:, None, None], center=False).shape == (1, 1)
    assert agreement(TEACHER, center=False).item() == pytest.approx(0.90453403, abs=1e-8)


def test_faults_are_one_sentence() -> None:
    for options, sentence in (
        ({"weight_of": "kl"}, "weight_of is 'kl'; expected one of cosine, constant"),
        ({"variant": "raw"}, "variant is 'raw'; expected one of centered, released"),
        ({"temperature": 0.0}, "temperature is 0.0; expected more than 0"),
        ({"constant": -1.0}, "constant is -1.0; expected at least 0"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            CounterpartKd(**options)
    term = CounterpartKd()
    with pytest.raises(ConfigError, match=r"the teacher's logits are \(1, 1, 1, 4\); CounterpartKd expects two passes"):
        term(outputs(STUDENT), outputs(TEACHER[:1]), NO_LABELS)
    with pytest.raises(
        ConfigError, match=r"the student's logits are \(3, 1, 1, 4\); .* let the student see the original"
    ):
        term(outputs(STUDENT[[0, 1, 1]]), outputs(TEACHER), NO_LABELS)
