"""What the user sees when something is wrong: one sentence, nothing half-written, and no traceback."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from seqkd.cli.main import main
from seqkd.data.kaldi import read_data_dir
from tests.deploy.conftest import LEARNED
from tests.runs import arguments


def says(capsys: pytest.CaptureFixture[str], argv: list[object], sentence: str) -> None:
    """The command ends with status 1 and this sentence (* for what may differ) alone."""
    capsys.readouterr()
    assert main([str(argument) for argument in argv]) == 1
    shown = capsys.readouterr().err.splitlines()[-1]
    expected = f"seqkd {argv[0]}: {sentence}"
    assert re.fullmatch(re.escape(expected).replace(r"\*", ".*"), shown), shown


# ---- what is exported


def no_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def damaged_weights(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def another_tokenizer(model: Path) -> None:
    """Of a recipe with fewer words: its two files agree with each other, not with the model."""
    from seqkd.data.tokens import train_tokenizer

    train_tokenizer(["do re mi"], type="word", vocab_size=10).save(model)


def no_tokenizer(model: Path) -> None:
    (model / "tokenizer.model").unlink()


MODELS = {
    "{model}: no model.safetensors here; expected a model directory written by 'seqkd train'": no_weights,
    "{model}/model.safetensors cannot be loaded (*); train again": damaged_weights,
    "{model}: the tokenizer has 5 units but the model 6 classes; the files come from different runs, train again": (
        another_tokenizer
    ),
    "{model}/tokenizer.model is missing; run ./run.sh --stage prepare": no_tokenizer,
}


@pytest.mark.parametrize("sentence", MODELS)
def test_a_model_that_is_not_whole(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], sentence: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(learned / "student" / "seed0" / "model", model)
    MODELS[sentence](model)
    says(capsys, ["export", "--model", model, "--out", tmp_path / "out"], sentence.format(model=model))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_where_it_is_to_be_written(learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = learned / "student" / "seed0" / "model"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    export = ["export", "--model", model, "--out"]
    says(capsys, [*export, mine], f"{mine} is there and is not an export; name a directory that is new or empty")
    assert (mine / "thesis.tex").read_text() == "years of work"
    file = mine / "thesis.tex"
    says(capsys, [*export, file], f"{file} is there and is not an export; name a directory that is new or empty")
    says(capsys, [*export, file / "out"], f"{file}/out cannot be written (*); choose another --out")
    with pytest.raises(SystemExit):
        main(["export", "--model", str(model)])
    assert capsys.readouterr().err.endswith("seqkd export: error: --model and --out go together\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_place(learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    out = tmp_path / "out"
    model = learned / "student" / "seed0" / "model"
    says(
        capsys,
        ["export", "--model", model, "--out", out],
        f"{out} cannot be written (Permission denied); choose another --out",
    )


def test_a_full_disk_leaves_nothing(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, program: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seqkd.deploy.export.trace", lambda model: None)
    monkeypatch.setattr("seqkd.deploy.export.write_program", full)
    out = tmp_path / "out"
    model = learned / "student" / "seed0" / "model"
    says(
        capsys,
        ["export", "--model", model, "--out", out],
        f"{out} cannot be written (No space left on device); choose another --out",
    )
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]


def absent(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in names else find(name, *rest))


def test_without_the_extra(
    learned: Path,
    exported: Path,
    tones: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent(monkeypatch, "onnxscript", "onnxruntime")
    model = learned / "student" / "seed0" / "model"
    says(
        capsys,
        ["export", "--model", model, "--out", tmp_path / "out"],
        "onnxscript, onnxruntime are not installed; get them with: pip install 'seqkd[export]'",
    )
    audio = read_data_dir(tones / "dev")[0].audio
    says(
        capsys,
        ["transcribe", "--model", exported, audio],
        "onnxruntime is not installed; get it with: pip install 'seqkd[export]'",
    )


# ---- a recipe's run


def no_summary(run: Path) -> None:
    (run / "summary.json").unlink()


def not_scored(run: Path) -> None:
    (run / "decode_dev" / "score.json").unlink()


def not_decoded(run: Path) -> None:
    shutil.rmtree(run / "decode_dev")


def of_other_weights(run: Path) -> None:
    path = run / "decode_dev" / "decode.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": "0123456789abcdef"}))


def swapped_tokenizer(run: Path) -> None:
    """As many units, but others: only the run's own record can tell."""
    from seqkd.data.tokens import train_tokenizer

    train_tokenizer(["fa sol la ti"], type="word", vocab_size=10).save(run / "model")


