"""Entropy of a layer of logits (KDExplainer, IJCAI 2021, 10.24963/ijcai.2021/444), by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seqkd.losses.entropy_of_layer import LayerEntropy
from seqkd.losses.outputs import Features

EXAMPLES = {"layer_entropy": LayerEntropy(layer="x")}


def entropy(rows: Tensor, items: int = 1) -> Tensor:
    """(B,) of rows (J, G), the same for all items."""
    values = rows[None, None].expand(1, items, *rows.shape)
    return LayerEntropy(layer="x")(Features.of(values, torch.full((items,), len(rows))), None, None)


def test_by_hand() -> None:
    a = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    assert entropy(a).item() == pytest.approx(0.58220311, abs=1e-8)
    gradient = torch.autograd.grad(entropy(a).sum(), a)[0]
    expected = torch.tensor([[-0.19661193, 0.19661193]], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, atol=1e-8, rtol=0)


def test_even_blocks_have_the_most() -> None:
    assert entropy(torch.zeros(3, 5, dtype=torch.float64)).item() == pytest.approx(math.log(5))


def test_one_block_has_none_and_no_nan() -> None:
    rows = torch.tensor([[0.0, -torch.inf], [1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    assert entropy(rows).item() == pytest.approx(math.log(2) / 2)
    assert torch.autograd.grad(entropy(rows).sum(), rows)[0].isfinite().all()


def test_it_is_a_mean_over_rows_and_the_same_for_all_items() -> None:
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.special.entr(rows.softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(entropy(rows, items=3), expected.expand(3))
    short = Features.of(rows.expand(1, 2, 4, 3), torch.tensor([4, 2]))
    found = LayerEntropy(layer="x")(short, None, None)
    torch.testing.assert_close(found, torch.cat([expected[None], entropy(rows[:2])]))
    one, three = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    gradients = [torch.autograd.grad(entropy(x, n).mean(), x)[0] for x, n in ((one, 1), (three, 3))]
    torch.testing.assert_close(*gradients)
