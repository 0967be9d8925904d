"""The past self: refreshed when dev improves, never otherwise; kept in checkpoints."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import tests.pairs_corpus
import tests.runs
from seqkd.data.kaldi import read_data_dir
from seqkd.decoding.run import decode
from seqkd.errors import ConfigError
from seqkd.losses import AdaptiveSmoothing, AlignedSmoothing, Ctc, Objective
from seqkd.models.ctc import load_model
from seqkd.training.self_knowledge import SelfKnowledge, past_self


def setting(kind: str, **options: float) -> tuple[SelfKnowledge, SimpleNamespace, SimpleNamespace]:
    """A callback beside a trainer and a module that can be moved by hand."""
    torch.manual_seed(0)
    module = SimpleNamespace(model=nn.Linear(3, 2), device=torch.device("cpu"))
    trainer = SimpleNamespace(callback_metrics={"dev_nll": torch.tensor(math.nan)}, global_step=0)
    knowledge = SelfKnowledge(kind, **options)
    knowledge.setup(trainer, module, "fit")
    knowledge.on_fit_start(trainer, module)
    return knowledge, trainer, module


def validate(
    knowledge: SelfKnowledge, trainer: SimpleNamespace, module: SimpleNamespace, step: int, nll: float
) -> None:
    trainer.global_step, trainer.callback_metrics["dev_nll"] = step, torch.tensor(nll)
    with torch.no_grad():
        module.model.weight.add_(1.0)
    knowledge.on_validation_end(trainer, module)


def test_the_best_past_self_answers() -> None:
    knowledge, trainer, module = setting("best")
    x = torch.ones(1, 3)
    assert not knowledge.refreshes and knowledge.refreshed is None  # the loss has a uniform prior then
    validate(knowledge, trainer, module, 10, 3.0)
    best = module.model(x).detach()
    validate(knowledge, trainer, module, 20, 3.5)
    validate(knowledge, trainer, module, 30, math.nan)
    torch.testing.assert_close(knowledge.past(x), best, rtol=0, atol=0)
    assert knowledge.refreshes == [10]
    validate(knowledge, trainer, module, 40, 2.9)
    torch.testing.assert_close(knowledge.past(x), module.model(x).detach(), rtol=0, atol=0)
    assert knowledge.refreshes == [10, 40] and knowledge.refreshed == 40
    assert not knowledge.past(x).requires_grad


def test_the_average_follows_every_update() -> None:
    knowledge, trainer, module = setting("ema", decay=0.75)
    start = module.model.weight.detach().clone()
    expected = start.clone()
    for _ in range(4):
        with torch.no_grad():
            module.model.weight.mul_(-1.5)
        knowledge.on_train_batch_end(trainer, module)
        expected = 0.75 * expected + 0.25 * module.model.weight.detach()
        assert not knowledge.refreshes
    torch.testing.assert_close(knowledge.past.weight, expected)
    validate(knowledge, trainer, module, 4, 3.0)
    torch.testing.assert_close(knowledge.past.weight, expected)  # a validation only lets it speak
    assert knowledge.refreshes == [4]


def test_its_state_comes_back() -> None:
    knowledge, trainer, module = setting("best")
    validate(knowledge, trainer, module, 10, 3.0)
    other, _, _ = setting("best")
    other.load_state_dict(knowledge.state_dict())
    torch.testing.assert_close(other.past(torch.ones(1, 3)), knowledge.past(torch.ones(1, 3)), rtol=0, atol=0)
    assert (other.best, other.refreshes) == (3.0, [10])


def test_faults_are_said() -> None:
    for prior in ("worst", "uniform"):
        with pytest.raises(ConfigError, match=rf"prior is '{prior}'; expected one of best, ema"):
            SelfKnowledge(prior)
    with pytest.raises(ConfigError, match=r"prior is 'worst'; expected one of uniform, best, ema"):
        AdaptiveSmoothing(prior="worst")
    with pytest.raises(ConfigError, match=r"ema_decay is 1; expected from 0 to less than 1"):
        AdaptiveSmoothing(prior="ema", ema_decay=1.0)


@pytest.mark.parametrize(
    ("options", "kind", "decay"), [({}, "best", 0.999), ({"prior": "ema", "ema_decay": 0.5}, "ema", 0.5)]
)
def test_terms_say_which_past_self_they_look_at(options: dict[str, Any], kind: str, decay: float) -> None:
    found = past_self(Objective(ctc=Ctc(), labels=AdaptiveSmoothing(**options)), "dev_nll")
    assert (found.kind, found.decay, found.monitor) == (kind, decay, "dev_nll")


def test_without_a_term_that_looks_there_is_no_past_self() -> None:
    assert past_self(Objective(ctc=Ctc()), "dev_wer") is None
    assert past_self(Objective(labels=AdaptiveSmoothing(prior="uniform")), "dev_wer") is None
    assert past_self(Objective(ctc=Ctc(), labels=AdaptiveSmoothing(weight=0)), "dev_wer") is None


def test_terms_that_look_at_different_past_selves_are_refused() -> None:
    objective = Objective(one=AdaptiveSmoothing(), other=AlignedSmoothing(prior="ema"))
    with pytest.raises(ConfigError, match=r"terms of system.objective look at different past selves .*; give all one"):
        past_self(objective, "dev_wer")


def test_a_prior_is_there_from_the_first_validation_on(pairs_data: Path, tmp_path: Path) -> None:
    run = tests.pairs_corpus.train_here(tmp_path, pairs_data, "adaptive")
    rows = json.loads((run / "history.json").read_text())["rows"]
    assert [row["prior_step"] for row in rows[:2]] == [None, 4]
    assert json.loads((run / "summary.json").read_text())["prior_refreshes"][0] == 4


def test_speech_has_a_past_self_too(tones: Path, tmp_path: Path) -> None:
    """The attention decoder and the spikes learn from it; the saved model decodes without a thought of either."""
    run = tests.runs.train_here(
        tmp_path,
        tones,
        "joint_adaptive",
        "+system.objective.smoothing._target_=seqkd.losses.AlignedSmoothing",
        "+system.objective.smoothing.weight=0.2",
        "student.training.updates=12",
    )
    rows = json.loads((run / "history.json").read_text())["rows"]
    terms = ("attention", "attention.alpha", "smoothing", "smoothing.alpha", "ctc")
    assert all(row["train"][name] >= 0 for row in rows for name in terms)
    assert rows[-1]["train"]["attention.alpha"] != rows[0]["train"]["attention.alpha"]
    model, _ = load_model(run / "model")
    assert model.architecture["decoder_layers"] == 1
    decoded = decode(run / "model", tones, "dev", beam=1, max_duration=100.0, gpu=False)
    assert set(decoded) == {utterance.id for utterance in read_data_dir(tones / "dev")}
