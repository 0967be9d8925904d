"""Accuracy, balanced accuracy and macro-F1 by hand, by torchmetrics, of draws of clips; the pipeline's objective."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as reference

from seqkd.classification.measures import ACCURACY, BALANCED, BRIER, MACRO_F1, NLL, balanced, macro_f1
from seqkd.cli.settings import parse, parser
from seqkd.config import compose
from seqkd.layout import plain
from seqkd.losses import Labels, Outputs
from seqkd.losses.build import objective_of


def sums(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Of (C, C) counts, true classes down."""
    return {
        "right": np.trace(confusion),
        "positions": confusion.sum(),
        "hit": np.diag(confusion).astype(float),
        "true": confusion.sum(1).astype(float),
        "found": confusion.sum(0).astype(float),
    }


def test_the_check_values() -> None:
    """Of the pipeline for ultrasound images, 10.1109/icipcn67432.2026.11438428: a rare class counts as a common one."""
    found = sums(np.array([[90, 10], [5, 5]]))
    assert float(ACCURACY.value(found)) == pytest.approx(0.86363636, abs=1e-8)
    assert float(BALANCED.value(found)) == pytest.approx(0.7, abs=1e-12)
    assert float(MACRO_F1.value(found)) == pytest.approx(0.66153846, abs=1e-8)
    assert (ACCURACY.show(0.86363636), MACRO_F1.show(0.66153846)) == ("86.36", "66.15")


def test_they_are_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(5, size=400) % rng.integers(1, 6, size=400)
    found = np.where(rng.random(400) < 0.6, target, rng.integers(5, size=400))
    confusion = np.zeros((5, 5), int)
    np.add.at(confusion, (target, found), 1)
    ours, (preds, gold) = sums(confusion), (torch.from_numpy(found), torch.from_numpy(target))
    options = {"num_classes": 5, "average": "macro"}
    assert float(BALANCED.value(ours)) == pytest.approx(float(reference.multiclass_accuracy(preds, gold, **options)))
    assert float(MACRO_F1.value(ours)) == pytest.approx(float(reference.multiclass_f1_score(preds, gold, **options)))
    assert float(ACCURACY.value(ours)) == pytest.approx((found == target).mean())


def test_classes_that_do_not_occur_do_not_count() -> None:
    """Else another draw of the clips, or a subset, would count them as never found."""
    confusion = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert float(BALANCED.value(sums(confusion))) == pytest.approx((0.75 + 1) / 2)
    assert float(MACRO_F1.value(sums(confusion))) == pytest.approx((6 / 7 + 8 / 9) / 2)
    confusion[0, 2] = 1  # found where there is none: precision of no class that counts
    assert float(BALANCED.value(sums(confusion))) == pytest.approx((0.6 + 1) / 2)
    nothing = sums(np.zeros((3, 3), int))
    assert all(np.isnan(one.value(nothing)) for one in (ACCURACY, BALANCED, MACRO_F1))


def test_many_draws_are_measured_at_once() -> None:
    rng = np.random.default_rng(1)
    confusions = rng.integers(0, 9, size=(7, 2, 4, 4)) + np.eye(4, dtype=int)
    hit = np.diagonal(confusions, axis1=-2, axis2=-1).astype(float)
    true, found = confusions.sum(-1).astype(float), confusions.sum(-2).astype(float)
    for draw in np.ndindex(7, 2):
        one = sums(confusions[draw])
        assert balanced(hit, true)[draw] == pytest.approx(float(BALANCED.value(one)))
        assert macro_f1(hit, true, found)[draw] == pytest.approx(float(MACRO_F1.value(one)))


def test_what_is_a_mean_is_one() -> None:
    found = {"nll": np.array(3.0), "brier": np.array(1.0), "positions": np.array(4.0)}
    assert (float(NLL.value(found)), float(BRIER.value(found))) == (0.75, 0.25)
    assert [one.higher_is_better for one in (ACCURACY, BALANCED, MACRO_F1)] == [True] * 3
    assert not NLL.higher_is_better and not BRIER.higher_is_better


def test_the_pipelines_objective_has_its_value_and_gradient() -> None:
    """α = .6, τ = 3: .4 CE + .6 · 9 KL, of z_T = (3, 1, 0, −1), z_S = (1, 1.5, 0, −.5) and the class 0."""
    cfg = compose(parse(parser("test", ""), ["--task", "classification", "system=pipeline_kd"]))
    terms = plain(cfg.system.objective)
    assert (cfg.system.mixup, terms["labels"]["smoothing"]) == (0.2, 0.1)
    terms["labels"]["smoothing"] = 0.0
    logits = torch.tensor([[[[1.0, 1.5, 0.0, -0.5]]]], dtype=torch.float64, requires_grad=True)
    one = torch.ones(1, dtype=torch.long)
    teacher = Outputs(torch.tensor([[[[3.0, 1.0, 0.0, -1.0]]]], dtype=torch.float64), one)
    loss = objective_of(terms)(Outputs(logits, one), {"teacher": teacher}, Labels(torch.zeros(1, 1).long(), one)).total
    assert float(loss.detach()) == pytest.approx(0.8736177, abs=1e-7)
    loss.backward()
    expected = [-0.60209867, 0.37949193, 0.10473246, 0.11787428]
    assert logits.grad.flatten().tolist() == pytest.approx(expected, abs=1e-8)
