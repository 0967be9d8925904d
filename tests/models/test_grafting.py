"""Grafting: what stands where, that only the student moves, and that adaptors vanish without a trace."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from seqkd.errors import ConfigError
from seqkd.models.classifier import Classifier
from seqkd.models.grafting import Grafted, GraftedClassifier, as_grafted, fold_adaptors

SHAPE = {"strides": (2, 1, 1, 1), "dropout": 0.0}


def teacher(**options) -> Classifier:
    torch.manual_seed(0)
    model = Classifier(6, 3, **({"widths": (8, 8, 12, 12), "hidden": 10} | SHAPE | options))
    model.normalise(torch.randn(6), torch.rand(6) + 0.5)
    return settle(model)


def student(**options) -> GraftedClassifier:
    torch.manual_seed(1)
    return settle(GraftedClassifier(6, 3, **({"widths": (8, 4, 4, 6), "hidden": 5} | SHAPE | options)))


def settle(model: nn.Module) -> nn.Module:
    """Norms as a training leaves them, not as new ones are."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return model


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(4, 11, 6, generator=torch.Generator().manual_seed(2)), torch.tensor([11, 5, 3, 11])


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}


def test_the_networks_of_the_blocks() -> None:
    grafted = Grafted(teacher(), student())
    assert grafted.blocks == (2, 3, 4, 5)
    shapes = {name: tuple(one.weight.shape) for name, one in grafted.named_modules() if name[:5] in ("enter", "leave")
              and isinstance(one, nn.Conv1d)}  # fmt: skip
    assert shapes == {
        "enter.3": (4, 8, 1), "enter.4": (4, 12, 1), "enter.5": (6, 12, 1),  # none before the first block
        "leave.2": (8, 4, 1), "leave.3": (12, 4, 1), "leave.4": (12, 6, 1),  # none behind the last
    }  # fmt: skip
    assert all(one.bias is None for one in [*grafted.enter.values(), *grafted.leave.values()])


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_one_block_stands_between_the_teachers(number: int) -> None:
    """T_after ∘ A_s2t ∘ S_b ∘ A_t2s ∘ T_before, written out."""
    whole, part = teacher().eval(), student().eval()
    grafted = Grafted(whole, part).block(number).eval()
    x, lengths = batch()
    found = grafted(x, lengths).logits
    x, lengths = whole.front(x, lengths)
    for stage in whole.stages[: number - 1]:
        x, lengths = stage(x, lengths)
    x = grafted.enter[str(number)](x) if number > 2 else x
    if number == 5:
        expected = part.head(x, lengths)[0]
    else:
        x, lengths = part.stages[number - 1](x, lengths)
        x = grafted.leave[str(number)](x)
        for stage in whole.stages[number:]:
            x, lengths = stage(x, lengths)
        expected = whole.head(x, lengths)[0]
    assert torch.equal(found, expected)


def test_the_chain_grows_from_the_front() -> None:
    whole, part = teacher().eval(), student().eval()
    grafted = Grafted(whole, part).eval()
    x, lengths = batch()
    assert torch.equal(grafted.chain(2)(x, lengths).logits, grafted.block(2)(x, lengths).logits)
    x, lengths = whole.front(x, lengths)
    x, lengths = whole.stages[0](x, lengths)
    x, lengths = part.stages[1](x, lengths)
    x, lengths = part.stages[2](grafted.enter["3"](grafted.leave["2"](x)), lengths)
    x, lengths = whole.stages[3](grafted.leave["3"](x), lengths)
    torch.testing.assert_close(grafted.chain(3)(*batch()).logits, whole.head(x, lengths)[0])


