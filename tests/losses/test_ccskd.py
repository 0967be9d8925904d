"""CCSKD's descriptors and selective distillation (IEEE TCDS 2023, 10.1109/tcds.2022.3232569), by hand."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from seqkd.errors import ConfigError
from seqkd.losses.adaptor import Adaptor
from seqkd.losses.ccskd import ChannelDescriptors, SelectiveKd
from seqkd.losses.frame_kd import FrameKd
from seqkd.losses.objective import Objective
from seqkd.losses.outputs import Features, Labels, Outputs

EXAMPLES = {
    "descriptors": ChannelDescriptors(layer="x"),
    "selective": SelectiveKd(),
    "selective_released": SelectiveKd(variant="released"),
    "positions_selective": SelectiveKd(),
    "positions_selective_released": SelectiveKd(variant="released"),
}

S = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
T = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
P_T, P_S = (torch.tensor(p, dtype=torch.float64) for p in ([0.7, 0.2, 0.1], [0.5, 0.3, 0.2]))
ONE = torch.tensor([1])


def layer(items: Tensor) -> Features:
    """Features of one frame, of (B, D)."""
    return Features.of(items[None, :, None], torch.ones(len(items)))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Descriptors.


def test_descriptors_by_hand() -> None:
    s = S.clone().requires_grad_()
    loss = ChannelDescriptors(layer="x")(layer(s), layer(T), None).mean()
    assert loss.item() == pytest.approx(1 / 3, abs=1e-8)
    gradient = torch.autograd.grad(loss, s)[0]
    expected = torch.tensor([[0.0, 0.0], [0.0, -1 / 3], [0.0, 1 / 3]], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected)


def test_descriptors_are_means_over_each_networks_own_valid_frames() -> None:
    ours, theirs = drawn(2, 2, 5, 3), drawn(1, 2, 3, 3, seed=1)
    student, teacher = Features.of(ours, torch.tensor([5, 2])), Features.of(theirs, torch.tensor([3, 1]))
    found = ChannelDescriptors(layer="x")(student, teacher, None)
    for item, (n, m) in enumerate(((5, 3), (2, 1))):
        t = theirs[0, item, :m].mean(0)
        expected = sum((ours[p, item, :n].mean(0) - t).square().mean() for p in range(2)) / 2
        torch.testing.assert_close(found[item], expected)


def adapted(values: Tensor, adaptor: Adaptor) -> Tensor:
    """By torch's modules, over all valid frames in one batch."""
    return nn.Sequential(adaptor.linear, adaptor.norm, nn.ReLU())(values)


def test_an_adaptor_sees_valid_frames_alone() -> None:
    torch.manual_seed(0)
    ours, lengths = drawn(2, 2, 5, 3), torch.tensor([5, 2])
    student, teacher = Features.of(ours, lengths), Features.of(drawn(1, 2, 5, 4, seed=1), lengths)
    term = ChannelDescriptors(layer="x")
    term.setup(student, teacher)
    term.double()
    found = term(student, teacher, None)
    copy = deepcopy(term.adaptor)
    copy.norm.reset_running_stats()
    rows = torch.cat([ours[p, i, :n] for p in range(2) for i, n in enumerate(lengths)])
    frames = adapted(rows, copy).split([5, 2, 5, 2])
    torch.testing.assert_close(term.adaptor.norm.running_mean, copy.norm.running_mean)
    for item in range(2):
        t = teacher.values[0, item, : lengths[item]].mean(0)
        expected = sum((frames[2 * p + item].mean(0) - t).square().mean() for p in range(2)) / 2
        torch.testing.assert_close(found[item], expected)
    trained = [term.adaptor.linear.weight, term.adaptor.norm.weight, term.adaptor.norm.bias]
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(found.sum(), trained))
    dirty = ours.clone()
    dirty[:, 1, 2:] = torch.nan
    assert torch.equal(term(Features.of(dirty, lengths), teacher, None), found)
    torch.autograd.gradcheck(lambda x: term(Features.of(x, lengths), teacher, None), ours.requires_grad_())
    term.eval()
    first = Features.of(ours[:, :1], lengths[:1])
    other = Features.of(teacher.values[:, :1], lengths[:1])
    torch.testing.assert_close(term(first, other, None)[0], term(student, teacher, None)[0])


def test_one_frame_has_no_variance_and_no_nan() -> None:
    term = ChannelDescriptors(layer="x", adaptor=True)
    term.setup(layer(S), layer(T))
    assert term(layer(S[:1].float()), layer(T[:1].float()), None).isfinite().all()


def test_an_adaptor_is_made_where_it_is_needed_or_wanted() -> None:
    narrow, wide = layer(S), layer(torch.cat([T, T], 1))
    for wanted, other, made in (
        (None, narrow, False),
        (None, wide, True),
        (True, narrow, True),
        (False, narrow, False),
    ):
        term = ChannelDescriptors(layer="x", adaptor=wanted)
        term.setup(narrow, other)
        assert (term.adaptor is not None) == made
        assert len(list(term.parameters())) == 3 * made
    with pytest.raises(ConfigError, match="adaptor is False, but the layers have 2 and 4 features"):
        ChannelDescriptors(layer="x", adaptor=False).setup(narrow, wide)
    with pytest.raises(ValueError, match="call setup of the objective first"):
        ChannelDescriptors(layer="x")(narrow, wide, None)


