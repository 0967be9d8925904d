"""The past self: refreshed when dev improves, never otherwise; kept bit for bit through a kill."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import tests.runs
from seqkd.data.kaldi import read_data_dir
from seqkd.decoding.run import decode
from seqkd.errors import ConfigError
from seqkd.models.ctc import load_model
from seqkd.training.checkpoints import resume_points
from seqkd.training.self_knowledge import SelfKnowledge
from tests.pairs_corpus import make_corpus, train_here, train_process


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
    assert knowledge.answer(x) is None  # the loss takes that for a uniform prior
    validate(knowledge, trainer, module, 10, 3.0)
    best = module.model(x).detach()
    validate(knowledge, trainer, module, 20, 3.5)
    validate(knowledge, trainer, module, 30, math.nan)
    torch.testing.assert_close(knowledge.answer(x), best, rtol=0, atol=0)
    assert knowledge.refreshes == [10]
    validate(knowledge, trainer, module, 40, 2.9)
    torch.testing.assert_close(knowledge.answer(x), module.model(x).detach(), rtol=0, atol=0)
    assert knowledge.refreshes == [10, 40]
    assert not knowledge.answer(x).requires_grad


def test_the_average_follows_every_update() -> None:
    knowledge, trainer, module = setting("ema", decay=0.75)
    start = module.model.weight.detach().clone()
    expected = start.clone()
    for step in range(1, 5):
        with torch.no_grad():
            module.model.weight.mul_(-1.5)
        knowledge.on_train_batch_end(trainer, module)
        expected = 0.75 * expected + 0.25 * module.model.weight.detach()
        assert step or knowledge.answer(torch.ones(1, 3)) is None
    torch.testing.assert_close(knowledge.past.weight, expected)
    validate(knowledge, trainer, module, 4, 3.0)
    torch.testing.assert_close(knowledge.past.weight, expected)  # a validation only lets it speak
    assert knowledge.answer(torch.ones(1, 3)) is not None


def test_no_past_self() -> None:
    knowledge, trainer, module = setting("uniform")
    validate(knowledge, trainer, module, 1, 3.0)
    assert knowledge.answer(torch.ones(1, 3)) is None
    assert knowledge.past is None


def test_its_state_comes_back() -> None:
    knowledge, trainer, module = setting("best")
    validate(knowledge, trainer, module, 10, 3.0)
    other, _, _ = setting("best")
    other.load_state_dict(knowledge.state_dict())
    torch.testing.assert_close(other.answer(torch.ones(1, 3)), knowledge.answer(torch.ones(1, 3)), rtol=0, atol=0)
    assert (other.best, other.refreshes) == (3.0, [10])


def test_faults_are_said() -> None:
    with pytest.raises(ConfigError, match=r"objective.prior is 'worst'; expected one of uniform, best, ema"):
        SelfKnowledge("worst")
    with pytest.raises(ConfigError, match=r"objective.ema_decay is 1.0; expected from 0 to less than 1"):
        SelfKnowledge("ema", decay=1.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("pairs") / "data")


def outcome(run: Path) -> tuple[dict, list]:
    """Weights and history, without times."""
    rows = json.loads((run / "history.json").read_text())["rows"]
    return load_file(run / "model" / "model.safetensors"), [
        {k: v for k, v in r.items() if k != "seconds"} for r in rows
    ]


def test_a_killed_run_keeps_its_prior(data: Path, tmp_path: Path) -> None:
    settings = ["student.training.updates=40"]
    whole, history = outcome(train_here(tmp_path / "whole", data, "adaptive", *settings))
    assert history[0]["prior_step"] is None
    assert history[1]["prior_step"] == 4  # the prior was there, and made a difference
    run = tmp_path / "killed" / "adaptive" / "seed0"
    process = train_process(
        tmp_path / "killed", data, "adaptive", f"tokens.directory={tmp_path}/whole/tokens", *settings
    )
    give_up = time.monotonic() + 120
    while not [p for p in resume_points(run / "checkpoints") if int(p.stem.split("=")[1]) >= 8]:
        assert process.poll() is None and time.monotonic() < give_up, process.stdout.read()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / "summary.json").exists()
    kept = torch.load(resume_points(run / "checkpoints")[-1], weights_only=True)
    (state,) = [s for name, s in kept["callbacks"].items() if name.startswith("SelfKnowledge")]
    assert state["refreshes"] and state["past"]
    resumed, resumed_history = outcome(
        train_here(tmp_path / "killed", data, "adaptive", f"tokens.directory={tmp_path}/whole/tokens", *settings)
    )
    assert resumed_history == history
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)


def test_speech_has_a_past_self_too(tones: Path, tmp_path: Path) -> None:
    """The attention decoder and the spikes learn from it; the saved model decodes without a thought of either."""
    run = tests.runs.train_here(
        tmp_path,
        tones,
        "joint_adaptive",
        "system.objective.aligned_smoothing_weight=0.2",
        "student.training.updates=12",
    )
    rows = json.loads((run / "history.json").read_text())["rows"]
    terms = ("attention", "attention_alpha", "aligned", "aligned_alpha", "ctc")
    assert all(row["train"][name] >= 0 for row in rows for name in terms)
    assert rows[-1]["train"]["attention_alpha"] != rows[0]["train"]["attention_alpha"]
    model, _ = load_model(run / "model")
    assert model.architecture["decoder_layers"] == 1
    decoded = decode(run / "model", tones, "dev", beam=1, max_duration=100.0, gpu=False)
    assert set(decoded) == {utterance.id for utterance in read_data_dir(tones / "dev")}
