"""Features of sounds and images, when they are computed anew, and a sentence about every file that gives none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file

from seqkd.classification.data import read_set
from seqkd.classification.features import (
    ClipFeatureSettings,
    energies,
    features_of,
    make_features,
    pixels,
    read_features,
)
from seqkd.data.features import fbank
from seqkd.errors import ConfigError, DataError
from tests.clip_corpus import RATE, write_tables

SOUND = ClipFeatureSettings(sample_rate=RATE, num_mel_bins=12, max_seconds=0.3)
IMAGE = ClipFeatureSettings(size=8)


def sentence(function, *arguments, kind=DataError) -> str:
    with pytest.raises(kind) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A set of three sounds, of 0.1, 0.2 and 0.5 s."""
    for name, seconds in (("a", 0.1), ("b", 0.2), ("c", 0.5)):
        soundfile.write(tmp_path / f"{name}.wav", noise(seconds), RATE)
    return write_tables(tmp_path, {"wav.scp": {n: f"{n}.wav" for n in "abc"}, "label": dict.fromkeys("abc", "x")})


# ---- one file


def test_energies_are_kaldis_cut_to_the_longest(tmp_path: Path) -> None:
    samples = noise(0.5)
    found = features_of(samples, SOUND, "it")
    assert found.shape == (30, 12) == (SOUND.frames, 12) and found.dtype == np.float32
    assert np.array_equal(found, fbank(torch.from_numpy(samples[: round(0.3 * RATE)]), SOUND)[:30].numpy())
    assert features_of(noise(0.1), SOUND, "it").shape == (10, 12)
    soundfile.write(tmp_path / "stereo.wav", np.stack([samples, 0 * samples], 1), RATE, subtype="FLOAT")
    assert np.array_equal(energies(tmp_path / "stereo.wav", SOUND), features_of(samples / 2, SOUND, "it"))


def test_pixels_are_columns_from_left_to_right(tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[2, 5] = (255, 51, 0)  # row 2, column 5
    Image.fromarray(picture).save(tmp_path / "dot.png")
    found = pixels(tmp_path / "dot.png", IMAGE)
    assert found.shape == (8, 3 * 8) and found.dtype == np.float32
    assert np.flatnonzero(found).tolist() == [5 * 24 + 2, 5 * 24 + 8 + 2]  # red, and green, of that height
    assert found[5].reshape(3, 8)[:, 2].tolist() == [1.0, pytest.approx(0.2), 0.0]
    grey = pixels(tmp_path / "dot.png", ClipFeatureSettings(size=16, colours="L"))
    assert grey.shape == (16, 16) and 0 < grey.max() < 1
    Image.fromarray(picture[..., 0]).save(tmp_path / "grey.png")  # grey as three equal colours
    assert pixels(tmp_path / "grey.png", IMAGE)[5].reshape(3, 8)[:, 2].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_samples_must_be_numbers_and_enough(wrong: float, tmp_path: Path) -> None:
    samples = noise(0.1)
    samples[17] = wrong
    said = "it has samples that are no numbers (NaN or infinite); replace it, or leave it out"
    assert sentence(features_of, samples, SOUND, "it") == said
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    assert sentence(energies, tmp_path / "a.wav", SOUND) == (
        f"{tmp_path / 'a.wav'} has a sample that is no number at 0.00 s; replace it, or leave it out"
    )
    short = noise(0.02)
    assert sentence(features_of, short, SOUND, "it") == "it has 160 samples, less than one frame of 200; leave it out"
    assert sentence(features_of, short[:0], SOUND, "it").startswith("it has 0 samples, less than one frame of 200")


def test_another_rate_is_not_resampled_in_silence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(0.1), 11025)
    assert sentence(energies, tmp_path / "a.wav", SOUND) == (
        f"{tmp_path / 'a.wav'} has 11025 samples a second; expected features.sample_rate, 8000; convert it"
    )


def test_a_file_of_another_kind_or_damaged_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    soundfile.write(tmp_path / "a.flac", noise(0.3), RATE)
    (tmp_path / "torn.png").write_bytes((tmp_path / "a.png").read_bytes()[:-30])
    (tmp_path / "torn.flac").write_bytes((tmp_path / "a.flac").read_bytes()[:20])
    (tmp_path / "empty").write_bytes(b"")
    for name in ("a.png", "torn.flac", "empty"):
        assert sentence(energies, tmp_path / name, SOUND).startswith(f"{tmp_path / name} cannot be read as audio (")
    for name in ("a.flac", "torn.png", "empty"):
        assert sentence(pixels, tmp_path / name, IMAGE).startswith(f"{tmp_path / name} cannot be read as an image (")


# ---- a set


def test_a_set_is_padded_with_zeros(sounds: Path) -> None:
    clips = read_set(sounds)
    make_features(clips, SOUND, 1)
    found = read_features(sounds)
    assert found.lengths.tolist() == [10, 20, 30] and found.values.shape == (3, 30, 12)
    for row, path in enumerate(clips.paths):
        length = int(found.lengths[row])
        assert np.array_equal(found.values[row, :length].numpy(), energies(path, SOUND))
        assert (found.values[row, length:] == 0).all()