def test_an_adaptor_is_part_of_the_objective() -> None:
    student = Outputs(drawn(1, 3, 4, 2).float(), torch.tensor([4, 4, 3]), {"x": drawn(1, 3, 4, 5).float()})
    teacher = Outputs(drawn(1, 3, 4, 2).float(), torch.tensor([4, 4, 3]), {"x": drawn(1, 3, 4, 7).float()})
    objective = Objective(cd=ChannelDescriptors(layer="x"))
    objective.setup(student, {"teacher": teacher})
    loss = objective(student, {"teacher": teacher}, Labels(torch.zeros(3, 1), torch.ones(3)))
    loss.total.backward()
    assert all(p.grad.abs().sum() > 0 for p in objective.parameters())


# Selective distillation.


def selective(m: float, variant: str, z: Tensor | None = None) -> Tensor:
    """One position, weighed by m: 1 and 2 by the label, other values by the decay."""
    decay = m / 2 if m not in (1, 2) else 1.0
    term = SelectiveKd(variant=variant, decay=decay, every=200)
    z = P_S.log() if z is None else z
    label = torch.tensor([[1 if m == 1 else 0]])
    return term(Outputs(z[None, None, None], ONE), Outputs(P_T.log()[None, None, None], ONE), Labels(label, ONE)).sum()


@pytest.mark.parametrize(
    ("m", "value", "gradient"),
    [
        (1, 0.08512283, [-0.2, 0.1, 0.1]),
        (2, 3.33042277, [-0.8, 0.4, 0.4]),
        (1.8, 2.48843267, [-0.648, 0.324, 0.324]),
        (0.9, -0.09803864, [-0.162, 0.081, 0.081]),  # no divergence: negative
    ],
)
def test_the_released_form_by_hand(m: float, value: float, gradient: list[float]) -> None:
    z = P_S.log().requires_grad_()
    loss = selective(m, "released", z)
    assert loss.item() == pytest.approx(value, abs=1e-8)
    torch.testing.assert_close(torch.autograd.grad(loss, z)[0], torch.tensor(gradient, dtype=torch.float64))


@pytest.mark.parametrize("m", [1, 2, 1.8])
def test_the_clean_form_is_weighed_once(m: float) -> None:
    z = P_S.log().requires_grad_()
    loss = selective(m, "clean", z)
    assert loss.item() == pytest.approx(m * 0.08512283, abs=2e-8)
    torch.testing.assert_close(torch.autograd.grad(loss, z)[0], m * (P_S - P_T))
    assert selective(2, "clean").item() == pytest.approx(0.17024565, abs=1e-8)


@pytest.mark.parametrize(
    ("epoch", "m"), [(0, 2), (1, 2), (29, 2), (30, 1.8), (59, 1.8), (60, 1.62), (199, 1.062882), (200, 1.062882)]
)
def test_m_falls_every_thirty_epochs(epoch: int, m: float) -> None:
    term = SelectiveKd()
    term.progress = epoch / 200
    assert 2 * term.factor == pytest.approx(m, abs=1e-9)
    if epoch:
        term.progress = (epoch - 0.5) / 200  # within it
        assert 2 * term.factor == pytest.approx(m, abs=1e-9)


def test_rounding_does_not_begin_an_epoch_early() -> None:
    term = SelectiveKd(epochs=29, every=16)
    term.progress = 15 / 29  # times 29 it is more than 15
    assert term.progress * 29 > 15 and term.factor == 1


def test_the_objective_moves_the_decay_on() -> None:
    logits = P_S.log()[None, None, None]
    objective = Objective(kd=SelectiveKd())
    teacher, labels = {"teacher": Outputs(P_T.log()[None, None, None], ONE)}, Labels(torch.tensor([[0]]), ONE)
    for progress, m in ((0.1, 2), (0.2, 1.8), (1.0, 1.062882)):
        total = objective(Outputs(logits, ONE), teacher, labels, progress).total
        assert total.item() == pytest.approx(m * 0.08512283, abs=2e-8)


def test_positions_are_right_one_by_one() -> None:
    lengths = torch.tensor([4, 2])
    student, teacher = Outputs(drawn(1, 2, 4, 3), lengths), Outputs(drawn(1, 2, 4, 3, seed=1), lengths)
    targets = teacher.logits[0].argmax(-1)
    targets[0, 1] = (targets[0, 1] + 1) % 3
    plain = FrameKd(distance="kl")
    term = SelectiveKd(decay=1.0)
    found = term(student, teacher, Labels(targets, lengths))
    assert term.noted["right"].item() == pytest.approx(5 / 6)
    whole = plain(student, teacher, None)
    torch.testing.assert_close(found[1], 2 * whole[1])
    one = Outputs(student.logits[:, :1, 1:2], ONE), Outputs(teacher.logits[:, :1, 1:2], ONE)
    torch.testing.assert_close(found[0], 2 * whole[0] - plain(*one, None)[0])
    unlabelled = Labels(targets, lengths, torch.tensor([True, False]))
    torch.testing.assert_close(term(student, teacher, unlabelled)[1], whole[1])


