"""``kill -9`` while a stage writes: what the next try leaves is what an undisturbed one would have left.

Training and books have tests of their own (``tests/training/test_resume.py``, ``tests/knowledge/test_faults.py``), and
so have exports (``tests/deploy/test_exporting_runs.py``).
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from seqkd.cli.main import main
from tests.runs import arguments, train_here

STAGES = {"decode": ["decode"], "score": ["score", "--recipe"], "report": ["report"]}


def options(exp: Path, data: Path) -> list[str]:
    return arguments(exp, data, "systems=[student]", "report.replicates=100", "export.licence=CC0-1.0")


@pytest.fixture(scope="module")
def undisturbed(tone_exp: Path, tones: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of an experiment before each stage, and at the end."""
    root = tmp_path_factory.mktemp("killed")
    exp = root / "exp"  # reports name the directory
    shutil.copytree(tone_exp, exp)
    train_here(exp, tones, "student")
    copies = {}
    for stage, command in STAGES.items():
        copies[stage] = Path(shutil.copytree(exp, root / f"before-{stage}"))
        assert main([*command, *options(exp, tones)]) == 0
    return {**copies, "done": exp}


def killed_at(write: int, argv: list[str]) -> bool:
    """Run a command in a process that is killed when it would give a file its name for this time (from 0)."""
    pid = os.fork()
    if pid == 0:
        left = write
        replace = Path.replace

        def counting(self: Path, target: Path) -> Path:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return replace(self, target)

        Path.replace = counting
        os._exit(main(argv))
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def results(exp: Path) -> dict[str, bytes]:
    """What lasts, but for figures and for what tells times."""
    return {
        str(path.relative_to(exp)): path.read_bytes()
        for path in sorted(exp.rglob("*"))
        if path.suffix in (".safetensors", ".trn", ".jsonl") or path.name in ("text", "score.json")
        if path.is_file() and not path.name.startswith(".tmp-")  # what was being written
    }


@pytest.mark.parametrize("write", [0, 1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_was_killed_is_made_again(
    stage: str, write: int, undisturbed: dict[str, Path], tones: Path, tmp_path: Path
) -> None:
    expected = results(undisturbed["done"])
    exp = tmp_path / "exp"
    shutil.copytree(undisturbed[stage], exp)
    began = results(exp)
    command = STAGES[stage]
    if not killed_at(write, [*command, *options(exp, tones)]):
        assert write > 0  # a stage that writes fewer files
        return
    left = results(exp)
    assert {name: left.get(name) for name in began} == began  # nothing that was finished is lost
    for following in list(STAGES)[list(STAGES).index(stage) :]:
        assert main([*STAGES[following], *options(exp, tones)]) == 0
    assert results(exp) == expected
    assert (exp / "RESULTS.md").is_file()