@pytest.mark.parametrize(("place", "number"), [("block", 2), ("block", 3), ("block", 5), ("chain", 3), ("chain", 5)])
def test_only_what_is_in_place_moves(place: str, number: int) -> None:
    grafted = Grafted(teacher(), student())
    getattr(grafted, place)(number).train()
    before = state(grafted)
    optimizer = torch.optim.AdamW(grafted.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        grafted(*batch()).logits.square().sum().backward()
        optimizer.step()
    changed = moved(before, grafted)
    first = 2 if place == "chain" else number
    allowed = [f"student.stages.{b - 1}." for b in range(first, min(number, 4) + 1)]
    allowed += ["student.hidden.", "student.output."] if number == 5 else []
    allowed += [f"enter.{b}." for b in range(max(first, 3), number + 1)]
    allowed += [f"leave.{b}." for b in range(first, min(number, 4) + 1)]
    assert not [name for name in changed if not name.startswith(tuple(allowed))]
    assert all(any(name.startswith(one) for name in changed) for one in allowed)
    assert {name for name, one in grafted.named_parameters() if one.requires_grad} <= changed


def test_the_teacher_and_the_front_stay_as_in_evaluation() -> None:
    """Statistics of normalisation do not drift either: that is where a released code's teacher moves."""
    network = teacher()
    grafted = Grafted(network, student())
    grafted.train()
    assert not any(module.training for module in grafted.teacher.modules())
    assert not any(module.training for module in grafted.student.stages[0].modules())
    assert all(module.training for module in grafted.student.stages[1:].modules())
    before, given = state(grafted), state(network)
    for number in grafted.blocks:
        grafted.chain(number)(*batch())
    assert not [n for n in moved(before, grafted) if n.startswith(("teacher.", "student.stages.0."))]
    assert not moved(given, network) and network.training
    alone = student().copy_front(network).train()
    before = state(alone)
    alone(*batch())
    assert not [n for n in moved(before, alone) if n.startswith(("stages.0.", "feature"))]
    assert moved(before, alone)
    assert not any(p.requires_grad for p in alone.stages[0].parameters())
    assert all(p.requires_grad for p in alone.stages[1:].parameters())


def twin() -> tuple[Classifier, Grafted]:
    """A student of the teacher's widths and weights, with adaptors that change nothing."""
    whole = teacher().eval()
    part = GraftedClassifier(6, 3, widths=(8, 8, 12, 12), hidden=10, **SHAPE)
    part.load_state_dict(whole.state_dict(), strict=False)  # shortcuts that only it has are the identity
    grafted = Grafted(whole, part).eval()
    for adaptor in [*grafted.enter.values(), *grafted.leave.values()]:
        nn.init.dirac_(adaptor.weight)
    return whole, grafted


def test_a_copy_of_the_teachers_block_with_identity_adaptors_loses_nothing() -> None:
    whole, grafted = twin()
    x, lengths = batch()
    expected = whole(x, lengths).logits
    for number in grafted.blocks:
        for place in (grafted.block, grafted.chain):
            torch.testing.assert_close(place(number)(x, lengths).logits, expected)
            found, wanted = (logits / logits.norm(dim=-1, keepdim=True) for logits in (
                grafted(x, lengths).logits, expected))  # fmt: skip
            assert float((found - wanted).detach().square().sum()) < 1e-10
    torch.testing.assert_close(fold_adaptors(grafted)(x, lengths).logits, expected)


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("copied", [1, 2, 4])
def test_adaptors_fold_exactly(mode: bool, copied: int) -> None:
    widths = (8, 8, 12, 12)[:copied] + (4, 4, 6, 6)[copied:]
    grafted = Grafted(teacher(), student(copied=copied, widths=widths)).double().train(mode)
    x, lengths = batch()
    network = fold_adaptors(grafted.chain(5))
    expected = grafted(x.double(), lengths).logits
    torch.testing.assert_close(network(x.double(), lengths).logits, expected, rtol=0, atol=1e-12)
    assert isinstance(network, Classifier)
    assert not any(name.startswith(("enter", "leave", "teacher")) for name in network.state_dict())
    frozen = {name for name, one in network.named_parameters() if not one.requires_grad}
    assert frozen == {n for n, _ in network.named_parameters() if n.startswith(tuple(
        f"stages.{number}." for number in range(copied)))}  # fmt: skip


def test_an_adaptor_with_a_bias_would_not_fold() -> None:
    """Why there is none: at the borders a padded convolution sees 0, not the bias."""
    adaptor, conv = nn.Conv1d(3, 3, 1).double(), nn.Conv1d(3, 2, 3, padding=1).double()
    x = torch.randn(1, 3, 6, dtype=torch.float64)
    merged = torch.einsum("oik,ij->ojk", conv.weight, adaptor.weight[:, :, 0])
    shift = conv.bias + torch.einsum("oik,i->o", conv.weight, adaptor.bias)
    apart = (conv(adaptor(x)) - nn.functional.conv1d(x, merged, shift, padding=1)).abs().amax((0, 1))
    assert apart[1:-1].max() < 1e-12 < 1e-3 < apart[[0, -1]].min()


def test_the_folded_network_is_built_by_its_settings() -> None:
    x, lengths = batch()
    options = {"widths": (8, 4, 5, 6)}  # no two alike, so an ordinary Classifier has the same layers
    grafted = Grafted(teacher(), student(**options)).chain(5).eval()
    expected = grafted(x, lengths).logits
    folded = fold_adaptors(grafted)
    for kind in (Classifier, GraftedClassifier):
        network = kind(6, 3, hidden=5, **SHAPE, **options).eval()
        network.load_state_dict(folded.state_dict())
        torch.testing.assert_close(network(x, lengths).logits, expected)
    alike = student()  # widths 4, 4
    assert isinstance(alike.stages[2].shortcut, nn.Conv1d)
    fresh = student().eval()
    fresh.load_state_dict(fold_adaptors(Grafted(teacher(), alike)).state_dict())


@pytest.mark.parametrize("options", [{}, {"planes": 2}, {"target": "frame", "strides": (1, 1, 1, 1), "kernel": 5}])
def test_it_is_built_from_an_ordinary_one_of_its_shape(options: dict) -> None:
    ordinary = Classifier(6, 3, **({"widths": (8, 4, 4, 6), "hidden": 5} | SHAPE | options))
    rebuilt = as_grafted(ordinary, copied=1).eval()
    folded = student(**options)
    rebuilt.load_state_dict(folded.state_dict())
    x, lengths = batch()
    assert torch.equal(rebuilt(x, lengths).logits, folded.eval()(x, lengths).logits)
    assert (rebuilt.copied, rebuilt.dropout.p) == (1, 0.0)


def test_the_state_of_a_phase_can_be_loaded_and_copied() -> None:
    grafted = Grafted(teacher(), student()).chain(4).eval()
    other = Grafted(settle(teacher()), settle(student())).chain(4).eval()
    other.load_state_dict(grafted.state_dict())
    x, lengths = batch()
    assert torch.equal(other(x, lengths).logits, grafted(x, lengths).logits)
    assert torch.equal(copy.deepcopy(grafted)(x, lengths).logits, grafted(x, lengths).logits)


def test_layers_and_padding() -> None:
    grafted = Grafted(teacher(), student()).chain(3).eval()
    x, lengths = batch()
    output = grafted(x, lengths, layers=["stage2", "stage4", "hidden"])
    assert [output.layers[name][0].shape[-1] for name in ("stage2", "stage4", "hidden")] == [4, 12, 10]
    junk = x.clone()
    junk[1, 5:], junk[2, 3:] = 7.0, float("nan")
    torch.testing.assert_close(grafted(junk, lengths).logits, output.logits)
    torch.testing.assert_close(grafted(x[2:3, :3], lengths[2:3]).logits, output.logits[2:3])
    with pytest.raises(ConfigError, match="layer is 'blocks'"):
        grafted(x, lengths, layers=["blocks"])


def test_a_class_a_frame_and_images() -> None:
    shape = {"strides": (1, 1), "target": "frame"}
    grafted = Grafted(teacher(widths=(8, 12), **shape), student(widths=(8, 4), **shape)).chain(3).eval()
    x, lengths = batch()
    assert grafted(x, lengths).logits.shape == (4, 11, 3)
    torch.testing.assert_close(fold_adaptors(grafted)(x, lengths).logits, grafted(x, lengths).logits)
    shape = {"strides": (2, 1), "planes": 2}
    grafted = Grafted(teacher(widths=(8, 12), **shape), student(widths=(8, 4), **shape)).chain(3)
    assert not grafted.student.stem.training and not any(p.requires_grad for p in grafted.student.stem.parameters())
    grafted.eval()
    torch.testing.assert_close(fold_adaptors(grafted)(x, lengths).logits, grafted(x, lengths).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": (2, 2, 1, 1)}, r"stages: 4 of strides \[2, 2, 1, 1\], the teacher's: 4 of strides \[2, 1, 1, 1\]"),
        (
            {"widths": (6, 4, 4, 6)},
            r"stages\.0\.conv1\.weight is \(6, 6, 3\) in the student, \(8, 6, 3\) in the teacher",
        ),
        ({"copied": 2}, r"stages\.1\.conv1\.weight is \(4, 8, 3\)"),
        ({"copied": 0}, "copied is 0; expected from 1 to 4"),
        ({"copied": 5}, "copied is 5"),
        ({"target": "frame", "strides": (1, 1, 1, 1)}, "stages: 4 of strides"),
    ],
)
def test_networks_that_do_not_correspond(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Grafted(teacher(), student(**options))


def test_there_is_no_other_block() -> None:
    grafted = Grafted(teacher(), student())
    for number in (1, 6):
        with pytest.raises(ConfigError, match="expected one of 2, 3, 4, 5"):
            grafted.block(number)
