"""``seqkd classify``: sounds and images to classes, frames to phones, and what is said of files that are neither."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import soxr
import torch
from PIL import Image

from seqkd.classification.features import features_of, pixels
from seqkd.cli.main import main
from seqkd.deploy.classifier import export_classifier
from seqkd.deploy.classify import segments
from tests.deploy.classifiers import CLASSES, FEATURES, FRAMES, IMAGES, RATE, SMALL, saved, tone


class Exports(NamedTuple):
    """Export directories, and the models that they are of."""

    sounds: Path
    frames: Path
    images: Path
    models: dict[str, torch.nn.Module]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """One of each kind. Not to be changed."""
    place, models = tmp_path_factory.mktemp("exports"), {}
    for name, settings in (("sounds", SMALL), ("frames", FRAMES), ("images", IMAGES)):
        models[name] = saved(place / f"{name}_model", settings)
        export_classifier(place / f"{name}_model", place / name)
    return Exports(place / "sounds", place / "frames", place / "images", models)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A sound at the model's rate."""
    soundfile.write(tmp_path / "clip.wav", tone(440, 0.4), RATE)
    return tmp_path / "clip.wav"


def run(capsys: pytest.CaptureFixture[str], *argv: object, status: int = 0) -> tuple[str, list[str]]:
    """What the command prints, and what it says on stderr."""
    capsys.readouterr()
    assert main(["classify", *map(str, argv)]) == status
    found = capsys.readouterr()
    return found.out, found.err.splitlines()


@torch.no_grad()
def expected(model: torch.nn.Module, features: np.ndarray) -> np.ndarray:
    """(S, C) PyTorch's probabilities."""
    output = model(torch.from_numpy(features)[None], torch.tensor([len(features)]))
    return output.logits[0].double().softmax(-1).numpy()


def classes_of(line: str) -> dict[str, float]:
    """Probabilities by class, from a line of JSON."""
    return {one["class"]: one["probability"] for one in json.loads(line)["classes"]}


