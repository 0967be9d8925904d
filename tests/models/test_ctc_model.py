from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from seqkd.data.subsampling import subsampled_length
from seqkd.data.tokens import Tokenizer, train_tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.losses import cons_kd_loss
from seqkd.models.ctc import ENCODERS, CtcModel, load_model, save_model
from seqkd.models.storage import model_hash
from tests.models.tiny_models import ARCHITECTURES, BINS, CLASSES, tiny_model

KINDS = sorted(ENCODERS)
LENGTHS = [37, 50, 4, 1, 23]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = train_tokenizer(["a b c", "d c", "b d a"], type="char", vocab_size=0)
    assert len(made) == CLASSES  # blank, unknown, word boundary, a b c d
    return made


@pytest.mark.parametrize("garbage", [0.0, 1e6, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: str, garbage: float) -> None:
    model = tiny_model(kind, dropout=0.3).eval()
    torch.manual_seed(1)
    utterances = [torch.randn(length, BINS) for length in LENGTHS]
    batch = torch.full((len(LENGTHS), max(LENGTHS) + 9, BINS), garbage)
    for row, utterance in enumerate(utterances):
        batch[row, : len(utterance)] = utterance
    together = model(batch, torch.tensor(LENGTHS), layers=["1", "block1"])
    for row, utterance in enumerate(utterances):
        alone = model(utterance[None], torch.tensor([len(utterance)]), layers=["1", "block1"])
        length = int(alone.lengths)
        assert length == int(together.lengths[row]) == alone.logits.shape[1]
        torch.testing.assert_close(together.logits[row, :length], alone.logits[0], rtol=0, atol=1e-5)
        for layer in ("1", "block1"):
            torch.testing.assert_close(together.layers[layer][row, :length], alone.layers[layer][0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_in_padding_leaves_gradients_finite(kind: str) -> None:
    model = tiny_model(kind)
    batch = torch.randn(2, 20, BINS)
    batch[0, 9:] = float("nan")
    output = model(batch, torch.tensor([9, 20]))
    (output.logits[0, : output.lengths[0]].square().sum() + output.logits[1].square().sum()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_those_that_data_counts_on(kind: str) -> None:
    model = tiny_model(kind).eval()
    lengths = list(range(1, 41))
    output = model(torch.randn(len(lengths), 40, BINS), torch.tensor(lengths))
    assert output.lengths.tolist() == [subsampled_length(length) for length in lengths]
    assert output.logits.shape == (40, subsampled_length(40), CLASSES)
    assert [subsampled_length(n) for n in (1, 4, 5, 8, 9, 100)] == [1, 1, 2, 2, 3, 25]
    assert model.frame_shift_ms == 40.0


@pytest.mark.parametrize("kind", KINDS)
def test_without_dropout_two_passes_agree_exactly(kind: str) -> None:
    torch.manual_seed(0)
    features, lengths = torch.randn(3, 33, BINS), torch.tensor([33, 20, 8])
    model = tiny_model(kind).train()
    first, second = (model(features, lengths) for _ in range(2))
    assert first.logits.equal(second.logits)

    def consistency(logits: torch.Tensor) -> float:
        targets, target_lengths = torch.tensor([[2, 3], [4, 0], [5, 0]]), torch.tensor([2, 1, 1])
        weights = {"kd_weight": 0.0, "consistency_weight": 1.0}
        return cons_kd_loss(logits, None, targets, first.lengths, target_lengths, **weights).terms["consistency"].item()

    assert consistency(torch.stack([first.logits, second.logits])) == 0.0
    # In one batch, as training runs them, matrix products may round the two copies differently.
    both = model(features.repeat(2, 1, 1), lengths.repeat(2)).logits.unflatten(0, (2, 3))
    torch.testing.assert_close(both[0], both[1], rtol=0, atol=1e-5)
    assert abs(consistency(both)) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_makes_passes_differ_in_training_only(kind: str) -> None:
    torch.manual_seed(0)
    features, lengths = torch.randn(1, 33, BINS).repeat(2, 1, 1), torch.tensor([33, 33])
    model = tiny_model(kind, dropout=0.3)
    first, second = model.train()(features, lengths).logits
    assert (first - second).abs().max() > 1e-2
    first, second = model.eval()(features, lengths).logits
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_dropout_follows_the_setting(kind: str) -> None:
    rates = {m.p for m in tiny_model(kind, dropout=0.3).modules() if isinstance(m, torch.nn.Dropout)}
    rates |= {m.dropout for m in tiny_model(kind, dropout=0.3).modules() if isinstance(getattr(m, "dropout", 0), float)}
    assert rates - {0} == {0.3}


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_flows_to_every_parameter(kind: str) -> None:
    model = tiny_model(kind, dropout=0.1).train()
    model(torch.randn(2, 30, BINS), torch.tensor([30, 17])).logits.square().sum().backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert dead == []


def test_normalisation_is_part_of_the_model() -> None:
    model = tiny_model("conv").eval()
    features, lengths = torch.randn(1, 16, BINS), torch.tensor([16])
    expected = model(features, lengths).logits
    model.feature_mean += 3.0
    torch.testing.assert_close(model(features + 3.0, lengths).logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_is_bit_equal(kind: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = tiny_model(kind, dropout=0.2).train()
    save_model(tmp_path / "model", model, tokenizer)
    loaded, its_tokenizer = load_model(tmp_path / "model")
    assert its_tokenizer.hash == tokenizer.hash
    assert not loaded.training
    assert (loaded.architecture, loaded.features) == (model.architecture, model.features)
    features, lengths = torch.randn(2, 31, BINS), torch.tensor([31, 12])
    assert loaded(features, lengths).logits.equal(model.eval()(features, lengths).logits)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "model.safetensors", "model.yaml", "tokenizer.json", "tokenizer.model",
    ]  # fmt: skip


def test_hash_follows_the_weights(tmp_path: Path, tokenizer: Tokenizer) -> None:
    hashes = []
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        save_model(tmp_path / name, tiny_model("conv", seed=seed), tokenizer)
        hashes.append(model_hash(tmp_path / name))
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.fixture
def saved(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    save_model(tmp_path / "model", tiny_model("conv"), tokenizer)
    return tmp_path / "model"


def fault(directory: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_model(directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["model.yaml", "model.safetensors"])
def test_missing_file(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert fault(saved) == f"{saved}: no {name} here; expected a model directory written by 'seqkd train'"


def test_missing_tokenizer(saved: Path) -> None:
    (saved / "tokenizer.model").unlink()
    assert fault(saved) == f"{saved}/tokenizer.model is missing; run ./run.sh --stage prepare"


def test_truncated_weights(saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    message = fault(saved)
    assert message.startswith(f"{weights} cannot be loaded (")
    assert message.endswith("; train again")


def test_weights_of_another_architecture(saved: Path) -> None:
    description = yaml.safe_load((saved / "model.yaml").read_text())
    description["architecture"]["width"] = 20
    (saved / "model.yaml").write_text(yaml.safe_dump(description))
    assert fault(saved).startswith(f"{saved}/model.safetensors cannot be loaded (")


@pytest.mark.parametrize("content", ["classes: [", "classes: 7\n", "just text\n"])
def test_damaged_description(saved: Path, content: str) -> None:
    (saved / "model.yaml").write_text(content)
    assert fault(saved).startswith(f"{saved}/model.yaml is not a model's description (")


def test_tokenizer_of_another_run(saved: Path) -> None:
    train_tokenizer(["a b c d e f"], type="char", vocab_size=0).save(saved)
    assert fault(saved) == (
        f"{saved}: the tokenizer has 9 units but the model 7 classes; the files come from different runs, train again"
    )


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (
            {"encoder": "lstm"},
            "model.encoder is 'lstm'; expected one of conformer, conv, chunk_conformer",
        ),
        ({}, "model.encoder is None; expected one of conformer, conv, chunk_conformer"),
        (ARCHITECTURES["conv"] | {"heads": 4, "dropout": 0.0}, "for encoder 'conv' do not fit: .*'heads'"),
        (ARCHITECTURES["conv"], "for encoder 'conv' do not fit: .*'dropout'"),
        (ARCHITECTURES["conv"] | {"kernel": 4, "dropout": 0.0}, "kernel is 4; expected an odd number"),
        (ARCHITECTURES["conv"] | {"dropout": 1.5}, "dropout is 1.5; expected from 0 to less than 1"),
        (ARCHITECTURES["conformer"] | {"heads": 3, "dropout": 0.0}, "heads is 3; .* the width, which is 16"),
        (ARCHITECTURES["conformer"] | {"heads": 0, "dropout": 0.0}, "for encoder 'conformer' do not fit"),
    ],
)
def test_settings_that_make_no_model(architecture: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CtcModel(architecture, tiny_model("conv").features, CLASSES)
