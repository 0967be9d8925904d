"""Relations between items (RKD, CVPR 2019, 10.1109/cvpr.2019.00409): by hand, and triples written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seqkd.losses.outputs import Features, Labels, Outputs
from seqkd.losses.relations import RelationKd

EXAMPLES = {
    "relations": RelationKd(layer="x"),
    "relations_distances": RelationKd(layer="x", angle=0.0),
    "relations_in_groups": RelationKd(layer="x", max_items=2),
}

S = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
T = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)


def layer(items: Tensor) -> Features:
    """Features of one frame, of (B, D)."""
    return Features.of(items[None, :, None], torch.ones(len(items)))


def value(s: Tensor, t: Tensor, **options: float) -> Tensor:
    found = RelationKd(layer="x", **options)(layer(s), layer(t), None)
    assert found.shape == (len(s),)
    return found.mean()


def huber(x: float) -> float:
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def written_out(s: Tensor, t: Tensor) -> tuple[float, float]:
    """Distances and angles of (N, D), with loops."""

    def distances(x: Tensor) -> list[list[float]]:
        d = [[math.dist(a, b) for b in x.tolist()] for a in x.tolist()]
        apart = [one for row in d for one in row if one > 0]
        return [[one / (sum(apart) / len(apart)) for one in row] for row in d]

    def angle(x: Tensor, i: int, j: int, k: int) -> float:
        a, b = x[j] - x[i], x[k] - x[i]
        return (a @ b / (a.norm() * b.norm())).item() if a.norm() > 0 and b.norm() > 0 else 0.0

    n, ds, dt = len(s), distances(s), distances(t)
    pairs = sum(huber(ds[i][j] - dt[i][j]) for i in range(n) for j in range(n)) / n**2
    triples = [(i, j, k) for i in range(n) for j in range(n) for k in range(n)]
    return pairs, sum(huber(angle(s, *one) - angle(t, *one)) for one in triples) / n**3


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_hand() -> None:
    assert value(S, T, angle=0.0).item() == pytest.approx(0.07576415, abs=1e-8)
    assert (value(S, T, angle=1.0) - value(S, T, angle=0.0)).item() == pytest.approx(0.0506498, abs=1e-8)
    assert value(S, T).item() == pytest.approx(0.17706374, abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_loops_give(seed: int) -> None:
    s, t = 3 * drawn(5, 2, seed=seed), drawn(5, 4, seed=seed + 10)  # of different widths, and far apart
    pairs, triples = written_out(s, t)
    assert value(s, t, angle=0.0).item() == pytest.approx(pairs)
    assert value(s, t).item() == pytest.approx(pairs + 2 * triples)


def test_turning_scaling_and_moving_change_nothing() -> None:
    c, s = math.cos(0.7), math.sin(0.7)
    turn = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    for moved in (S @ turn, 5 * S, S + 3.0, 0.1 * S @ turn - 2.0):
        assert value(moved, T).item() == pytest.approx(value(S, T).item())
        assert value(T, moved).item() == pytest.approx(value(T, S).item())
    assert value(S * torch.tensor([1.0, 2.0]), T).item() != pytest.approx(value(S, T).item(), abs=1e-3)
    assert value(S, 2 * S + 1).item() == pytest.approx(0.0, abs=1e-12)


def test_the_gradient_is_that_of_the_value() -> None:
    s = drawn(5, 3).requires_grad_()
    torch.autograd.gradcheck(lambda x: value(x, drawn(5, 3, seed=1)), s)


@pytest.mark.parametrize(
    "items", [[[1.0, 2.0]] * 4, [[1.0, 2.0], [1.0, 2.0], [0.0, 1.0], [0.0, 1.0]], [[1.0, 2.0]], []]
)
def test_items_that_coincide_give_no_nan(items: list[list[float]]) -> None:
    s = torch.tensor(items, dtype=torch.float64).view(-1, 2).requires_grad_()
    loss = RelationKd(layer="x")(layer(s), layer(drawn(len(items), 3)), None).sum()
    gradient = torch.autograd.grad(loss, s)[0]
    assert loss.isfinite() and gradient.isfinite().all() and (gradient.abs() < 100).all()


def test_large_batches_are_related_in_groups() -> None:
    s, t = drawn(7, 3), drawn(7, 3, seed=1)
    found = RelationKd(layer="x", max_items=3)(layer(s), layer(t), None)
    groups = [slice(0, 3), slice(3, 5), slice(5, 7)]
    expected = torch.cat([value(s[one], t[one]).expand(len(s[one])) for one in groups])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(value(s, t, max_items=7), value(s, t))


def test_items_are_means_over_valid_frames_and_passes_are_averaged() -> None:
    s, t, lengths = drawn(2, 3, 4, 2), drawn(1, 3, 5, 6, seed=1), torch.tensor([4, 1, 2])
    found = RelationKd(layer="x")(Features.of(s, lengths), Features.of(t, lengths + 1), None)
    theirs = torch.stack([t[0, i, : n + 1].mean(0) for i, n in enumerate(lengths)])
    ours = [torch.stack([one[i, :n].mean(0) for i, n in enumerate(lengths)]) for one in s]
    torch.testing.assert_close(found.mean(), (value(ours[0], theirs) + value(ours[1], theirs)) / 2)


def test_it_can_have_an_adaptor_and_relate_outputs() -> None:
    term = RelationKd(layer="x", adaptor=True)
    student, teacher = layer(drawn(6, 3).float()), layer(drawn(6, 4, seed=1).float())
    term.setup(student, teacher)
    term(student, teacher, None).mean().backward()
    assert len(list(term.parameters())) == 3 and term.adaptor.linear.weight.grad.isfinite().all()
    plain = RelationKd(layer="x")
    plain.setup(student, teacher)
    assert not list(plain.parameters())
    lengths = torch.ones(3)
    both = (Outputs(x[None, :, None], lengths) for x in (S, T))
    assert RelationKd()(*both, Labels(lengths, lengths)).mean().item() == pytest.approx(0.17706374, abs=1e-8)
