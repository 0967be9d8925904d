"""What README and docs/ show runs as shown, and what they name is there."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from seqkd.cli.main import COMMANDS, main
from seqkd.cli.settings import parse, parser
from seqkd.config import TASKS, compose

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGE_OF = {"asr": "speech", "translation": "translation", "shots": "songs_to_shots", "classification": "classification"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


PYTHON = [(page, number) for page in PAGES for number in range(len(blocks(page, "python")))]


@pytest.mark.parametrize(("page", "number"), PYTHON, ids=[f"{page.stem}-{number}" for page, number in PYTHON])
def test_python_runs(page, number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks(page, "python")[number], page.name, "exec"), {"__name__": "__main__"})
    if page.stem == "losses" and number == 0:
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 3
        assert all(list(eval(line)) == ["ctc", "kd", "consistency"] for line in lines)
    if page.stem == "external_teachers":
        from seqkd.teachers.external.audio import FrameTeacher, Speech
        from seqkd.teachers.external.opening import open_teacher

        teacher = open_teacher(tmp_path / "teacher_of_mine")
        assert isinstance(teacher, FrameTeacher)
        assert teacher.log_probs([Speech("utt1", None, None)])[0].shape == (50, 4)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "pycon")], ids=lambda page: page.stem)
def test_python_prints_what_is_shown(page):
    for block in blocks(page, "pycon"):
        test = doctest.DocTestParser().get_doctest(block, {}, page.name, None, 0)
        assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.parametrize("page", ["README.md", "docs/scorer.md"])
def test_score_command_runs(page, tmp_path, monkeypatch, capsys):
    (command,) = re.findall(r"^seqkd (score .*)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ref.txt").write_text("u1 turn the light on\nu2 stop\n")
    (tmp_path / "a.txt").write_text("u1 turn light on\nu2 stop\n")
    (tmp_path / "b.trn").write_text("turn the light on (u1)\nstop (u2)\n")
    (tmp_path / "utt2spk").write_text("u1 anna\nu2 bert\n")
    assert main(shlex.split(command)) == 0
    assert "conskd" in capsys.readouterr().out
    assert (tmp_path / "score.html").is_file()
    assert (tmp_path / "score.json").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        assert target.startswith("https:") or (page.parent / target).exists(), target
    for command in re.findall(r"`seqkd ([a-z-]+)", text):
        assert command in COMMANDS, command
    for name in re.findall(r"`(?:\./)?((?:egs|local|seqkd|tests|examples)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def test_first_commands_exist():
    for command in ("egs/espeak_voices/ctc_kd/run.sh", "local/test.sh"):
        assert f"./{command} " in README
        assert (ROOT / command).stat().st_mode & 0o111


@pytest.mark.parametrize("recipe", sorted(path.parent for path in ROOT.glob("egs/*/*/run.sh")), ids=str)
def test_recipes_are_listed(recipe):
    assert f"`{recipe.relative_to(ROOT)}`" in README


@pytest.mark.parametrize("task", TASKS)
def test_listed_systems_have_their_controls(task):
    """A page shows what a task began with; ``seqkd systems`` has all."""
    args = parse(parser("test", ""), ["--task", task])
    text = (ROOT / "docs" / f"{PAGE_OF[task]}.md").read_text(encoding="utf-8")
    rows = {}
    for names, control in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| [^|]+ \| ?([^|]*)\|$", text, re.MULTILINE):
        listed, controls = re.findall(r"`(\w+)`", names), re.findall(r"`(\w+)`", control) or [None]
        rows |= dict(zip(listed, controls if len(controls) > 1 else controls * len(listed), strict=True))
    assert len(rows) > 5
    assert rows == {name: compose(args, f"system={name}").system.control for name in rows}


def test_readme_is_short_and_has_the_results():
    assert len(README.splitlines()) <= 150
    block = README[README.index("<!-- results:default -->") : README.index("<!-- /results:default -->")]
    assert block.count("\n|") > 4


def test_the_page_of_results_is_up_to_date():
    spec = importlib.util.spec_from_file_location("results_page", ROOT / "local/results_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.OUT.read_text(encoding="utf-8") == module.page(), "run local/results_page.py"


def test_the_site_is_built(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for page in ("getting_started/index.html", "egs/espeak_voices/ctc_kd/RESULTS/index.html", "images/overview.svg"):
        assert (tmp_path / page).is_file()
    assert "cons_kd_loss" in (tmp_path / "api/index.html").read_text(encoding="utf-8")


def test_the_picture_of_the_rooms_is_the_contract() -> None:
    import runpy

    drawn = runpy.run_path(str(ROOT / "local" / "rooms_figure.py"))["picture"]()
    assert (ROOT / "docs" / "images" / "rooms.svg").read_text(encoding="utf-8") == drawn
