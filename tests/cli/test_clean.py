"""Runs that were moved aside are listed, and removed only when that is asked for."""

import shlex
from pathlib import Path

import pytest

from seqkd.cli.main import main


def test_what_was_moved_aside_is_removed_by_the_command_that_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exp = tmp_path / "an exp"
    for run in ("kd/seed0", "kd/seed0.1", "kd/seed1", "kd/seed1.2"):
        (exp / run).mkdir(parents=True)
        (exp / run / "summary.json").write_text("{}")
    for book in ("student", "student.1"):
        (exp / "book" / book).mkdir(parents=True)
        (exp / "book" / book / "manifest.json").write_text("{}")
    (exp / "kd" / "notes.2").mkdir()  # the user's own
    assert main(["clean", "--exp", str(exp)]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0] for line in listed[:3]] == [
        f"{exp}/{path}" for path in ("book/student.1", "kd/seed0.1", "kd/seed1.2")
    ]
    assert sorted(path.name for path in (exp / "kd").iterdir()) == ["notes.2", "seed0", "seed0.1", "seed1", "seed1.2"]
    seqkd, *command = shlex.split(listed[-1])
    assert seqkd == "seqkd" and main(command) == 0
    assert sorted(path.name for path in (exp / "kd").iterdir()) == ["notes.2", "seed0", "seed1"]
    assert main(["clean", "--exp", str(exp)]) == 0
    assert "holds nothing that was moved aside" in capsys.readouterr().out


def test_no_such_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean", "--exp", str(tmp_path / "exp")]) == 1
    assert "expected an experiment directory" in capsys.readouterr().err
