"""Objectives: sums of weighted terms, schedules, layers; and the native kernel, found by the types of the terms."""

from __future__ import annotations

import itertools

import pytest
import torch

from seqkd.errors import ConfigError
from seqkd.losses import (
    AdaptiveSmoothing,
    BookKd,
    Consistency,
    CrossEntropy,
    Ctc,
    FrameKd,
    Guided,
    Labels,
    Objective,
    Outputs,
    SoftTargets,
    Term,
    book_kd_loss,
    cons_kd_loss,
    deep_interactive_loss,
    guided_ctc_loss,
    inter_ctc_kd_loss,
    tf_kd_reg_loss,
    tf_kd_self_loss,
)
from seqkd.losses.build import objective_of
from seqkd.losses.native import native_values
from seqkd.losses.tf_kd import VirtualTeacher
from tests.losses.loss_batches import make_batch


def of(batch) -> tuple[Outputs, dict[str, Outputs], Labels]:
    """Student, others and labels of a batch."""
    student = Outputs(batch.student, batch.input_lengths)
    return student, {"teacher": Outputs(batch.teacher[None], batch.input_lengths)}, labels_of(batch)


def labels_of(batch) -> Labels:
    return Labels(batch.targets, batch.target_lengths)


def gradient(objective: Objective, batch, **options) -> tuple[torch.Tensor, torch.Tensor]:
    batch = batch.but(student=batch.student.clone().requires_grad_())
    total = objective(*of(batch), **options).total
    return total.detach(), torch.autograd.grad(total, batch.student)[0]


KINDS = {"ctc": Ctc, "kd": FrameKd, "consistency": Consistency}


