from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
import torchaudio
from safetensors.torch import load_file

from seqkd.data import features
from seqkd.data.features import FeatureSettings, FeatureStore, fbank, make_features, read_samples
from seqkd.data.kaldi import Utterance, read_data_dir
from seqkd.errors import ConfigError, DataError
from tests.tone_corpus import RATE, make_tone_set

SETTINGS = FeatureSettings(sample_rate=RATE, num_mel_bins=20)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten utterances, in shards of four."""
    monkeypatch.setattr(features, "SHARD", 4)
    make_tone_set(tmp_path, "set", 10, seed=5)
    return tmp_path / "set"


def state(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (directory / "feats").iterdir()}


def everything(directory: Path) -> dict[str, torch.Tensor]:
    return {k: v for path in sorted((directory / "feats").glob("*.safetensors")) for k, v in load_file(path).items()}


def test_features_are_those_of_kaldi(directory: Path) -> None:
    settings = FeatureSettings(RATE, 23, 20.0, 12.5)
    make_features(directory, settings, nj=1)
    store = FeatureStore([directory])
    assert store.settings == settings
    for utterance in read_data_dir(directory):
        samples, rate = soundfile.read(utterance.audio, dtype="int16")
        expected = torchaudio.compliance.kaldi.fbank(
            torch.from_numpy(samples)[None].float(), sample_frequency=rate, num_mel_bins=23, frame_length=20.0,
            frame_shift=12.5, dither=0.0, snip_edges=False,
        )  # fmt: skip
        torch.testing.assert_close(store[utterance.id], expected)
        assert store.frames[utterance.id] == len(expected)
        assert len(expected) == pytest.approx(len(samples) / rate / 0.0125, abs=1)


def test_nothing_is_random(directory: Path) -> None:
    (utterance, *_) = read_data_dir(directory)
    samples = read_samples(utterance, RATE)
    assert fbank(samples, SETTINGS).equal(fbank(samples, SETTINGS))


def test_segments_read_their_part_only(directory: Path) -> None:
    (whole, *_) = read_data_dir(directory)
    part = Utterance("part", whole.audio, "s", None, 0.1, 0.25)
    assert read_samples(part, RATE).equal(read_samples(whole, RATE)[800:2000])


def test_unchanged_is_left_alone(directory: Path) -> None:
    assert make_features(directory, SETTINGS, nj=1) == 10
    before = state(directory)
    assert sorted(name for name in before if name.endswith("safetensors")) == [
        "00000.safetensors", "00001.safetensors", "00002.safetensors",
    ]  # fmt: skip
    assert make_features(directory, SETTINGS, nj=1) == 10
    assert state(directory) == before


def change_audio(directory: Path) -> None:
    audio = read_data_dir(directory)[3].audio
    samples, _ = soundfile.read(audio)
    soundfile.write(audio, samples[: len(samples) // 2], RATE)


def change_text(directory: Path) -> None:
    text = directory / "text"
    text.write_text(text.read_text().replace("do", "re", 1))


def drop_text(directory: Path) -> None:
    (directory / "text").unlink()


@pytest.mark.parametrize("change", [change_audio, change_text, drop_text])
def test_a_change_of_the_data_makes_them_anew(directory: Path, change: object) -> None:
    make_features(directory, SETTINGS, nj=1)
    before = state(directory)
    change(directory)
    make_features(directory, SETTINGS, nj=1)
    after = state(directory)
    assert before.keys() == after.keys()
    assert all(after[name] > before[name] for name in before)
    for utterance in read_data_dir(directory):
        expected = fbank(read_samples(utterance, RATE), SETTINGS)
        assert FeatureStore([directory])[utterance.id].equal(expected)


def test_other_settings_make_them_anew(directory: Path) -> None:
    make_features(directory, SETTINGS, nj=1)
    make_features(directory, FeatureSettings(RATE, 24), nj=1)
    assert FeatureStore([directory])["s0-set000"].shape[1] == 24


def test_a_smaller_set_leaves_no_old_shards(directory: Path) -> None:
    make_features(directory, SETTINGS, nj=1)
    for name in ("wav.scp", "utt2spk", "text"):
        lines = (directory / name).read_text().splitlines(keepends=True)
        (directory / name).write_text("".join(lines[:3]))
    (directory / "spk2utt").unlink()
    assert make_features(directory, SETTINGS, nj=1) == 3
    assert set(FeatureStore([directory]).frames) == {u.id for u in read_data_dir(directory)}


def test_an_interrupted_run_carries_on(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = directory.parent / "whole"
    shutil.copytree(directory, whole)
    make_features(whole, SETTINGS, nj=1)
    write, written = features._write_shard, []

    def interrupted(job: tuple) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(job[0].name)
        write(job)

    monkeypatch.setattr(features, "_write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_features(directory, SETTINGS, nj=1)
    with pytest.raises(DataError, match=r"set has no finished features; run ./run.sh --stage prepare$"):
        FeatureStore([directory])
    written.clear()
    monkeypatch.setattr(features, "_write_shard", lambda job: (written.append(job[0].name), write(job)))
    make_features(directory, SETTINGS, nj=1)
    assert written == ["00002.safetensors"]
    assert everything(directory).keys() == everything(whole).keys()
    assert all(value.equal(everything(whole)[name]) for name, value in everything(directory).items())
    assert (directory / "feats" / "stats.json").read_bytes() == (whole / "feats" / "stats.json").read_bytes()


def test_an_interrupted_run_with_other_settings_starts_over(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_features(directory, SETTINGS, nj=1)
    (directory / "feats" / "done.json").unlink()
    make_features(directory, FeatureSettings(RATE, 24), nj=1)
    assert {value.shape[1] for value in everything(directory).values()} == {24}


def test_jobs_change_nothing(directory: Path) -> None:
    torch.randn(300, 300) @ torch.randn(300, 300)  # torch has been at work before its process is forked
    two = directory.parent / "two"
    shutil.copytree(directory, two)
    make_features(directory, SETTINGS, nj=1)
    make_features(two, SETTINGS, nj=2)
    names = [path.name for path in sorted((directory / "feats").iterdir()) if path.name != "done.json"]
    for name in names:
        assert (two / "feats" / name).read_bytes() == (directory / "feats" / name).read_bytes(), name
    assert json.loads((two / "feats" / "done.json").read_text()) == json.loads(
        (directory / "feats" / "done.json").read_text()
    )


def test_one_frame_is_the_least(directory: Path) -> None:
    make_features(directory, SETTINGS, nj=1)
    before = state(directory)
    short = read_data_dir(directory)[7]
    soundfile.write(short.audio, [0.1] * 199, RATE)
    with pytest.raises(DataError) as caught:
        make_features(directory, SETTINGS, nj=1)
    assert str(caught.value) == (
        f"Utterance '{short.id}', {short.audio}: lasts 24.875 ms, less than one frame of 25 ms; remove it."
    )
    assert state(directory) == before  # a fault in new data does not cost the old features
    soundfile.write(short.audio, [0.1] * 200, RATE)
    make_features(directory, SETTINGS, nj=1)
    assert len(FeatureStore([directory])[short.id]) == 3  # a frame is centred on every 10 ms


def test_normalisation_is_over_all_frames_of_all_sets(directory: Path) -> None:
    make_tone_set(directory.parent, "more", 3, seed=6)
    for name in (directory, directory.parent / "more"):
        make_features(name, SETTINGS, nj=1)
    store = FeatureStore([directory, directory.parent / "more"])
    frames = torch.cat([store[name] for name in store.frames]).double()
    assert len(store.frames) == 13
    mean, scale = store.normalisation()
    torch.testing.assert_close(mean, frames.mean(0).float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scale, 1 / frames.std(0, unbiased=False).float(), rtol=1e-4, atol=0)
    normalised = (frames.float() - mean) * scale
    assert normalised.mean(0).abs().max() < 1e-3
    assert (normalised.std(0) - 1).abs().max() < 1e-2


def test_a_silent_band_does_not_divide_by_zero(tmp_path: Path) -> None:
    make_tone_set(tmp_path, "set", 1, seed=0)
    soundfile.write(read_data_dir(tmp_path / "set")[0].audio, [0.0] * RATE, RATE)
    make_features(tmp_path / "set", SETTINGS, nj=1)
    mean, scale = FeatureStore([tmp_path / "set"]).normalisation()
    assert mean.isfinite().all()
    assert scale.isfinite().all()


def test_sets_of_different_settings_do_not_mix(directory: Path) -> None:
    other = directory.parent / "other"
    shutil.copytree(directory, other)
    make_features(directory, SETTINGS, nj=1)
    make_features(other, FeatureSettings(RATE, 24), nj=1)
    with pytest.raises(DataError) as caught:
        FeatureStore([directory, other]).settings  # noqa: B018
    assert str(caught.value) == (
        f"{directory}, {other} have features of different settings; run ./run.sh --stage prepare"
    )


def test_a_damaged_shard_is_named(directory: Path) -> None:
    make_features(directory, SETTINGS, nj=1)
    shard = directory / "feats" / "00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-50])
    with pytest.raises(DataError) as caught:
        FeatureStore([directory]).frames  # noqa: B018
    assert str(caught.value).startswith(f"{shard} is damaged (")
    assert str(caught.value).endswith(f"; delete {directory / 'feats'} and run ./run.sh --stage prepare")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 0}, "sample_rate is 0; expected at least 1"),
        ({"num_mel_bins": 3}, "num_mel_bins is 3; expected at least 4"),
        ({"frame_shift_ms": -1.0}, "frame_shift_ms is -1.0; expected at least 1"),
    ],
)
def test_settings_that_make_no_features(options: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FeatureSettings(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize("lost", ["00001.safetensors", "durations.json", "stats.json"])
def test_what_was_lost_is_made_again_alone(directory: Path, lost: str) -> None:
    make_features(directory, SETTINGS, nj=1)
    before, expected = state(directory), everything(directory)
    (directory / "feats" / lost).unlink()
    if lost.endswith(".safetensors"):
        with pytest.raises(DataError) as caught:
            _ = FeatureStore([directory]).frames
        assert f"{directory}/feats has no features of 4 utterances, such as 's" in str(caught.value)
        assert str(caught.value).endswith("a file was removed; run ./run.sh --stage prepare")
    assert make_features(directory, SETTINGS, nj=1) == 10
    after = state(directory)
    assert after.keys() == before.keys()
    shards = {name for name in before if name.endswith(".safetensors")}
    assert {name for name in shards if after[name] != before[name]} == shards & {lost}
    assert all(expected[name].equal(value) for name, value in everything(directory).items())


def test_a_kill_while_others_take_their_place_leaves_nothing_that_counts_as_finished(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_features(directory, SETTINGS, nj=1)
    other = FeatureSettings(sample_rate=RATE, num_mel_bins=24)

    unlink = Path.unlink

    def killed_at_a_shard(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".safetensors":
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "unlink", killed_at_a_shard)
        make_features(directory, other, nj=1)
    assert not (directory / "feats" / "done.json").exists()
    make_features(directory, SETTINGS, nj=1)
    assert FeatureStore([directory]).settings == SETTINGS and len(everything(directory)) == 10
