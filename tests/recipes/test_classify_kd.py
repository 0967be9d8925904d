"""The smoke preset of the command words, from nothing to its numbers, and on to a file that is classified."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seqkd.stages import STAGES

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "egs" / "espeak_keywords" / "classify_kd" / "run.sh"

pytestmark = pytest.mark.recipe


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        SCRIPT,
        "--preset",
        "smoke",
        "--exp",
        folder / "exp of mine",
        "--data",
        folder / "data of mine",
        *arguments,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3600)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("keywords")
    done = run(folder, "--stop-stage", "export")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_every_stage_runs_and_the_numbers_are_reached(finished: tuple[Path, str]) -> None:
    folder, output = finished
    headings = re.findall(r"^== stage (\d+): (.*)$", output, re.MULTILINE)
    assert headings == [(str(number), title) for number, title in enumerate(STAGES)]
    reached = re.findall(r"^(\w+) on test: [\d.]+ % Accuracy, must be at least \d+ %: reached$", output, re.MULTILINE)
    assert sorted(reached) == ["kd", "student", "teacher"]
    results = (folder / "exp of mine" / "RESULTS.md").read_text(encoding="utf-8")
    figures = re.findall(r"!\[.+\]\((.+\.png)\)", results)
    assert len(figures) >= 4
    assert all((folder / "exp of mine" / figure).stat().st_size > 3000 for figure in figures)
    assert "| Student, no teacher |" not in results and "| Student |" in results


def test_no_voice_is_in_two_parts(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    groups = {
        name: {line.split()[1] for line in (folder / "data of mine" / name / "group").read_text().splitlines()}
        for name in ("train", "dev", "test")
    }
    assert len(groups["train"]) >= 40 and len(groups["test"]) >= 30
    assert not groups["train"] & groups["test"] | groups["train"] & groups["dev"] | groups["dev"] & groups["test"]


def test_a_second_run_trains_nothing(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    files = [path for path in (folder / "exp of mine").rglob("*") if path.suffix in (".safetensors", ".json")]
    before = {path: path.stat().st_mtime_ns for path in files}
    again = run(folder, "--stop-stage", "export")
    assert again.returncode == 0, again.stdout + again.stderr
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_the_exported_student_classifies_a_file(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    test = folder / "data of mine" / "test"
    ids = [line.split(maxsplit=1) for line in (test / "wav.scp").read_text().splitlines()]
    labels = dict(line.split() for line in (test / "label").read_text().splitlines())
    files = [test / path for _, path in ids[:40]]
    command = [sys.executable, "-m", "seqkd.cli.main", "classify", *files, "--format", "json"]
    done = subprocess.run(
        [*command, "--model", folder / "exp of mine" / "student" / "export"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line)["classes"][0]["class"] for line in done.stdout.splitlines()]
    right = sum(one == labels[key] for one, (key, _) in zip(found, ids, strict=False))
    assert len(found) == 40 and right > 20  # ten words: by chance four