RUNS = {
    "{run} is not finished; run ./run.sh --stage students": no_summary,
    "{run}/decode_dev has no score.json; run ./run.sh --stage score": not_scored,
    "{run}/decode_dev has no decode.json; run ./run.sh --stage decode": not_decoded,
    "{run}/decode_dev was decoded with weights 0123456789abcdef, but {run}/model has *; run ./run.sh --stage "
    "decode": of_other_weights,
    "{run}/model/tokenizer.model has hash *, but the model was trained with * ({run}/config.yaml); put that tokenizer "
    "back, or train again": swapped_tokenizer,
    "{run} has no finished model; run ./run.sh --stage students": lambda run: shutil.rmtree(run / "model"),
}


@pytest.mark.parametrize("sentence", RUNS)
def test_a_run_that_is_not_ready(
    learned: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], sentence: str
) -> None:
    exp = tmp_path / "exp"
    shutil.copytree(learned, exp, ignore=shutil.ignore_patterns("export"))
    run = exp / "student" / "seed0"
    RUNS[sentence](run)
    says(capsys, ["export", *arguments(exp, tones, *LEARNED)], sentence.format(run=run))
    assert not (run / "export").exists()


# ---- an export that something happened to


def damaged_network(export: Path) -> None:
    path = export / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncated_network(export: Path) -> None:
    path = export / "model.onnx"
    path.write_bytes(path.read_bytes()[:5000])


def wrong_tokenizer(export: Path) -> None:
    from seqkd.data.tokens import train_tokenizer

    train_tokenizer(["fa sol la ti"], type="word", vocab_size=10).save(export)


def other_features(export: Path) -> None:
    path = export / "features.json"
    path.write_text(path.read_text().replace("8000", "16000"))


def newer(export: Path) -> None:
    path = export / "export.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))


def not_by_us(export: Path) -> None:
    """A file with the right hash that is no network."""
    import hashlib

    (export / "model.onnx").write_bytes(b"nonsense")
    path = export / "export.json"
    stated = json.loads(path.read_text())
    stated["files"]["model.onnx"]["sha256"] = hashlib.sha256(b"nonsense").hexdigest()
    path.write_text(json.dumps(stated))


ANOTHER = "has SHA-256 *, but export.json says *: it is damaged or belongs to another model; export the model again"
EXPORTS: list[tuple[Callable[[Path], object], str]] = [
    (damaged_network, "{export}/model.onnx " + ANOTHER),
    (truncated_network, "{export}/model.onnx " + ANOTHER),
    (wrong_tokenizer, "{export}/tokenizer.model " + ANOTHER),
    (other_features, "{export}/features.json " + ANOTHER),
    (lambda e: (e / "model.onnx").unlink(), "{export}/model.onnx is missing; export the model again"),
    (
        lambda e: (e / "export.json").unlink(),
        "{export} has no export.json; expected a directory written by 'seqkd export'",
    ),
    (
        lambda e: (e / "export.json").write_text('{"files": {'),
        "{export}/export.json is damaged (*); export the model again",
    ),
    (newer, "{export}/export.json has format 2, but this version reads 1; export the model again"),
    (not_by_us, "{export}/model.onnx cannot be loaded by onnxruntime (*); export the model again"),
    (shutil.rmtree, "{export} is not a directory; expected one written by 'seqkd export'"),
]


@pytest.mark.parametrize(("breaks", "sentence"), EXPORTS)
def test_a_broken_export(
    exported: Path,
    tones: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    breaks: Callable[[Path], object],
    sentence: str,
) -> None:
    export = tmp_path / "export"
    shutil.copytree(exported, export)
    breaks(export)
    audio = read_data_dir(tones / "dev")[0].audio
    out = tmp_path / "out.txt"
    says(capsys, ["transcribe", "--model", export, "--out", out, audio], sentence.format(export=export))
    assert not out.exists()


# ---- transcribe's arguments


def test_arguments_of_transcribe(
    exported: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = [utterance.audio for utterance in read_data_dir(tones / "dev")[:2]]
    command = ["transcribe", "--model", exported]
    with pytest.raises(SystemExit) as stop:
        main([*map(str, [*command, "--format", "docx", audio[0]])])
    assert stop.value.code == 2
    assert "argument --format: invalid choice: 'docx' (choose from" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*map(str, [*command, "--beam", "0", audio[0]])])
    assert capsys.readouterr().err.endswith("--beam and --threads must be at least 1\n")
    says(
        capsys,
        [*command, "--format", "srt", *audio],
        "srt holds one recording, but 2 files were named; give one at a time",
    )
    twin = tmp_path / audio[0].name
    shutil.copy(audio[0], twin)
    says(
        capsys,
        [*command, "--format", "ctm", audio[0], twin],
        f"{audio[0]} and {twin} would both be '{twin.stem}' in the ctm; rename one or transcribe them apart",
    )
    where = twin / "out.txt"
    says(
        capsys,
        [*command, "--out", where, audio[0]],
        f"{where} cannot be written (*); name another file by --out",
    )