def test_several_processes_compute_the_same(sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_features(read_set(sounds), SOUND, 1)
    alone = read_features(sounds)
    shutil.rmtree(sounds / "clips")
    monkeypatch.setattr("seqkd.classification.features.CHUNK", 1)
    make_features(read_set(sounds), SOUND, 2)
    assert read_features(sounds).values.equal(alone.values) and read_features(sounds).fingerprint == alone.fingerprint


def test_images_of_a_set_have_one_size(tmp_path: Path) -> None:
    for name, shape in (("a", (9, 17, 3)), ("b", (30, 4))):
        Image.fromarray(np.full(shape, 255, np.uint8)).save(tmp_path / f"{name}.png")
    rows = {n: f"{n}.png" for n in "ab"}
    write_tables(tmp_path, {"image.scp": rows, "label": dict.fromkeys("ab", "x")})
    make_features(read_set(tmp_path), IMAGE, 1)
    found = read_features(tmp_path)
    assert found.values.shape == (2, 8, 24) and found.lengths.tolist() == [8, 8] and (found.values == 1).all()


def test_they_are_up_to_date_by_content(sounds: Path) -> None:
    clips, file = read_set(sounds), sounds / "clips" / "features.safetensors"
    make_features(clips, SOUND, 1)
    first, before = file.stat().st_mtime_ns, read_features(sounds)
    os.utime(sounds / "a.wav")
    make_features(clips, SOUND, 1)
    assert file.stat().st_mtime_ns == first  # touched only
    times = (sounds / "a.wav").stat()
    soundfile.write(sounds / "a.wav", noise(0.1, seed=9), RATE)
    os.utime(sounds / "a.wav", ns=(times.st_atime_ns, times.st_mtime_ns))
    make_features(clips, SOUND, 1)
    after = read_features(sounds)
    assert not after.values[0].equal(before.values[0]) and after.values[1].equal(before.values[1])
    assert after.fingerprint != before.fingerprint
    make_features(clips, ClipFeatureSettings(sample_rate=RATE, num_mel_bins=10), 1)
    assert read_features(sounds).values.shape[2] == 10


def test_a_bad_file_leaves_nothing_finished(sounds: Path) -> None:
    soundfile.write(sounds / "b.wav", noise(0.01), RATE)
    assert sentence(make_features, read_set(sounds), SOUND, 1).startswith(f"{sounds / 'b.wav'} has 80 samples, less")
    assert sentence(read_features, sounds).startswith(f"{sounds} has no finished features; ")
    (sounds / "b.wav").unlink()
    assert sentence(make_features, read_set(sounds), SOUND, 1) == (
        f"{sounds / 'b.wav'} cannot be read: No such file or directory."
    )


@pytest.mark.parametrize("what", ["features.safetensors", "done.json", "keys", "list"])
def test_damaged_features_are_named(what: str, sounds: Path) -> None:
    from safetensors.torch import save_file

    make_features(read_set(sounds), SOUND, 1)
    folder = sounds / "clips"
    if what == "keys":
        kept = load_file(folder / "features.safetensors")
        save_file({"features": kept["features"]}, folder / "features.safetensors")
    elif what == "list":
        (folder / "done.json").write_text("[]")
    else:
        (folder / what).write_bytes((folder / what).read_bytes()[:-9])
    assert sentence(read_features, sounds).startswith(f"{folder} is damaged (")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"max_seconds": 0.02}, "max_seconds is 0.02; expected at least 0.025"),
        ({"size": 7}, "size is 7; expected at least 8"),
        ({"colours": "CMYK"}, "colours is 'CMYK'; expected one of L, RGB"),
    ],
)
def test_settings_out_of_range_are_one_sentence(setting: dict[str, object], said: str) -> None:
    assert sentence(lambda: ClipFeatureSettings(**setting), kind=ConfigError).startswith(said)


@pytest.mark.parametrize("colours", ["L", "RGB"])
def test_grey_of_16_bits_is_grey(colours: str, tmp_path: Path) -> None:
    """Pillow's own conversion cuts off at 255, so that nearly all would be white."""
    grey = np.linspace(0, 255, 64).reshape(8, 8).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "8.png")
    wide = grey.astype(np.uint16) * 257
    Image.fromarray(wide).save(tmp_path / "16.png")
    Image.fromarray(wide).save(tmp_path / "16.tiff")
    Image.frombytes("I;16B", (8, 8), wide.astype(">u2").tobytes()).save(tmp_path / "big.tiff")
    settings = ClipFeatureSettings(size=8, colours=colours)
    expected = pixels(tmp_path / "8.png", settings)
    assert 0.4 < expected.mean() < 0.6
    for name in ("16.png", "16.tiff", "big.tiff"):
        assert np.array_equal(pixels(tmp_path / name, settings), expected), name


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_of_an_unknown_range_are_refused(kind: type, tmp_path: Path) -> None:
    image = Image.fromarray(np.full((8, 8), 300, kind))
    image.save(tmp_path / "a.tiff")
    said = sentence(pixels, tmp_path / "a.tiff", IMAGE)
    assert said == (
        f"{tmp_path / 'a.tiff'} is an image of mode {image.mode} (32 bits a pixel), whose black and white are not "
        "known; expected 8 or 16 bits a pixel; convert it"
    )
