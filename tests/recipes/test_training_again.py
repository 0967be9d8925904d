"""``seqkd train`` a second time: it starts processes only for what is not done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seqkd.cli.job import Job
from seqkd.cli.main import main
from tests.runs import arguments, train_here

SYSTEMS = ["student", "kd"]


@pytest.fixture(scope="module")
def trained(tone_exp: Path, tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment directory with a teacher and two students."""
    exp = tmp_path_factory.mktemp("again") / "exp"
    shutil.copytree(tone_exp, exp)
    for system in SYSTEMS:
        train_here(exp, tones, system)
    return exp


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of jobs, in place of processes."""
    names: list[str] = []

    def note(jobs: list[Job], limit: int, later: int) -> None:
        names.extend(job.name for job in jobs)

    monkeypatch.setattr("seqkd.cli.train.run_jobs", note)
    return names


def train(exp: Path, data: Path, *settings: str) -> int:
    return main(["train", "--group", "students", *arguments(exp, data, "seeds=2", f"systems={SYSTEMS}", *settings)])


def test_only_for_what_is_not_done(trained, tones, started, caplog):
    caplog.set_level("INFO", "seqkd")
    assert train(trained, tones) == 0
    assert started == ["student seed 1", "kd seed 1"]
    assert [record.getMessage() for record in caplog.records if "is done" in record.getMessage()] == [
        f"{trained / system / 'seed0'} is done" for system in SYSTEMS
    ]


def test_audio_that_was_only_touched_is_the_same_audio(trained, tones, started):
    for path in (tones / "audio").glob("*.wav"):
        os.utime(path)
    assert main(["prepare", *arguments(trained, tones)]) == 0
    before = {path: path.stat().st_ino for path in trained.rglob("*")}
    assert train(trained, tones) == 0
    assert started == ["student seed 1", "kd seed 1"]
    assert {path: path.stat().st_ino for path in trained.rglob("*")} == before


def test_what_other_settings_made_is_not_done(trained, tones, started):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    assert train(trained, tones, "student.training.updates=13") == 0
    assert started == ["student seed 0", "student seed 1", "kd seed 0", "kd seed 1"]
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_what_cannot_be_told_is_left_to_its_own_process(trained, tones, started):
    """So the sentence names the run, and is in its log."""
    aside = (trained / "teacher").rename(trained / "aside")
    try:
        assert train(trained, tones) == 0
    finally:
        aside.rename(trained / "teacher")
    assert started == ["student seed 1", "kd seed 0", "kd seed 1"]


def test_the_first_import_of_what_is_heavy_is_not_searched_for_garbage():
    """In a process of its own: here, torch has long been imported."""
    program = (
        "import gc, sys\n"
        "from seqkd.cli.settings import parse, parser\n"
        "from seqkd.config import compose\n"
        "args = parse(parser('test', ''), [])\n"
        "assert 'torch' not in sys.modules and not gc.get_freeze_count()\n"
        "runs = []\n"
        "gc.callbacks.append(lambda phase, about: runs.append('torch' in sys.modules and not gc.get_freeze_count()))\n"
        "compose(args)\n"
        "frozen = gc.get_freeze_count()\n"
        "assert gc.isenabled() and frozen > 100_000 and not any(runs)\n"
        "compose(args)\n"
        "assert gc.isenabled() and gc.get_freeze_count() <= frozen\n"  # some have been dropped since
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
