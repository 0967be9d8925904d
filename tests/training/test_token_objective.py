"""The objectives of encoder–decoder models are the losses they are named after; faults of settings are said."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf
from seqkd.training.token_objective import TokenObjective

from seqkd.config import CONF
from seqkd.errors import ConfigError
from seqkd.losses import (
    adaptive_label_smoothing_loss,
    confidence_penalty_loss,
    r_drop_loss,
    tf_kd_reg_loss,
    tf_kd_self_loss,
    uniform_label_smoothing_loss,
)
from seqkd.losses.book_kd import book_kd_loss
from seqkd.translation.batches import IGNORE, bounded

P, B, S, C = 2, 3, 5, 7


@pytest.fixture
def case() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    targets = torch.randint(0, C, (B, S))
    targets[1, 3:] = IGNORE
    return {
        "logits": torch.randn(P, B, S, C),
        "targets": targets,
        "past": torch.randn(B, S, C),
        "far": torch.randn(B, S, C),
    }


def test_each_form_is_its_loss(case: dict[str, torch.Tensor]) -> None:
    z, y, past, far = case["logits"][0], case["targets"], case["past"], case["far"]
    taught = {"kd_weight": 0.3, "temperature": 2.0, "multiplier": 1.5, "variant": "released"}
    of_book = {"kd_weight": 0.3, "temperature": 2.0, "smoothing": 0.1, "regularisation": 0.2, "adjust": True}
    expected = {
        TokenObjective(): torch.nn.functional.cross_entropy(z.flatten(0, 1), y.flatten()),
        TokenObjective(smoothing=0.2): uniform_label_smoothing_loss(z, y, smoothing=0.2).total,
        TokenObjective(form="adaptive"): adaptive_label_smoothing_loss(z, y, past).total,
        TokenObjective(form="confidence_penalty", penalty_weight=0.4): confidence_penalty_loss(
            z, y, penalty_weight=0.4
        ).total,
        TokenObjective(form="tf_kd_reg", **taught, correct_prob=0.9): tf_kd_reg_loss(
            z, y, correct_prob=0.9, **taught
        ).total,
        TokenObjective(form="kd", **taught): tf_kd_self_loss(z, y, far, **taught).total,
        TokenObjective(form="book_kd", **of_book): book_kd_loss(z, y, (far / 2).log_softmax(-1), **of_book).total,
    }
    positions = (y != IGNORE).sum()
    for objective, value in expected.items():
        torch.testing.assert_close(objective.loss(z[None], y, past, far).total, value * positions)
    assert len({round(float(value), 5) for value in expected.values()}) == len(expected)


def test_passes_are_averaged_and_may_have_to_agree(case: dict[str, torch.Tensor]) -> None:
    z, y, past = case["logits"], case["targets"], case["past"]
    alone = [adaptive_label_smoothing_loss(one, y, past) for one in z]
    both = TokenObjective(form="adaptive", passes=2).loss(z, y, past)
    positions = (y != IGNORE).sum()
    torch.testing.assert_close(both.total, positions * (alone[0].total + alone[1].total) / 2)
    torch.testing.assert_close(both.terms["alpha"], (alone[0].terms["alpha"] + alone[1].terms["alpha"]) / 2)
    agreeing = TokenObjective(form="adaptive", passes=2, consistency_weight=0.7).loss(z, y, past)
    agreement = positions * r_drop_loss(z, y, consistency_weight=0.7, hard_weight=0.0).total
    torch.testing.assert_close(agreeing.total, both.total + agreement)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "adaptve"}, r"objective.form is 'adaptve'; expected one of uniform, confidence_penalty, adaptive"),
        ({"prior": "worst"}, r"objective.prior is 'worst'; expected one of uniform, best, ema"),
        ({"smoothing": 1.5}, r"objective.smoothing is 1.5; expected 0 to 1"),
        ({"kd_weight": -0.1}, r"objective.kd_weight is -0.1; expected 0 to 1"),
        ({"temperature": 0.0}, r"objective.temperature is 0.0; expected more than 0"),
        ({"consistency_weight": 1.0}, r"objective.passes is 1; expected at least 1, and 2 where consistency_weight"),
        ({"smoothing": float("nan")}, r"objective.smoothing is nan; expected 0 to 1"),
    ],
)
def test_faults_are_said(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TokenObjective(**settings)


def test_the_file_of_systems_says_every_default() -> None:
    written = OmegaConf.to_container(OmegaConf.load(CONF / "translation" / "system" / "none.yaml").objective)
    assert TokenObjective(**written) == TokenObjective()
    assert list(written) == list(TokenObjective.__dataclass_fields__)


def test_a_boundary_before_and_after() -> None:
    targets, lengths = torch.tensor([[4, 5, 6], [7, 9, 9], [3, 2, 9]]), torch.tensor([3, 1, 2])
    inputs, labels = bounded(targets, lengths, torch.tensor([True, True, False]))
    assert inputs.tolist() == [[0, 4, 5, 6], [0, 7, 0, 0], [0, 3, 2, 0]]
    assert labels.tolist() == [[4, 5, 6, 0], [7, 0, IGNORE, IGNORE], [IGNORE] * 4]
