"""The mixture of experts: worked numbers, one network written out block by block, the tree and the second stage."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkd.classification.model import changed
from seqkd.errors import ConfigError
from seqkd.models.classifier import Classifier, multiply_adds
from seqkd.models.hme import BlockTree, HmeClassifier, as_hme, parent_weights
from tests.classification.tiny import tiny_model

W = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
KINDS = pytest.mark.parametrize("heads", ["ce", "nce"])


def network(**options) -> HmeClassifier:
    torch.manual_seed(0)
    settings = {"widths": (4, 6), "strides": (1, 2), "hidden": 3, "dropout": 0.0, "blocks": (2, 4)}
    return HmeClassifier(5, 7, **(settings | options))


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(4, 9, 5, generator=torch.Generator().manual_seed(1)), torch.tensor([9, 5, 3, 9])


def test_the_worked_numbers() -> None:
    w = W.clone().requires_grad_()
    d = parent_weights(w, 5)
    assert d[0].tolist() == pytest.approx([0.73105858, 0.26894142], abs=1e-8)
    assert (-(d * d.log()).sum()).item() == pytest.approx(0.58220311, abs=1e-8)
    d[0, 0].backward()
    assert w.grad[0].tolist() == pytest.approx([0.19661193, -0.19661193], abs=1e-8)
    assert float(parent_weights(W, 50)[0, 0]) == pytest.approx(0.9999546, abs=1e-7)


def test_the_release_writes_the_same_otherwise() -> None:
    w = torch.rand(6, 4, dtype=torch.float64)
    for epoch in (1, 7, 300):
        released = ((w / 0.5).softmax(-1).log() / (10 / epoch)).softmax(-1)
        torch.testing.assert_close(parent_weights(w, epoch), released)
    torch.testing.assert_close(parent_weights(w, 300), (60 * w).softmax(-1))


@pytest.mark.parametrize(("progress", "epoch"), [(0.0, 1), (1 / 600, 1), (5 / 300, 5), (0.5, 150), (1.0, 300)])
def test_the_epoch_counts_from_1(progress: float, epoch: int) -> None:
    model = network()
    model.advance(progress)
    assert float(model.epoch) == pytest.approx(epoch, rel=1e-6)
    for mix in model.mixes:
        torch.testing.assert_close(mix.weights(model.epoch), (mix.choice * epoch / 5).softmax(-1))
    with pytest.raises(ConfigError, match=r"progress is 1\.5"):
        model.advance(1.5)


def test_entropies_fall_from_undecided_to_none() -> None:
    model = network()
    assert [tuple(w.shape) for w in model.choices] == [(4, 2), (7, 4)]
    assert all(0 <= float(w.detach().min()) <= float(w.detach().max()) < 1 for w in model.choices)
    found = []
    for progress in (0, 0.05, 0.2, 1):
        model.advance(progress)
        found.append(model.entropies().detach())
        d = [(w.detach() * float(model.epoch) / 5).softmax(-1) for w in model.choices]
        expected = [torch.distributions.Categorical(one).entropy().mean() for one in d]
        torch.testing.assert_close(found[-1], torch.stack(expected))
    assert all((after < before).all() for before, after in pairwise(found))
    with torch.no_grad():
        for w in model.choices:
            w.zero_()
    torch.testing.assert_close(model.entropies(), torch.tensor([math.log(2), math.log(4)]))
    with torch.no_grad():
        model.choices[0][:] = torch.tensor([1000.0, 0.0])  # 0 · log 0 is 0, and its gradient finite
    entropies = model.entropies()
    entropies.sum().backward()
    assert entropies[0] == 0 and all(torch.isfinite(w.grad).all() for w in model.choices)
    with torch.no_grad():
        model.choices[0][:] = torch.tensor([1.0, 0.0])
    model.advance(5 / 300)
    assert model.entropies()[0].item() == pytest.approx(0.58220311, abs=1e-6)


@KINDS
@pytest.mark.parametrize("target", ["clip", "frame"])
def test_a_forward_written_out_block_by_block(heads: str, target: str) -> None:
    strides = (1, 1) if target == "frame" else (1, 2)
    model = network(heads=heads, target=target, strides=strides).double().eval()
    model.advance(0.1)
    x, lengths = batch()
    output = model(x.double(), lengths)
    x, lengths = model.front(x.double(), lengths)
    for stage in model.stages:
        x, lengths = stage(x, lengths)
    for b, length in enumerate(lengths.tolist()):
        frames = []
        for t in range(length):
            first = [model.hidden[0].weight[3 * n : 3 * n + 3, :, 0] @ x[b, :, t] for n in range(2)]
            first = [(f + model.hidden[0].bias[3 * n : 3 * n + 3]).relu() for n, f in enumerate(first)]
            d = model.mixes[0].weights(30)
            second = [sum(d[i, j] * first[j] for j in range(2)) for i in range(4)]
            weight, bias = model.hidden[1].weight[:, :, 0], model.hidden[1].bias
            frames.append(
                [(weight[3 * i : 3 * i + 3] @ f + bias[3 * i : 3 * i + 3]).relu() for i, f in enumerate(second)]
            )
        if target == "clip":
            frames = [[sum(frame[i] for frame in frames) / length for i in range(4)]]
        d, outputs = model.mixes[1].weights(30), 2 if heads == "nce" else 1
        for t, frame in enumerate(frames):
            for k in range(7):
                rows = slice(outputs * k, outputs * k + outputs)
                given = model.output.weight[rows, :, 0] @ sum(d[k, j] * frame[j] for j in range(4))
                expected = (given + model.output.bias[rows]).max()
                torch.testing.assert_close(output.logits[b, t, k], expected)


@KINDS
def test_padding_changes_nothing(heads: str) -> None:
    model, (x, lengths) = network(heads=heads), batch()
    junk = x.clone()
    junk[1, 5:], junk[2, 3:] = 7.0, float("nan")
    for mode in (True, False):
        model.train(mode)
        torch.testing.assert_close(model(junk, lengths).logits, model(x, lengths).logits)
    torch.testing.assert_close(model(x[2:3, :3], lengths[2:3]).logits, model(x, lengths).logits[2:3])
    layers = model(x, lengths, layers=["stage1", "hidden"]).layers
    assert layers["stage1"][0].shape == (4, 9, 4) and layers["hidden"][0].shape == (4, 1, 12)
    for name in ("hidden_scaled", "blocks"):
        with pytest.raises(ConfigError, match=f"layer is '{name}'"):
            model(x, lengths, layers=[name])


def test_everything_learns_the_choice_of_parents_too() -> None:
    model, (x, lengths) = network(), batch()
    model.advance(0.02)
    functional.cross_entropy(model(x, lengths).logits[:, 0], torch.tensor([0, 1, 2, 6])).backward()
    assert not [name for name, one in model.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
    for w in model.choices:  # adding to all parents of a child changes nothing
        torch.testing.assert_close(w.grad.sum(-1), torch.zeros(len(w)), atol=1e-6, rtol=0)


def test_the_tree_is_that_of_the_largest_weights() -> None:
    model = network()
    with torch.no_grad():
        model.choices[0][:] = torch.eye(2)[[0, 1, 1, 0]]
        model.choices[1][:] = torch.eye(4)[[0, 0, 1, 2, 3, 3, 1]]
    tree = model.tree()
    assert tree == BlockTree(((0, 1, 1, 0), (0, 0, 1, 2, 3, 3, 1)))
    assert tree.path(3) == (1, 2)
    assert tree.paths() == [(0, 0), (0, 0), (1, 1), (1, 2), (0, 3), (0, 3), (1, 1)]


def test_the_second_stage_has_the_tree_and_new_weights() -> None:
    model, (x, lengths) = network().train(), batch()
    model.normalise(torch.ones(5), torch.full((5,), 2.0))
    model.advance(0.3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        functional.cross_entropy(model(x, lengths).logits[:, 0], torch.tensor([0, 1, 2, 6])).backward()
        optimizer.step()
    torch.manual_seed(5)
    second = model.fixed()
    assert second.tree() == model.tree()
    assert second.entropies().tolist() == [0, 0]
    kept = {name for name, value in model.state_dict().items() if torch.equal(value, second.state_dict()[name])}
    assert kept == {"feature_mean", "feature_scale", "progress", "mixes.0.choice", "mixes.1.choice"}
    assert [name for name, one in second.named_parameters() if not one.requires_grad] == [
        "mixes.0.choice", "mixes.1.choice"
    ]  # fmt: skip
    for parents, mix in zip(second.tree().parents, second.mixes, strict=True):
        assert torch.equal(mix.weights(second.epoch), torch.eye(mix.choice.shape[1])[list(parents)])
    before = second(x, lengths).logits
    second.advance(0.9)  # is of no consequence any more
    assert torch.equal(second(x, lengths).logits, before)
    # A class depends on the blocks of its path alone.
    first, *_ = second.tree().path(3)
    logits = second.eval()(x, lengths).logits
    with torch.no_grad():
        second.hidden[0].bias[3 * (1 - first) : 3 * (1 - first) + 3] += 3
    changed = (second(x, lengths).logits - logits).abs().amax((0, 1)) > 0
    paths = second.tree().paths()
    assert not changed[3] and changed.any()
    assert all(path[0] != first for path, one in zip(paths, changed.tolist(), strict=True) if one)
    # The state carries that it is fixed.
    fresh = network().eval()
    fresh.load_state_dict(second.state_dict())
    assert torch.equal(fresh(x, lengths).logits, second(x, lengths).logits)
    assert fresh.tree() == second.tree()


def test_another_tree_can_be_given() -> None:
    model = network()
    tree = BlockTree(((0, 0, 1, 1), (0, 1, 2, 3, 0, 1, 2)))
    assert model.fixed(tree).tree() == tree
    for wrong in (((0, 0, 1, 1),), ((0, 0, 1, 2), (0,) * 7), ((0, 0, 1), (0,) * 7)):
        with pytest.raises(ConfigError, match=r"expected layers of \(children, parents\) \[\(4, 2\), \(7, 4\)\]"):
            model.fixed(BlockTree(wrong))


def test_its_size_is_that_of_a_student() -> None:
    model = HmeClassifier(40, 36)
    assert [tuple(w.shape) for w in model.choices] == [(4, 2), (8, 4), (36, 8)]
    size = sum(p.numel() for p in model.parameters())
    assert 10_000 < size < 17_000
    assert sum(p.numel() for p in HmeClassifier(40, 36, heads="nce").parameters()) == size + 36 * 17
    ordinary = Classifier(40, 36, widths=(16, 16, 24), strides=(2, 1, 2), hidden=16)
    # Counted in the blocks as well: 2, 4 and 8 of them at 25 frames, and a head a class.
    extra = 25 * (24 * 32 + 4 * 256 + 8 * 256) + 36 * 16
    stages = multiply_adds(ordinary, 100) - 16 * 24 - 36 * 16
    assert multiply_adds(model, 100) == stages + extra


@pytest.mark.parametrize("options", [{}, {"target": "frame", "strides": (1, 1, 1, 1)}, {"planes": 2, "kernel": 5}])
def test_it_takes_the_place_of_a_student(options: dict) -> None:
    student = Classifier(40, 36, widths=(12, 12, 16, 24), **options)
    student.normalise(torch.ones(40), torch.full((40,), 2.0))
    model = as_hme(student, heads="nce")
    assert len(model.stages) == 3 and model.heads == "nce"
    assert torch.equal(model.feature_mean, student.feature_mean)
    assert torch.equal(model.feature_scale, student.feature_scale)
    x, lengths = torch.randn(2, 20, 40), torch.tensor([20, 13])
    assert model(x, lengths).logits.shape == student(x, lengths).logits.shape
    sizes = [sum(p.numel() for p in network.parameters()) for network in (as_hme(student), student)]
    assert 0.7 < sizes[0] / sizes[1] < 1.2
    assert len(as_hme(student, shared=1).stages) == 1
    with pytest.raises(ConfigError, match="shared is 5; expected from 1 to 4"):
        as_hme(student, shared=5)
    model.fit_to(model.state_dict())
    model.load_state_dict(as_hme(student, heads="nce").state_dict())


def test_state_and_copies() -> None:
    model, (x, lengths) = network().eval(), batch()
    model.advance(0.4)
    other = network().eval()
    nn.init.zeros_(other.choices[0])
    other.load_state_dict(model.state_dict())
    assert float(other.progress) == pytest.approx(0.4)
    assert torch.equal(other(x, lengths).logits, model(x, lengths).logits)
    assert torch.equal(copy.deepcopy(model)(x, lengths).logits, model(x, lengths).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"blocks": ()}, r"blocks is \(\); expected a list"), ({"blocks": 4}, "blocks is 4; expected a list"),
     ({"blocks": (2, 0)}, "blocks is 0"), ({"heads": "ce2"}, "heads is 'ce2'"),
     ({"epochs": 0}, "epochs is 0"), ({"hidden": 0}, "hidden is 0")],
)  # fmt: skip
def test_settings_that_do_not_fit(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        network(**options)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("block", "there is no setting system.network.block; did you mean blocks?"),
        ("widths", "there is no setting system.network.widths; known: shared, hidden, blocks, heads, epochs"),
        ("kernel", "there is no setting system.network.kernel; known: shared, hidden, blocks, heads, epochs"),
    ],
)
def test_settings_misspelt_or_of_the_network_below(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(tiny_model(), {"_target_": "seqkd.models.hme.as_hme", name: [2, 4]})
    assert str(caught.value) == said