def test_probabilities_are_those_of_pytorch(made: Exports, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (probs,) = expected(made.models["sounds"], features_of(soundfile.read(clip, dtype="float32")[0], FEATURES, ""))
    out, said = run(capsys, clip, "--model", made.sounds)
    order = np.argsort(-probs)
    assert out == "".join(f"{CLASSES[k]}\t{probs[k]:.4f}\n" for k in order)
    assert said == []
    line, _ = run(capsys, clip, "--model", made.sounds, "--format", "json", "--top", 2)
    entry = json.loads(line)
    assert (entry["file"], entry["seconds"], entry["used_seconds"]) == (str(clip), 0.4, 0.4)
    assert [one["class"] for one in entry["classes"]] == [CLASSES[k] for k in order[:2]]
    assert [one["probability"] for one in entry["classes"]] == pytest.approx(probs[order[:2]], abs=2e-6)
    small, _ = run(capsys, clip, "--model", made.sounds, "--int8", "--format", "json")
    apart = [abs(classes_of(small)[name] - probability) for name, probability in zip(CLASSES, probs, strict=True)]
    assert 1e-7 < max(apart) < 0.05


def test_any_rate_and_channels(made: Exports, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = soundfile.read(clip, dtype="float32")[0]
    soundfile.write(tmp_path / "stereo.flac", np.stack([samples, samples], 1), RATE)
    soundfile.write(tmp_path / "fast.wav", soxr.resample(samples, RATE, 44100), 44100, subtype="FLOAT")
    files = [clip, tmp_path / "stereo.flac", tmp_path / "fast.wav"]
    out, _ = run(capsys, *files, "--model", made.sounds, "--format", "json")
    mono, stereo, fast = map(classes_of, out.splitlines())
    assert stereo == pytest.approx(mono, abs=1e-3)
    # What is above the band that both have is lost, so that the highest features are not the same.
    assert fast == pytest.approx(mono, abs=0.1)
    assert max(fast, key=fast.get) == max(mono, key=mono.get)


def test_what_is_too_long_is_cut_off(made: Exports, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = tone(300, 25)
    for name, part in (("long", samples), ("short", samples[: RATE // 2])):
        soundfile.write(tmp_path / f"{name}.wav", part, RATE)
    out, said = run(capsys, tmp_path / "long.wav", "--model", made.sounds)
    assert said == [
        f"seqkd classify: {tmp_path}/long.wav lasts 25.00 s; the model is given the first 0.5 s",
    ]
    assert out == run(capsys, tmp_path / "short.wav", "--model", made.sounds)[0]


def test_several_files_are_named(made: Exports, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.wav"
    soundfile.write(other, tone(900, 0.3), RATE)
    out, _ = run(capsys, clip, other, "--model", made.sounds, "--top", 1)
    assert re.fullmatch(rf"{clip}\t(no|yes|stop)\t[01]\.\d{{4}}\n{other}\t(no|yes|stop)\t[01]\.\d{{4}}\n", out)
    where = tmp_path / "out.txt"
    assert run(capsys, clip, other, "--model", made.sounds, "--top", 1, "--out", where) == ("", [])
    assert where.read_text() == out


def test_phones_with_times(made: Exports, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probs = expected(made.models["frames"], features_of(soundfile.read(clip, dtype="float32")[0], FEATURES, ""))
    assert probs.shape == (40, 3)
    out, _ = run(capsys, clip, "--model", made.frames, "--format", "json")
    found = json.loads(out)["segments"]
    assert found[0]["start"] == 0 and found[-1]["end"] == 0.4
    for one, after in itertools.pairwise(found):
        assert one["end"] == after["start"] and one["phone"] != after["phone"]
    middles = (np.arange(40) + 0.5) * 0.01
    phones = [next(one["phone"] for one in found if one["start"] < middle < one["end"]) for middle in middles]
    assert phones == [CLASSES[k] for k in probs.argmax(-1)]
    text, _ = run(capsys, clip, "--model", made.frames)
    assert text == "".join(f"{one['start']:.2f}\t{one['end']:.2f}\t{one['phone']}\n" for one in found)
    _, said = run(capsys, clip, "--model", made.frames, "--top", 2, status=1)
    assert said == [f"seqkd classify: {made.frames} gives each frame one class, the most likely; leave out --top"]


def test_frames_are_joined() -> None:
    probs = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4]])
    found = [(one.name, one.start, one.end, one.confidence) for one in segments(probs, ("a", "b"), 0.5, 1.8)]
    assert [name for name, *_ in found] == ["a", "b", "a"]
    assert np.array([numbers for _, *numbers in found]) == pytest.approx(
        np.array([[0.0, 1.0, 0.8], [1.0, 1.5, 0.8], [1.5, 1.8, 0.6]])
    )


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Noise in colours."""
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_images(made: Exports, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.open(picture).convert("L").save(tmp_path / "grey.png")
    out, said = run(capsys, picture, tmp_path / "grey.png", "--model", made.images, "--format", "json")
    assert said == []
    for line, file in zip(out.splitlines(), (picture, tmp_path / "grey.png"), strict=True):
        (probs,) = expected(made.models["images"], pixels(file, FEATURES))
        assert set(json.loads(line)) == {"file", "classes"}
        assert classes_of(line) == pytest.approx(dict(zip(CLASSES, probs, strict=True)), abs=2e-6)


# ---- what cannot be classified


def test_each_file_that_is_no_sound_is_named(
    made: Exports, clip: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        name: tmp_path / name for name in ("gone.wav", "short.wav", "nan.wav", "empty.wav", "text.wav", "cut.flac")
    }
    soundfile.write(files["short.wav"], tone(440, 0.02), RATE)
    broken = tone(440, 0.4)
    broken[1000] = np.nan
    soundfile.write(files["nan.wav"], broken, RATE, subtype="FLOAT")
    soundfile.write(files["empty.wav"], np.zeros(0, np.float32), RATE)
    files["text.wav"].write_text("no sound")
    soundfile.write(files["cut.flac"], tone(440, 0.4), RATE)
    files["cut.flac"].write_bytes(files["cut.flac"].read_bytes()[:1500])
    bad = [*files.values(), tmp_path, picture]
    out, said = run(capsys, *bad[:3], clip, *bad[3:], "--model", made.sounds, "--top", 1, status=1)
    assert [line.split("\t")[0] for line in out.splitlines()] == [str(clip)]
    sentences = [
        f"{files['gone.wav']} does not exist; expected a sound",
        f"{files['short.wav']} has 160 samples, less than one frame of 200; ",
        f"{files['nan.wav']} has a sample that is no number at 0.12 s; ",
        f"{files['empty.wav']} holds no samples; ",
        f"{files['text.wav']} cannot be read as audio (",
        f"{files['cut.flac']} ",
        f"{tmp_path} is a directory; expected a sound",
        f"{picture} is an image, but {made.sounds} classifies sounds; name a sound",
    ]
    assert len(said) == len(sentences)
    for line, sentence in zip(said, sentences, strict=True):
        assert line.startswith(f"seqkd classify: {sentence}"), line
    where = tmp_path / "out.json"
    run(capsys, *bad, "--model", made.sounds, "--out", where, status=1)
    assert not where.exists()


def test_each_file_that_is_no_image_is_named(
    made: Exports, clip: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, cut = tmp_path / "text.png", tmp_path / "cut.png"
    text.write_text("no image")
    cut.write_bytes(picture.read_bytes()[:600])
    out, said = run(capsys, clip, text, cut, tmp_path / "gone.png", picture, "--model", made.images, status=1)
    assert len(out.splitlines()) == 3 and out.startswith(f"{picture}\t")
    assert said[0] == f"seqkd classify: {clip} is a sound, but {made.images} classifies images; name an image"
    for line, file in zip(said[1:3], (text, cut), strict=True):
        assert line.startswith(f"seqkd classify: {file} cannot be read as an image (")
    assert said[3] == f"seqkd classify: {tmp_path / 'gone.png'} does not exist; expected an image"


def test_damaged_images_never_end_in_a_traceback(
    made: Exports, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, generator = picture.read_bytes(), np.random.default_rng(1)
    for number in range(40):
        damaged = bytearray(content)
        for place in generator.integers(0, len(content), 3):
            damaged[place] ^= int(generator.integers(1, 256))
        (tmp_path / f"{number}.png").write_bytes(damaged)
    files = [tmp_path / f"{number}.png" for number in range(40)]
    out, said = run(capsys, *files, "--model", made.images, "--top", 1, status=1)
    assert len(out.splitlines()) + len(said) == 40 and len(said) > 10


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("model.onnx", b"nonsense", "{out}/model.onnx has SHA-256 *, but export.json says *: it is damaged or *"),
        ("classes.txt", b"yes\nno\nstop\n", "{out}/classes.txt has SHA-256 *"),
        ("features.json", None, "{out}/features.json is missing; export the model again"),
        ("export.json", None, "{out} has no export.json; expected a directory written by 'seqkd export'"),
        ("export.json", b"{", "{out}/export.json is damaged (*); export the model again"),
    ],
)
def test_a_broken_export(
    made: Exports,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    sentence: str,
) -> None:
    out = tmp_path / "out"
    shutil.copytree(made.sounds, out)
    if content is None:
        (out / name).unlink()
    else:
        (out / name).write_bytes(content)
    shown, said = run(capsys, clip, "--model", out, status=1)
    assert shown == ""
    (line,) = said
    expected = re.escape(f"seqkd classify: {sentence.format(out=out)}").replace(r"\*", ".*")
    assert re.fullmatch(expected, line), line


def test_arguments(made: Exports, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--top", "--threads"):
        with pytest.raises(SystemExit) as stop:
            main(["classify", str(clip), option, "0"])
        assert stop.value.code == 2
        assert capsys.readouterr().err.endswith("--top and --threads must be at least 1\n")
    _, said = run(capsys, clip, "--model", tmp_path / "gone", status=1)
    assert said == [f"seqkd classify: {tmp_path / 'gone'} is not a directory; expected one written by 'seqkd export'"]
    _, said = run(capsys, clip, "--model", made.sounds, "--out", clip / "out.txt", status=1)
    assert said[0].endswith("; name another file by --out")
