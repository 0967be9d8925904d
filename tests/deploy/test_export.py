"""``seqkd export``: what it writes, that it is checked, and that it is done once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seqkd.cli.main import main
from seqkd.data.kaldi import read_data_dir
from seqkd.deploy import check
from seqkd.deploy.bundle import FILES
from seqkd.deploy.export import export_model
from seqkd.errors import SeqkdError
from tests.deploy.conftest import LEARNED
from tests.runs import arguments


def test_every_file_is_there_with_its_hash(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == sorted([*FILES, "export.json"])
    stated = json.loads((exported / "export.json").read_text())["files"]
    for name in FILES:
        content = (exported / name).read_bytes()
        assert stated[name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert not list(exported.parent.glob(".tmp*"))


def test_it_was_checked_on_the_whole_test_set(exported: Path, tones: Path) -> None:
    found = json.loads((exported / "export.json").read_text())["checks"]
    checked = found["sets"]["dev"]
    assert checked["utterances"] == checked["largest_batch"] == len(read_data_dir(tones / "dev")) == 8
    assert 0 < max(checked["onnx_alone"], checked["onnx_in_batches"]) < found["limit"] == 1e-4
    assert checked["program_in_batches"] < 1e-4 < checked["int8_alone"]
    assert checked["greedy_identical"] is True
    assert checked["wer_greedy"]["rate"] == 0.0
    assert checked["int8_wer_greedy"]["words"] == 24


def test_the_card(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    hours = json.loads((exported.parent / "summary.json").read_text())["labelled_hours"]
    for part in (
        "# Student, no teacher (student, seed 0)",
        "| Licence of the weights | CC0-1.0 |",
        "- Teacher: none",
        f"- Transcribed speech: `train`, {hours:g} h",
        "| dev | 24 | 0.00 % | 0.00 % |",
        "| dev | 0.00 % | 0.00 % | 0 of 8 |",
        "8,000 Hz in",
        "Real-time factor (features, network, greedy search; one thread",
    ):
        assert part in card
    for name in FILES:
        if name != "README.md":
            assert f"| `{name}` | {(exported / name).stat().st_size:,} |" in card
    assert str(exported.parents[2]) not in card
    assert "None" not in card.partition("## Use")[0]


def test_the_cards_example_runs(exported: Path, tones: Path, tmp_path: Path) -> None:
    utterance = read_data_dir(tones / "dev")[0]
    (code,) = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL)
    for name in ("model.onnx", "tokenizer.model"):
        shutil.copy(exported / name, tmp_path)
    shutil.copy(utterance.audio, tmp_path / "speech.wav")
    here = os.environ | {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=here, capture_output=True, text=True)
    assert done.stdout == f"{utterance.text}\n", done.stderr


def test_what_is_up_to_date_is_left_alone(
    exported: Path, learned: Path, tones: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in exported.iterdir()}
    capsys.readouterr()
    assert main(["export", *arguments(learned, tones, *LEARNED, "export.licence=CC0-1.0")]) == 0
    assert capsys.readouterr().out == f"{exported}: is up to date\n"
    assert {path: path.stat().st_mtime_ns for path in exported.iterdir()} == before


def test_a_disagreement_names_the_utterance_and_writes_nothing(
    exported: Path, learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for writer, name in (("write_program", "model.pt2"), ("write_onnx", "model.onnx")):  # sooner than by exporting
        monkeypatch.setattr(
            f"seqkd.deploy.export.{writer}", lambda path, program, name=name: shutil.copy(exported / name, path)
        )
    monkeypatch.setattr("seqkd.deploy.export.trace", lambda model: None)
    monkeypatch.setattr(check, "LIMIT", 0.0)
    with pytest.raises(SeqkdError, match=r"^utterance random-1000 of random features, by itself, model.onnx gives"):
        export_model(learned / "student" / "seed0" / "model", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]


def test_one_model_directory(
    exported: Path,
    learned: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, out = learned / "student" / "seed0" / "model", tmp_path / "out"
    shutil.copytree(exported, out)  # an older export may be replaced
    left = tmp_path / ".tmp-out-killed"
    left.mkdir()
    assert main(["export", "--model", str(model), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: written\n"
    assert not left.exists()
    found = json.loads((out / "export.json").read_text())
    assert found["made_by"]["tests"] is None
    assert found["checks"]["sets"]["random features"]["onnx_in_batches"] < 1e-4
    card = (out / "README.md").read_text()
    assert "these are random features, not speech" in card
    assert "| Licence of the weights | not stated |" in card
    assert "No error rate was measured at export." in card
    # The files that only the weights decide are those of the other export.
    for name in ("model.onnx", "model.int8.onnx", "model.pt2", "tokenizer.model", "features.json"):
        assert (out / name).read_bytes() == (exported / name).read_bytes()
    assert not export_model(model, out)
    (out / "model.onnx").write_bytes(b"damaged")

    def again(model: object) -> None:
        raise SeqkdError("again")

    monkeypatch.setattr("seqkd.deploy.export.trace", again)
    with pytest.raises(SeqkdError, match=r"^again$"):
        export_model(model, out)
    assert (out / "model.onnx").read_bytes() == b"damaged"
