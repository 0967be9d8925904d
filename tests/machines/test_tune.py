"""Variants of systems, ranked by dev."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from seqkd.cli.main import main
from seqkd.models.storage import model_hash
from tests.runs import arguments


@pytest.mark.recipe
@pytest.mark.timeout(300)
def test_variants_are_trained_and_ranked(tone_exp: Path, tones: Path, tmp_path: Path) -> None:
    exp, variants = tmp_path / "exp", tmp_path / "variants.yaml"
    shutil.copytree(tone_exp, exp)
    variants.write_text(
        yaml.safe_dump(
            {
                "short": ["system=kd", "student.training.updates=2"],
                "long": ["system=kd", "student.training.updates=30"],
                "its_teacher": ["system=teacher", "teacher.training.updates=2"],
            }
        )
    )
    told = [*arguments(exp, tones, "book=live"), "--variants", str(variants), "--out", str(tmp_path / "tried.md")]
    assert main(["tune", *told]) == 0
    runs = {
        name: exp / "tune" / name / system / "seed0"
        for name, system in (("short", "kd"), ("long", "kd"), ("its_teacher", "teacher"))
    }
    found = {name: json.loads((run / "summary.json").read_text()) for name, run in runs.items()}
    assert {name: one["steps"] for name, one in found.items()} == {"short": 2, "long": 30, "its_teacher": 2}
    ranked = [line.split(" | ")[0][2:] for line in (tmp_path / "tried.md").read_text().splitlines()[6:]]
    assert ranked == sorted(found, key=lambda name: (found[name]["best_dev_wer"], name))
    for name in ("short", "long"):
        taught = yaml.safe_load((runs[name] / "config.yaml").read_text())["teacher"]
        assert taught == model_hash(exp / "teacher" / "seed0" / "model")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- system=kd\n", ": expected a mapping of names to lists of key=value settings"),
        ("", ": expected a mapping of names to lists of key=value settings"),
        ("a: [3]\n", ": expected a mapping of names to lists of key=value settings"),
        ("1: [system=kd]\n", ": expected a mapping of names to lists of key=value settings"),
        ("a: [system=kd\n", " is no YAML (while parsing a flow sequence "),
        (None, " cannot be read (No such file or directory); name a YAML file by --variants"),
    ],
)
def test_variants_that_are_none_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    variants = tmp_path / "variants.yaml"
    if content is not None:
        variants.write_text(content)
    assert main(["tune", *arguments(tmp_path / "exp", tmp_path), "--variants", str(variants)]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"seqkd tune: {variants}{message}")