def greedy(*paths: str) -> Tensor:
    """(B, T, C) logits whose best path is as written, "-" the blank 0."""
    best = torch.tensor([["-abc".index(x) for x in path] for path in paths])
    return 5 * nn.functional.one_hot(best, 4).double()


@pytest.mark.parametrize("variant", ["clean", "released"])
def test_on_ctc_an_utterance_is_right_if_it_has_no_error(variant: str) -> None:
    lengths = torch.tensor([6, 6, 6, 3, 6])
    #   ab and aa are right; ab for aab is not; what is said on padded frames does not count; nothing was said
    logits = greedy("aa-bb-", "a--a--", "aaab--", "-ccabc", "------")
    labels = Labels(
        torch.tensor([[1, 2, 3], [1, 1, 0], [1, 1, 2], [3, 3, 1], [7, 7, 7]]), torch.tensor([2, 2, 3, 1, 0])
    )
    student, teacher = Outputs(drawn(2, 5, 6, 4), lengths), Outputs(logits[None], lengths)
    term = SelectiveKd(decay=1.0, variant=variant)
    found, right = term(student, teacher, labels), torch.tensor([True, True, False, True, True])
    assert term.noted["right"].item() == pytest.approx(21 / 27)
    m = 1 + right.double()
    if variant == "clean":
        torch.testing.assert_close(found, m * FrameKd(distance="kl")(student, teacher, None))
    else:
        p, q = teacher.log_probs.exp(), student.log_probs
        each = [m[i] * p * ((m[i] * p).log() - m[i] * q) for i in range(5)]
        expected = torch.stack([each[i][:, i, : lengths[i]].sum() / 2 for i in range(5)])
        torch.testing.assert_close(found, expected)
    labels.labelled = torch.tensor([False, True, True, True, True])
    one = SelectiveKd(decay=1.0)(student, teacher, labels)[0]
    torch.testing.assert_close(one, FrameKd(distance="kl")(student, teacher, None)[0])


def test_padded_frames_are_no_part_of_the_greedy_transcript() -> None:
    lengths = torch.tensor([2])
    best = torch.tensor([[0, 1, 2, 2]])  # blank 3; padded frames are uniform, so that class 0 would be the best there
    teacher = Outputs(5 * nn.functional.one_hot(best, 4)[None].double(), lengths)
    term = SelectiveKd()
    term(Outputs(drawn(1, 1, 4, 4), lengths), teacher, Labels(torch.tensor([[0, 1]]), torch.tensor([2]), blank=3))
    assert term.noted["right"] == 1


def test_a_transcript_longer_than_the_frames_is_not_right() -> None:
    lengths = torch.tensor([2])
    student, teacher = Outputs(drawn(1, 1, 2, 4), lengths), Outputs(greedy("ab")[None], lengths)
    term = SelectiveKd()
    term(student, teacher, Labels(torch.tensor([[1, 2, 3]]), torch.tensor([3])))
    assert term.noted["right"] == 0
    term(student, teacher, Labels(torch.tensor([[1, 2, 3]]), torch.tensor([2])))
    assert term.noted["right"] == 1


def test_each_pass_may_have_a_teacher_of_its_own() -> None:
    lengths = torch.tensor([2])
    student = Outputs(drawn(2, 1, 2, 4), lengths)
    teacher = Outputs(torch.stack([greedy("ab"), greedy("ac")]), lengths)
    labels = Labels(torch.tensor([[1, 2, 0]]), torch.tensor([2]))
    term = SelectiveKd(decay=1.0)
    found = term(student, teacher, labels)
    kl = [
        FrameKd(distance="kl")(
            Outputs(student.logits[p : p + 1], lengths), Outputs(teacher.logits[p : p + 1], lengths), None
        )
        for p in range(2)
    ]
    torch.testing.assert_close(found, (2 * kl[0] + kl[1]) / 2)
    assert term.noted["right"] == 0.5


@pytest.mark.parametrize("variant", ["clean", "released"])
def test_a_class_that_the_teacher_rules_out_is_no_nan(variant: str) -> None:
    z = torch.zeros(1, 1, 1, 3, dtype=torch.float64, requires_grad=True)
    ruled_out = torch.tensor([[[[0.0, -torch.inf, 0.0]]]], dtype=torch.float64)
    for student in (z, z + ruled_out):
        teacher = Outputs(z.detach() + 1 + ruled_out, ONE)
        loss = SelectiveKd(variant=variant)(Outputs(student, ONE), teacher, Labels(torch.tensor([[0]]), ONE)).sum()
        assert loss.isfinite() and torch.autograd.grad(loss, z)[0].isfinite().all()
