"""What README shows runs as shown, and what it names is there."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest

from seqkd.cli.main import main
from seqkd.cli.settings import parse, parser
from seqkd.config import TASKS, compose

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_python_blocks_run(capsys):
    block, *_ = blocks("python")
    exec(compile(block, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(list(eval(line)) == ["ctc", "kd", "consistency"] for line in lines)


def test_what_another_toolkit_writes_is_a_teacher(tmp_path, monkeypatch):
    from seqkd.teachers.external.audio import FrameTeacher, Speech
    from seqkd.teachers.external.opening import open_teacher

    *_, block = blocks("python")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    teacher = open_teacher(tmp_path / "teacher_of_mine")
    assert isinstance(teacher, FrameTeacher)
    assert teacher.log_probs([Speech("utt1", None, None)])[0].shape == (50, 4)


def test_pycon_blocks_show_what_comes_out():
    (block,) = blocks("pycon")
    test = doctest.DocTestParser().get_doctest(block, {}, "README.md", None, 0)
    assert doctest.DocTestRunner().run(test).failed == 0


def test_score_command_runs(tmp_path, monkeypatch, capsys):
    (command,) = re.findall(r"^seqkd (score .*)$", README, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ref.txt").write_text("u1 turn the light on\nu2 stop\n")
    (tmp_path / "a.txt").write_text("u1 turn light on\nu2 stop\n")
    (tmp_path / "b.trn").write_text("turn the light on (u1)\nstop (u2)\n")
    (tmp_path / "utt2spk").write_text("u1 anna\nu2 bert\n")
    assert main(shlex.split(command)) == 0
    assert "conskd" in capsys.readouterr().out
    assert (tmp_path / "score.html").is_file()
    assert (tmp_path / "score.json").is_file()


def test_first_commands_exist():
    for command in ("egs/espeak_voices/ctc_kd/run.sh", "local/test.sh"):
        assert f"./{command} " in README
        assert (ROOT / command).stat().st_mode & 0o111


@pytest.mark.parametrize("recipe", sorted(path.parent for path in ROOT.glob("egs/*/*/run.sh")), ids=str)
def test_recipes_are_listed(recipe):
    assert f"`{recipe.relative_to(ROOT)}`" in README


@pytest.mark.parametrize("task", TASKS)
def test_listed_systems_have_their_controls(task):
    """README shows what a task began with; ``seqkd systems`` has all."""
    args = parse(parser("test", ""), ["--task", task])
    _, _, section = README.partition(f"\n### {task}: ")
    rows = {}
    for names, control in re.findall(
        r"^\| (`\w+`(?:, `\w+`)*) \| [^|]+ \| ?([^|]*)\|$", section.partition("\n##")[0], re.MULTILINE
    ):
        listed, controls = re.findall(r"`(\w+)`", names), re.findall(r"`(\w+)`", control) or [None]
        rows |= dict(zip(listed, controls if len(controls) > 1 else controls * len(listed), strict=True))
    assert len(rows) > 5
    assert rows == {name: compose(args, f"system={name}").system.control for name in rows}


def test_placeholder_of_the_results_is_there():
    assert README.index("<!-- results:default -->") < README.index("<!-- /results:default -->")
