from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch

from seqkd.data.tokens import train_tokenizer
from seqkd.models.ctc import load_model, save_model
from seqkd.models.storage import model_hash
from seqkd.teachers import CheckpointTeacher, Teacher
from tests.models.tiny_models import BINS, CLASSES, tiny_model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tokenizer = train_tokenizer(["a b c", "d c"], type="char", vocab_size=0)
    save_model(tmp_path, tiny_model("conv", dropout=0.5), tokenizer)
    return tmp_path


def test_follows_the_protocol(saved: Path) -> None:
    teacher = CheckpointTeacher.from_directory(saved)
    for name in Teacher.__annotations__:
        assert getattr(teacher, name) is not None
    assert list(inspect.signature(teacher.logits).parameters) == ["features", "lengths"]
    model, tokenizer = load_model(saved)
    assert (teacher.classes, teacher.frame_shift_ms, teacher.features) == (CLASSES, 40.0, model.features)
    assert (teacher.tokenizer_hash, teacher.name) == (tokenizer.hash, model_hash(saved))
    features, lengths = torch.randn(2, 21, BINS), torch.tensor([21, 6])
    logits, frames = teacher.logits(features, lengths)
    assert logits.shape == (2, 6, CLASSES)
    assert frames.tolist() == [6, 2]
    assert logits.equal(model(features, lengths).logits)


def test_stays_in_eval_mode_whatever_its_owner_does(saved: Path) -> None:
    teacher = CheckpointTeacher.from_directory(saved)
    owner = torch.nn.Sequential(torch.nn.Dropout(), teacher)
    owner.train()
    assert owner[0].training
    assert not any(module.training for module in teacher.modules())
    features, lengths = torch.randn(1, 21, BINS), torch.tensor([21])
    assert teacher.logits(features, lengths)[0].equal(teacher.logits(features, lengths)[0])


def test_never_takes_part_in_a_gradient(saved: Path) -> None:
    teacher = CheckpointTeacher.from_directory(saved)
    features = torch.randn(1, 21, BINS, requires_grad=True)
    logits, _ = teacher.logits(features, torch.tensor([21]))
    assert not logits.requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())


def test_freezing_a_model_in_memory(saved: Path) -> None:
    model, tokenizer = load_model(saved)
    teacher = CheckpointTeacher(model.train(), tokenizer.hash, "live")
    assert not teacher.model.training
    assert not any(p.requires_grad for p in model.parameters())
