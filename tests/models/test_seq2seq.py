from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from seqkd.data.tokens import train_tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.models.seq2seq import Seq2SeqModel, load_seq2seq, save_seq2seq

ARCHITECTURES = {
    "transformer": {"kind": "transformer", "width": 24, "layers": 2, "decoder_layers": 2, "heads": 2, "hidden": 32},
    "lstm": {"kind": "lstm", "width": 24, "layers": 2, "decoder_layers": 2},
}
CLASSES = 11


def model(kind: str, dropout: float = 0.0) -> Seq2SeqModel:
    torch.manual_seed(3)
    return Seq2SeqModel({**ARCHITECTURES[kind], "dropout": dropout}, CLASSES).eval()


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randint(1, CLASSES, (3, 7)), torch.tensor([7, 3, 1]), torch.randint(0, CLASSES, (3, 6))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_padding_of_the_source_changes_nothing(kind: str, batch: tuple) -> None:
    source, lengths, inputs = batch
    made = model(kind)
    logits = made(source, lengths, inputs)
    assert logits.shape == (3, 6, CLASSES)
    noisy = source.clone()
    noisy[1, 3:], noisy[2, 1:] = 5, 9
    torch.testing.assert_close(made(noisy, lengths, inputs), logits)
    for row, length in enumerate(lengths.tolist()):
        alone = made(source[row : row + 1, :length], lengths[row : row + 1], inputs[row : row + 1])
        torch.testing.assert_close(alone[0], logits[row])


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_future_is_not_seen(kind: str, batch: tuple) -> None:
    source, lengths, inputs = batch
    made = model(kind)
    changed = inputs.clone()
    changed[:, 4:] = (changed[:, 4:] + 1) % CLASSES
    before, after = made(source, lengths, inputs), made(source, lengths, changed)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_one_position_after_the_other_is_all_at_once(kind: str, batch: tuple) -> None:
    source, lengths, inputs = batch
    made = model(kind)
    memory, cache, steps = made.encode(source, lengths), None, []
    for at in range(inputs.shape[1]):
        logits, cache = made.decode(inputs[:, at : at + 1], memory, cache)
        steps.append(logits)
    torch.testing.assert_close(torch.cat(steps, 1), made(source, lengths, inputs))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_cache_follows_the_rows_it_is_asked_for(kind: str, batch: tuple) -> None:
    source, lengths, inputs = batch
    made, rows = model(kind), torch.tensor([2, 0, 0])
    memory = made.encode(source, lengths)
    _, cache = made.decode(inputs[:, :1], memory)
    logits, _ = made.decode(inputs[rows, 1:2], memory.select(rows), cache.select(rows))
    mixed = torch.cat([inputs[rows, :1], inputs[rows, 1:2]], 1)
    torch.testing.assert_close(logits[:, 0], made(source[rows], lengths[rows], mixed)[:, 1])


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_order_matters(kind: str) -> None:
    made, lengths, inputs = model(kind), torch.tensor([3]), torch.tensor([[0, 4]])
    one, other = torch.tensor([[2, 5, 7]]), torch.tensor([[7, 5, 2]])
    assert not torch.allclose(made(one, lengths, inputs), made(other, lengths, inputs), atol=1e-4)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_parameter_learns(kind: str, batch: tuple) -> None:
    made = model(kind).train()
    made(*batch).square().sum().backward()
    assert not [name for name, value in made.named_parameters() if value.grad is None or not value.grad.any()]


def test_a_saved_model_is_the_same(tmp_path: Path, batch: tuple) -> None:
    made = model("transformer", 0.3)
    tokenizer = train_tokenizer(["a b c d e f g h i"], type="word", vocab_size=0)
    save_seq2seq(tmp_path, made, tokenizer)
    loaded, units = load_seq2seq(tmp_path)
    assert units.hash == tokenizer.hash
    assert not loaded.training
    torch.testing.assert_close(loaded(*batch), made(*batch), rtol=0, atol=0)


def test_faults_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.kind is 'rnn'; expected one of transformer, lstm"):
        Seq2SeqModel({"kind": "rnn", "width": 8}, 5)
    with pytest.raises(ConfigError, match=r"settings for kind 'transformer' do not fit: heads is 4; .*which is 10"):
        Seq2SeqModel({**ARCHITECTURES["transformer"], "width": 10, "heads": 4, "dropout": 0.0}, 5)
    with pytest.raises(ConfigError, match=r"model settings for kind 'lstm' do not fit"):
        Seq2SeqModel({**ARCHITECTURES["lstm"], "width": 7, "dropout": 0.0}, 5)
    with pytest.raises(DataError, match=r"no model.yaml here; expected a model directory"):
        load_seq2seq(tmp_path)
    tokenizer = train_tokenizer(["a b c d e f g h i"], type="word", vocab_size=0)
    save_seq2seq(tmp_path, model("lstm"), tokenizer)
    written = yaml.safe_load((tmp_path / "model.yaml").read_text())
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({**written, "features": {}}))
    with pytest.raises(DataError, match=r"model.yaml is not a model's description"):
        load_seq2seq(tmp_path)
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(written))
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"model.safetensors cannot be loaded"):
        load_seq2seq(tmp_path)