@pytest.mark.parametrize("names", [s for n in range(1, 4) for s in itertools.combinations(KINDS, n)], ids="+".join)
@pytest.mark.parametrize("distance", ["squared", "kl"])
def test_the_kernel_gives_what_the_composed_terms_give(names: tuple[str, ...], distance: str) -> None:
    batch = make_batch()
    weights = {"ctc": 0.9, "kd": 0.7, "consistency": 0.4}

    def made(backend: str) -> Objective:
        terms = {}
        for name in names:
            options = {"ctc": {"backend": backend}, "kd": {"distance": distance, "temperature": 2.0}}.get(name, {})
            terms[name] = KINDS[name](weight=weights[name], **options)
        return Objective(**terms)

    native, composed = (gradient(made(backend), batch) for backend in ("auto", "torch"))
    for one, other in zip(native, composed, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    found = {name: (term, weights[name]) for name, term in made("auto").items()}
    computed = native_values(found, *of(batch))
    assert set(computed) == (set(names) if "ctc" in names else set())  # without CTC nothing is the kernel's


def test_the_kernel_leaves_alone_what_is_not_its_own() -> None:
    class Mine(Ctc):
        """Something else."""

    batch = make_batch()
    others = {"mine": (Mine(), 1.0), "per_class": (FrameKd(per_class=True), 1.0), "late": (FrameKd(layer="x"), 1.0)}
    assert native_values(others, *of(batch)) == {}
    several = {"ctc": (Ctc(), 1.0), "kd": (FrameKd(), 1.0), "kd2": (FrameKd(distance="kl"), 1.0)}
    assert set(native_values(several, *of(batch))) == {"ctc", "kd"}  # one of a kind


def test_public_functions_are_the_same_terms() -> None:
    batch = make_batch()
    common = (batch.teacher, *batch.common)
    objective = Objective(ctc=Ctc(), kd=FrameKd(weight=0.7), consistency=Consistency(weight=0.3))
    expected = cons_kd_loss(batch.student, *common, kd_weight=0.7, consistency_weight=0.3, reduction="sum")
    assert torch.equal(objective(*of(batch)).total, expected.total)
    one = batch.but(student=batch.student[:1])
    expected = guided_ctc_loss(one.student[0], *common, kd_weight=0.7, reduction="sum").total
    assert torch.equal(Objective(ctc=Ctc(), kd=Guided(weight=0.7))(*of(one)).total, expected)


def test_intermediate_layers_need_no_term_of_their_own() -> None:
    batch = make_batch()
    student, others, labels = of(batch.but(student=batch.student[:1]))
    student.layers = {"3": Outputs(batch.student[1:], batch.input_lengths)}
    objective = Objective(
        ctc=Ctc(),
        kd=FrameKd(weight=0.7),
        inter_ctc=Ctc(layer=3, weight=0.5),
        inter_kd=FrameKd(layer=3, other_layer="output", weight=0.3),
    )
    weights = {"kd_weight": 0.7, "inter_kd_weight": 0.3, "inter_ctc_weight": 0.5, "reduction": "sum"}
    expected = inter_ctc_kd_loss(batch.student[0], batch.student[1:], batch.teacher, *batch.common, **weights)
    found = objective(student, others, labels)
    torch.testing.assert_close(found.total, expected.total, rtol=1e-12, atol=0)
    assert found.terms.keys() == expected.terms.keys()
    assert objective.layers() == {"3"} and objective.layers("teacher") == set()


def positions(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Labels, Outputs, Outputs]:
    generator = torch.Generator().manual_seed(seed)
    z, t = (torch.randn(3, 5, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    targets, lengths = torch.randint(6, (3, 5), generator=generator), torch.tensor([5, 4, 2])
    labels = Labels(targets, lengths)
    return z, t, labels.positions(5), labels, Outputs(z[None], lengths), Outputs(t[None], lengths)


def test_losses_by_token_are_terms_too() -> None:
    z, t, y, labels, student, teacher = positions()
    others = {"teacher": teacher}
    sum_of = {"reduction": "sum"}
    pairs = [
        (
            {"hard": CrossEntropy(weight=0.4), "kd": FrameKd(weight=0.6, distance="kl", temperature=3.0)},
            tf_kd_self_loss(z, y, t, kd_weight=0.6, temperature=3.0, **sum_of),
        ),
        (
            {
                "hard": CrossEntropy(weight=0.4),
                "kd": FrameKd(weight=1.2, distance="kl", temperature=3.0, per_class=True),
            },
            tf_kd_self_loss(z, y, t, kd_weight=0.6, multiplier=2.0, temperature=3.0, variant="released", **sum_of),
        ),
        (
            {
                "hard": CrossEntropy(weight=0.05),
                "kd": VirtualTeacher(weight=0.95, temperature=20.0, variant="released"),
            },
            tf_kd_reg_loss(z, y, kd_weight=0.95, temperature=20.0, variant="released", **sum_of),
        ),
        (
            {"hard": CrossEntropy(smoothing=0.1), "kd": BookKd(weight=0.8, temperature=2.0, regularisation=0.2)},
            book_kd_loss(z, y, (t / 2).log_softmax(-1), kd_weight=0.8, temperature=2.0, regularisation=0.2, **sum_of),
        ),
        (
            {"hard": CrossEntropy(weight=0.5), "kd": SoftTargets(weight=0.5)},
            deep_interactive_loss(z, y, t.softmax(-1), **sum_of),
        ),
    ]
    for terms, expected in pairs:
        found = Objective(**terms)(student, others, labels)
        torch.testing.assert_close(found.total, expected.total, rtol=1e-12, atol=0)
        for name in ("hard", "kd"):
            torch.testing.assert_close(found.terms[name], expected.terms[name], rtol=1e-12, atol=0)
    assert found.notes == {}


def test_notes_are_means() -> None:
    *_, labels, student, teacher = positions()
    objective = Objective(labels=AdaptiveSmoothing(), kd=BookKd())
    notes = objective(student, {"teacher": teacher}, labels).notes
    assert set(notes) == {"labels.hard", "labels.soft", "labels.alpha", "kd.weight"}
    p = student.log_probs[0][student.mask].exp()
    alpha = 1 + (p * p.log()).sum(-1) / torch.tensor(6.0, dtype=torch.float64).log()
    torch.testing.assert_close(notes["labels.alpha"], alpha.mean())
    # Before there is a past self, adaptive smoothing has a uniform prior; distillation needs its teacher.
    assert set(objective(student, {}, labels).terms) == {"labels"}


def test_a_schedule_is_linear_between_its_points() -> None:
    term = Ctc(weight=[[0, 0.0], [0.2, 0.4], [0.8, 0.1]])
    found = [term.weight_at(at) for at in (0.0, 0.1, 0.2, 0.5, 0.8, 1.0)]
    assert found == pytest.approx([0.0, 0.2, 0.4, 0.25, 0.1, 0.1], abs=1e-15)
    assert Ctc(weight=[[0.5, 0.3]]).weight_at(0.1) == 0.3
    # The warm-up of Cons-KD: a share of the updates.
    warm = Consistency(weight=[[0, 0], [0.2, 0.4]])
    for step in range(100):
        assert warm.weight_at((step + 1) / 100) == pytest.approx(0.4 * min(1.0, (step + 1) / 20), abs=1e-15)
    assert Ctc(weight=[[0, 0], [1, 0]]).off and not warm.off


def test_a_scheduled_term_is_absent_while_its_weight_is_zero() -> None:
    batch = make_batch()
    objective = Objective(ctc=Ctc(), kd=FrameKd(weight=[[0, 0], [0.5, 0], [1, 1]]))
    assert set(objective(*of(batch), progress=0.4).terms) == {"ctc"}
    assert set(objective(*of(batch), progress=0.6).terms) == {"ctc", "kd"}


class Adapted(Term):
    """‖A s − t‖², with an adaptor A that is made when the sizes are known."""

    source = "teacher"

    def setup(self, student, teacher) -> None:
        self.adaptor = torch.nn.Linear(student.values.shape[-1], teacher.values.shape[-1])

    def forward(self, student, teacher, labels):
        return (self.adaptor(student.values) - teacher.values).square().mean(-1).sum(-1).mean(0)


def test_a_term_may_own_parameters() -> None:
    lengths, torch_seed = torch.tensor([4, 3]), torch.manual_seed(0)
    student = Outputs(torch.randn(1, 2, 4, 3), lengths, {"x": torch.randn(1, 2, 4, 5)})
    teacher = Outputs(torch.randn(1, 2, 4, 3), lengths, {"y": torch.randn(1, 2, 4, 7)})
    objective = Objective(adapted=Adapted(layer="x", other_layer="y"))
    assert torch_seed and list(objective.parameters()) == []
    objective.setup(student, {"teacher": teacher})
    assert objective.adapted.adaptor.weight.shape == (7, 5)
    objective(student, {"teacher": teacher}, Labels(torch.zeros(2, 1).long(), torch.ones(2).long())).total.backward()
    assert objective.adapted.adaptor.weight.grad.abs().sum() > 0


def test_settings_become_terms() -> None:
    made = objective_of(
        {
            "ctc": {"_target_": "seqkd.losses.Ctc"},
            "gone": None,
            "kd": {"_target_": "seqkd.losses.FrameKd", "weight": [[0, 0], [1, 1]], "distance": "kl"},
            "mine": {"_target_": "tests.losses.test_objective.Adapted", "layer": "x"},
        }
    )
    assert list(made) == ["ctc", "kd", "mine"]
    assert made.kd.distance == "kl" and made.kd.weight_at(0.5) == 0.5 and type(made.mine).__name__ == "Adapted"


FAULTS = {
    "system.objective.kd.temprature; did you mean temperature?": {"temprature": 2},
    "system.objective.kd.wieght; did you mean weight?": {"wieght": 2},
    "setting system.objective.kd.temperature is 0; expected more than 0": {"temperature": 0},
    "setting system.objective.kd.weight is -1; expected at least 0": {"weight": -1},
    "setting system.objective.kd.weight is 'much'; expected a number of at least 0": {"weight": "much"},
    "expected shares of the updates that rise": {"weight": [[0.5, 1], [0.2, 0]]},
    "expected a number, or \\[\\[share of the updates, weight\\], ...\\]": {"weight": [0.5, 1]},
    "setting system.objective.kd.distance is 'kll'; expected one of squared, kl; did you mean kl?": {"distance": "kll"},
    "seqkd.losses has no FrameKD; did you mean FrameKd?": {"_target_": "seqkd.losses.FrameKD"},
    "there is no module my_losses; is its directory on PYTHONPATH?": {"_target_": "my_losses.Mine"},
    "is seqkd.losses.Outputs, which is no subclass of seqkd.losses.Term": {"_target_": "seqkd.losses.Outputs"},
    "expected a module and a name in it": {"_target_": "Ctc"},
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_fault_is_one_sentence(message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", "\\?")):
        objective_of({"kd": {"_target_": "seqkd.losses.FrameKd", **FAULTS[message]}})


def test_a_term_that_is_not_there_is_named() -> None:
    ctc = {"_target_": "seqkd.losses.Ctc"}
    with pytest.raises(ConfigError, match=r"system.objective.ctcc has no _target_.*did you mean ctc\?"):
        objective_of({"ctc": ctc, "ctcc": {"weight": 1}})
    with pytest.raises(ConfigError, match=r"system.objective has no terms"):
        objective_of({"ctc": None})
    student = Outputs(torch.zeros(1, 1, 2, 3), torch.tensor([2]), {"block2": torch.zeros(1, 1, 2, 4)})
    with pytest.raises(ConfigError, match=r"layer is 'block3', but .* gives output, block2; did you mean block2"):
        student.at("block3")
