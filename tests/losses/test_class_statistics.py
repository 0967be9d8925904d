"""Spread within classes and orthogonal projection (CSKD, ACCV 2022, 10.1007/978-3-031-26284-5_24), by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from seqkd.errors import ConfigError
from seqkd.losses.class_statistics import IntraClassVariance, OrthogonalProjection
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Features, Labels

EXAMPLES = {
    "positions_intra_class": IntraClassVariance(layer="x"),
    "positions_intra_class_released": IntraClassVariance(layer="x", variant="released"),
    "positions_orthogonal": OrthogonalProjection(layer="x"),
}

ROOT = 2**0.5
ROWS = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], dtype=torch.float64)
TERMS = [
    IntraClassVariance(layer="x"),
    IntraClassVariance(layer="x", variant="released"),
    OrthogonalProjection(layer="x"),
]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value(term: Term, rows: Tensor, *classes: int) -> Tensor:
    """Of items (B, D) of one frame."""
    ones = torch.ones(len(rows))
    found = term(Features.of(rows[None, :, None], ones), None, Labels(torch.tensor(classes)[:, None], ones))
    assert found.shape == (len(rows),)
    return found.mean()


def variance(rows: Tensor, *classes: int, variant: str = "intended") -> Tensor:
    return value(IntraClassVariance(layer="x", variant=variant), rows, *classes)


def test_variance_by_hand() -> None:
    same = ROWS[:1].repeat(2, 1)
    assert variance(same, 0, 0, variant="released").item() == pytest.approx(ROOT)
    assert variance(same, 0, 0).item() == 0.0
    assert variance(ROWS, 0, 0, variant="released").item() == pytest.approx(ROOT)
    rows = ROWS.clone().requires_grad_()
    loss = variance(rows, 0, 0)
    assert loss.item() == pytest.approx(2 * ROOT)
    expected = torch.tensor([[-ROOT, 0.0, ROOT], [ROOT, 0.0, -ROOT]], dtype=torch.float64)
    torch.testing.assert_close(torch.autograd.grad(loss, rows)[0], expected)
    flat = torch.tensor([[4.0] * 3, [-1.0] * 3], dtype=torch.float64)
    assert variance(flat, 0, 0, variant="released").item() == 0.0


def test_variance_written_out() -> None:
    rows, classes = drawn(7, 3), [2, 0, 2, 2, 0, 5, 0]  # class 5 has one sample
    of = {k: rows[[i for i, c in enumerate(classes) if c == k]] for k in (0, 2, 5)}
    torch.testing.assert_close(variance(rows, *classes), of[0].var(0).norm() + of[2].var(0).norm())
    released = sum(one.var(1).norm() for one in of.values())
    torch.testing.assert_close(variance(rows, *classes, variant="released"), released)


def test_a_constant_for_each_class_changes_nothing() -> None:
    rows, classes = drawn(5, 3), [0, 1, 0, 1, 1]
    shift = drawn(2, 3, seed=1)[torch.tensor(classes)]
    assert variance(rows + shift, *classes).item() == pytest.approx(variance(rows, *classes).item())
    moved = variance(rows + shift, *classes, variant="released").item()
    assert moved != pytest.approx(variance(rows, *classes, variant="released").item(), abs=1e-3)


def test_projection_by_hand() -> None:
    rows = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    found = value(OrthogonalProjection(layer="x"), rows, 0, 0, 1)
    assert found.item() == pytest.approx(0.46967022, abs=1e-8)
    assert value(OrthogonalProjection(layer="x"), 7 * rows, 0, 0, 1).item() == pytest.approx(found.item())
    rows.requires_grad_()
    gradient = torch.autograd.grad(value(OrthogonalProjection(layer="x"), rows, 0, 0, 1), rows)[0]
    # Of 1 − c₀₁ + ¼ (c₀₂ + c₁₂); the gradient of a cosine by x is (v − cos · u) / ‖x‖, u and v the unit vectors.
    r = ROOT / 2
    expected = torch.tensor([[0.0, -r + 0.25], [-r * 5 / 8, r * 5 / 8], [(1 + r) / 4, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=0)


def test_projection_written_out() -> None:
    rows, classes, gamma = drawn(6, 3), [0, 1, 0, 2, 1, 1], 0.8
    cosines = {(i, j): cosine_similarity(rows[i], rows[j], dim=0) for i in range(6) for j in range(6) if i != j}
    same = [c for (i, j), c in cosines.items() if classes[i] == classes[j]]
    others = [c for (i, j), c in cosines.items() if classes[i] != classes[j]]
    expected = 1 - sum(same) / len(same) + gamma * sum(others) / len(others)
    found = value(OrthogonalProjection(layer="x", gamma=gamma), rows, *classes)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("term", TERMS, ids=["intended", "released", "projection"])
def test_items_are_means_over_valid_frames_and_passes_are_averaged(term: Term) -> None:
    values, lengths, classes = drawn(2, 4, 5, 3), torch.tensor([5, 2, 1, 4]), [0, 1, 0, 1]
    labels = Labels(torch.tensor(classes)[:, None], torch.ones(4))
    rows = [torch.stack([one[i, :n].mean(0) for i, n in enumerate(lengths)]) for one in values]
    found = term(Features.of(values, lengths), None, labels)
    torch.testing.assert_close(found.mean(), (value(term, rows[0], *classes) + value(term, rows[1], *classes)) / 2)
    torch.testing.assert_close(found, found[:1].expand(4))
    torch.autograd.gradcheck(lambda x: term(Features.of(x, lengths), None, labels), values.requires_grad_())


@pytest.mark.parametrize("term", TERMS, ids=["intended", "released", "projection"])
def test_with_a_label_a_frame_samples_are_frames(term: Term) -> None:
    values, lengths = drawn(1, 2, 4, 3), torch.tensor([4, 2])
    targets = torch.tensor([[0, 1, 1, 0], [1, 0, 9, 9]])
    found = term(Features.of(values, lengths), None, Labels(targets, lengths))
    rows = torch.cat([values[0, 0], values[0, 1, :2]])
    torch.testing.assert_close(found.mean(), value(term, rows, 0, 1, 1, 0, 1, 0))
    longer = Labels(targets, torch.tensor([4, 3]))  # than the features
    torch.testing.assert_close(term(Features.of(values, lengths), None, longer), found)


@pytest.mark.parametrize("term", TERMS, ids=["intended", "released", "projection"])
def test_samples_without_labels_do_not_count(term: Term) -> None:
    rows, ones = drawn(4, 3), torch.ones(4)
    labels = Labels(torch.tensor([[0], [0], [1], [0]]), ones, torch.tensor([True, False, True, True]))
    found = term(Features.of(rows[None, :, None], ones), None, labels)
    torch.testing.assert_close(found.mean(), value(term, rows[[0, 2, 3]], 0, 1, 0))


@pytest.mark.parametrize("term", TERMS, ids=["intended", "released", "projection"])
@pytest.mark.parametrize("labelled", [True, False])
def test_equal_zero_and_missing_samples_give_no_nan(term: Term, labelled: bool) -> None:
    rows = torch.zeros(1, 4, 1, 3, dtype=torch.float64, requires_grad=True)
    labels = Labels(torch.tensor([[0], [0], [1], [2]]), torch.ones(4), torch.full((4,), labelled))
    loss = term(Features.of(rows, torch.ones(4)), None, labels).sum()
    assert loss.isfinite() and (torch.autograd.grad(loss, rows)[0] == 0).all()


def test_transcripts_and_single_features_are_refused() -> None:
    features = Features.of(drawn(1, 2, 4, 3), torch.tensor([4, 4]))
    for term in TERMS:
        with pytest.raises(ConfigError, match="the labels are 3 wide and layer has 4 frames"):
            term(features, None, Labels(torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3, 2])))
    with pytest.raises(ConfigError, match="a layer of 1 feature"):
        variance(drawn(3, 1), 0, 0, 1, variant="released")
