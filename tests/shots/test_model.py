"""Shot models: the published size, normalisation, rates, and the form on disk."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from seqkd.errors import ConfigError, DataError
from seqkd.shots.classes import SHOTS
from seqkd.shots.model import Architecture, ShotModel, ShotNetwork, directory_hash, load_shot_model, save_shot_model
from tests.shots.songs import CLASSES, FEATURES, chain, make_songs

NAMES = tuple(f"f{i}" for i in range(FEATURES))
SMALL = Architecture((6, 4), dropout=0.3)


def make(seconds: int = 1, seed: int = 0) -> ShotModel:
    torch.manual_seed(seed)
    network = ShotNetwork(SMALL, FEATURES)
    network.normalise(np.arange(FEATURES, dtype=float), np.arange(1, FEATURES + 1, dtype=float))
    return ShotModel(network.eval(), NAMES, chain(), seconds)


@pytest.fixture
def song() -> np.ndarray:
    return make_songs(1, 23)[0]["song000"]


def test_the_published_size():
    # 1.75 M parameters with 188 music tags: two directions, counted with one bias vector a gate or with PyTorch's two.
    assert ShotNetwork(Architecture(), 188).parameter_count() == pytest.approx(1.75e6, rel=0.01)
    assert ShotNetwork(Architecture(bidirectional=False), 188).parameter_count() < 0.75e6


def test_normalisation_is_inside_and_a_constant_feature_is_left_out(song):
    network = make().network
    scaled = ShotNetwork(SMALL, FEATURES)
    scaled.load_state_dict(network.state_dict())
    scaled.normalise(1000 * network.feature_mean.double().numpy(), 1000 / network.feature_scale.double().numpy())
    frames = torch.from_numpy(song)[None]
    with torch.no_grad():
        torch.testing.assert_close(scaled.eval()(1000 * frames), network(frames), rtol=1e-4, atol=1e-5)
    network.normalise(np.full(FEATURES, 3.0), np.array([1.0, 0.0, 1e-12, 1.0, 1.0, 1.0]))
    assert network.feature_scale.tolist() == [1, 0, 0, 1, 1, 1]


def test_far_outside_of_the_training_songs_stays_finite():
    assert np.isfinite(make().logits(np.full((5, FEATURES), 1e30, np.float32))).all()


def test_posteriors_are_the_softmax_of_the_logits(song):
    model = make()
    logits, posteriors = model.logits(song), model.posteriors(song)
    assert logits.shape == posteriors.shape == (23, CLASSES)
    np.testing.assert_allclose(posteriors, torch.from_numpy(logits).double().softmax(-1).numpy(), atol=1e-12)
    assert np.abs(posteriors.sum(-1) - 1).max() < 1e-12


def test_a_slower_model_is_given_means_and_gives_one_output_for_each(song):
    slow, same = make(seconds=4), make(seconds=1)
    means = np.stack([song[t : t + 4].mean(0) for t in range(0, 23, 4)])
    expected = same.logits(means)
    np.testing.assert_allclose(slow.logits(song), expected[np.arange(23) // 4], atol=1e-5)


def test_dropout_is_off_in_use(song):
    model = make()
    model.network.train()
    assert (model.logits(song) == model.logits(song)).all()


def test_a_track_must_have_the_model_s_features(song):
    model = make()
    track = SimpleNamespace(frames=song, names=list(NAMES))
    assert (model.posteriors(track) == model.posteriors(song)).all()
    with pytest.raises(DataError, match=r"reads 6 features, the song has 6 \(missing: f0; unknown to it: tempo\)"):
        model.posteriors(SimpleNamespace(frames=song, names=["tempo", *NAMES[1:]]))
    with pytest.raises(DataError, match="in another order"):
        model.posteriors(SimpleNamespace(frames=song, names=NAMES[::-1]))
    with pytest.raises(DataError, match=r"Features have shape \(23, 5\); this model reads \(T, 6\)"):
        model.logits(song[:, :5])


def test_nothing_in_nothing_out():
    assert make().posteriors(np.zeros((0, FEATURES), np.float32)).shape == (0, CLASSES)


def test_on_disk(song, tmp_path):
    model = make(seconds=2)
    save_shot_model(tmp_path / "model", model)
    again = load_shot_model(tmp_path / "model")
    assert (again.posteriors(song) == model.posteriors(song)).all()
    assert again.names == NAMES and again.seconds == 2 and again.network.architecture == SMALL
    assert (again.language.transition == model.language.transition).all()
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "model.safetensors",
        "model.yaml",
        "language.json",
    }
    assert yaml.safe_load((tmp_path / "model" / "model.yaml").read_text())["classes"] == list(SHOTS)


def test_the_hash_is_of_the_content(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_shot_model(tmp_path / name, make(seed=seed))
    a, b, c = (directory_hash(tmp_path / name) for name in "abc")
    assert a == b != c


def rewrite(path, change):
    described = yaml.safe_load(path.read_text())
    change(described)
    path.write_text(yaml.safe_dump(described))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (
            lambda d: (d / "model.safetensors").unlink(),
            "no model.safetensors here; expected a directory of a shot model",
        ),
        (lambda d: (d / "model.yaml").write_text("a: ["), "model.yaml is not a shot model's description"),
        (lambda d: (d / "model.yaml").write_bytes(b"\xff\xfe"), "model.yaml is not a shot model's description"),
        (lambda d: rewrite(d / "model.yaml", lambda y: y.pop("seconds")), r"description \('seconds'\)"),
        (
            lambda d: rewrite(d / "model.yaml", lambda y: y["architecture"].update(sizes=[])),
            "a whole number of at",
        ),
        (
            lambda d: rewrite(d / "model.yaml", lambda y: y.update(classes=["A"])),
            "distinguishes the classes A; expected CU",
        ),
        (lambda d: rewrite(d / "model.yaml", lambda y: y["architecture"].update(sizes=[5, 4])), "cannot be loaded"),
        (
            lambda d: (d / "model.safetensors").write_bytes((d / "model.safetensors").read_bytes()[:-9]),
            "cannot be loaded",
        ),
        (lambda d: (d / "language.json").unlink(), "language.json is missing"),
    ],
)
def test_a_damaged_model_is_one_sentence(tmp_path, harm, says):
    save_shot_model(tmp_path, make())
    harm(tmp_path)
    with pytest.raises(DataError, match=says) as caught:
        load_shot_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_faults_of_the_architecture():
    with pytest.raises(ConfigError, match=r"sizes is \[\]"):
        Architecture(())
    with pytest.raises(ConfigError, match=r"dropout is 1\.0"):
        Architecture(dropout=1.0)
