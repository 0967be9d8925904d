"""A classifier on disk: loaded as it was, and refused in a sentence where it is damaged or calls what it must not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from seqkd.classification.model import changed, classifier_hash, load_classifier, save_classifier
from seqkd.errors import ConfigError, DataError
from seqkd.models.classifier import Classifier
from tests.classification.tiny import description, padded, tiny_model

VAM = {"_target_": "seqkd.models.vam.with_vam", "groups": 2}


def doubled(model: Classifier, *, by: float = 2.0) -> Classifier:
    """A function of a user's own."""
    model.factor = by
    return model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_classifier(tmp_path / "model", tiny_model(), description())
    return tmp_path / "model"


def edited(saved: Path, **changes: object) -> Path:
    found = json.loads((saved / "model.json").read_text())
    (saved / "model.json").write_text(json.dumps(found | changes))
    return saved


def sentence(directory: Path, **options: bool) -> str:
    with pytest.raises(DataError) as caught:
        load_classifier(directory, **options)
    assert "\n" not in str(caught.value) and str(directory) in str(caught.value)
    return str(caught.value).removeprefix(str(directory))


def test_a_model_is_loaded_as_it_was(saved: Path) -> None:
    model, made = load_classifier(saved)
    assert made == description() and not model.training
    features, lengths = padded(5, 9)
    assert model(features, lengths).logits.equal(tiny_model()(features, lengths).logits)
    assert sorted(path.name for path in saved.iterdir()) == ["model.json", "model.safetensors"]


def test_a_changed_network_is_built_again(tmp_path: Path) -> None:
    from dataclasses import replace

    described = replace(description(widths=[4, 4, 4]), network=VAM)
    torch.manual_seed(0)
    model = described.build().eval()
    plain = replace(described, network={}).build()
    assert set(model.state_dict()) != set(plain.state_dict())
    save_classifier(tmp_path, model, described)
    loaded, made = load_classifier(tmp_path)
    features, lengths = padded(5, 9)
    assert loaded(features, lengths).logits.equal(model(features, lengths).logits) and made.network == VAM


def test_a_hash_is_of_weights_and_description(saved: Path, tmp_path: Path) -> None:
    first = classifier_hash(saved)
    assert len(first) == 16 and first == classifier_hash(saved)
    save_classifier(tmp_path / "again", tiny_model(), description())
    assert classifier_hash(tmp_path / "again") == first
    save_classifier(tmp_path / "other", tiny_model(1), description())
    assert classifier_hash(tmp_path / "other") != first
    assert classifier_hash(edited(saved, classes=["d", "c", "b", "a"])) != first


@pytest.mark.parametrize(
    "target",
    ["os.system", "tests.classification.test_model.doubled", "seqkd.models.classifier.dataclass", "seqkd.modelsx.a"],
)
def test_only_functions_of_our_models_are_called(target: str, saved: Path) -> None:
    """Under whichever name they are reached."""
    said = sentence(edited(saved, network={"_target_": target}))
    assert said.startswith("/model.json describes no classifier that can be built (")
    assert f"it wants {target} called; only functions of seqkd.models are" in said


def test_a_function_of_ones_own_is_called_for_ones_own_model(saved: Path) -> None:
    own = {"_target_": "tests.classification.test_model.doubled", "by": 3.0}
    model, _ = load_classifier(edited(saved, network=own), own=True)
    assert model.factor == 3.0


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_missing_file_is_named(name: str, saved: Path) -> None:
    (saved / name).unlink()
    assert sentence(saved) == f": no {name} here; expected a classifier written by 'seqkd train'"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": None}, "is no description of a classifier ("),
        ({"surprise": 1}, "is no description of a classifier ("),
        ({"settings": {"widths": [0]}}, "describes no classifier that can be built (setting model.widths"),
        ({"settings": {"width": [3]}}, "describes no classifier that can be built (there is no setting model.width"),
        ({"settings": None}, "describes no classifier that can be built ("),
        ({"network": ["x"]}, "describes no classifier that can be built ("),
        ({"network": {"groups": 2}}, "describes no classifier that can be built (setting system.network has no _targe"),
        ({"features": "six"}, "describes no classifier that can be built ("),
    ],
)
def test_a_wrong_description_is_one_sentence(changes: dict[str, object], said: str, saved: Path) -> None:
    assert sentence(edited(saved, **changes)).startswith(f"/model.json {said}")


def test_damaged_files_are_one_sentence(saved: Path) -> None:
    good = (saved / "model.json").read_text()
    for text in (good[:-9], "[1]", ""):
        (saved / "model.json").write_text(text)
        assert sentence(saved).startswith("/model.json is no description of a classifier (")
    (saved / "model.json").write_text(good)
    edited(saved, settings={"widths": [3, 3, 3], "strides": [1, 1, 1]})
    assert sentence(saved).startswith("/model.safetensors cannot be loaded (Error(s) in loading state_dict")
    (saved / "model.json").write_text(good)
    (saved / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes()[:-9])
    assert sentence(saved).startswith("/model.safetensors cannot be loaded (")


def test_a_change_of_the_network_that_cannot_be_is_one_sentence() -> None:
    for network, said in (
        ({"groups": 2}, "setting system.network has no _target_, the function that changes the network"),
        ({"_target_": "seqkd.models.vam.nothing"}, "setting system.network._target_ is seqkd.models.vam.nothing, but"),
        ({**VAM, "grups": 2}, "there is no setting system.network.grups; did you mean groups?"),
        ({**VAM, "groups": 0}, "setting system.network.groups is 0; expected "),
    ):
        with pytest.raises(ConfigError) as caught:
            changed(tiny_model(), network)
        assert str(caught.value).startswith(said)
    model = tiny_model()
    assert changed(model, {}) is model
