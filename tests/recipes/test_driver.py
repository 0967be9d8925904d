"""The options of run.sh. None of these cases gets as far as setting up."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import torch

from seqkd.cli import stages
from seqkd.config import OLD_NAMES
from seqkd.stages import STAGES, again

ROOT = Path(__file__).parents[2]
RECIPES = sorted(ROOT.glob("egs/*/*/run.sh"))
NOT_SET_UP = {**os.environ, "SEQKD_VENV": "/nowhere", "SEQKD_PYTHON": "/no/python"}


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script, *arguments], env=NOT_SET_UP, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("script", RECIPES, ids=str)
def test_help_lists_stages_and_options(script):
    done = run(script, "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for part in ("0  corpus     get the corpus", "--stop-stage S", "--preset NAME", "--ngpu N", "key=value"):
        assert part in done.stdout
    assert re.findall(r"^  (\d)  (\w+) ", done.stdout, re.MULTILINE) == [(str(n), s) for n, s in enumerate(STAGES)]
    listed = re.search(r"^stages=\((.*)\)", (ROOT / "recipes/run.sh").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert tuple(listed.split()) == STAGES


@pytest.mark.parametrize("old", sorted(OLD_NAMES))
def test_drivers_of_old_go_to_the_one_driver(old):
    here = next(ROOT.glob(f"egs/*/{old}"))
    command = ["bash", "-c", f"cd '{here}' && ../../../recipes/{old}.sh --stage nowhere"]
    done = subprocess.run(command, env=NOT_SET_UP, capture_output=True, text=True, timeout=60)
    assert done.stderr.startswith("run.sh: --stage is 'nowhere'; expected a number from 0 to 9, or one of: corpus ")
    task = re.search(r"--task (\w+)", (here / "run.sh").read_text(encoding="utf-8"))[1]
    assert OLD_NAMES[old] == task and f"--task {task} " in (ROOT / f"recipes/{old}.sh").read_text(encoding="utf-8")


def test_the_driver_alone_says_what_it_expects(tmp_path):
    for arguments, said in (([], "expected --task TASK first"), (["--task", "asr"], "there is no conf/preset in ")):
        done = subprocess.run([ROOT / "recipes/run.sh", *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.startswith(f"run.sh: {said}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("script", RECIPES, ids=str)
def test_scripts_are_short_and_their_parts_are_there(script):
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 20
    assert (script.parent / "conf/preset/default.yaml").is_file()
    # A smoke preset needs a corpus that can be made, or had in a minute.
    other = "TEMPLATE" in str(script) or "librispeech" in str(script)
    assert other or (script.parent / "conf/preset/smoke.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--stages", "3"],
            "unknown option --stages; known: --stage --stop-stage --preset --exp --data --nj --ngpu --nodes --help "
            "key=value",
        ),
        (["--stage=3"], "unknown option --stage=3; known: "),
        (["-n", "3"], "unknown option -n; known: "),
        (["smoke"], "'smoke' is neither an option nor a key=value setting; --help lists the options"),
        ([""], "'' is neither an option nor a key=value setting; --help lists the options"),
        (["--stage"], "--stage needs a value"),
        (["--exp", ""], "--exp needs a value"),
        (["--exp", "--nj", "2"], "--exp needs a value"),
        (
            ["--stage", "three"],
            "--stage is 'three'; expected a number from 0 to 9, or one of: corpus ",
        ),
        (["--stage", "-1"], "--stage is '-1'; expected a number from 0 to 9, or one of: corpus "),
        (["--stop-stage", "1.5"], "--stop-stage is '1.5'; expected a number from 0 to 9, or one of: corpus "),
        (["--nj", "two"], "--nj is 'two'; expected a whole number"),
        (["--nj", "0"], "--nj is 0; expected at least 1"),
        (["--ngpu", "all"], "--ngpu is 'all'; expected a whole number"),
        (["--stage", "7", "--stop-stage", "3"], "--stage 7 comes after --stop-stage 3: nothing would run"),
        (["--stop-stage", "11"], "--stop-stage is '11'; expected a number from 0 to 9, or one of: corpus "),
        (
            ["--stage", "decode", "--stop-stage", "book"],
            "--stage decode comes after --stop-stage book: ",
        ),
        (["--preset", "huge"], "there is no preset huge; known: default full smoke stream study"),
    ],
    ids=str,
)
def test_a_wrong_option_is_one_sentence(arguments, said):
    done = run(ROOT / "egs/espeak_voices/ctc_kd/run.sh", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"run.sh: {said}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.fixture
def set_up(tmp_path):
    """An environment in which nothing is set up, and `seqkd` only says what it was called with."""
    (tmp_path / "bin").mkdir()
    seqkd = tmp_path / "bin" / "seqkd"
    seqkd.write_text('#!/bin/sh\necho "$@"\n')
    seqkd.chmod(0o755)
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "run.sh").write_text((ROOT / "recipes/run.sh").read_text())
    (recipes / "run.sh").chmod(0o755)
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "setup.sh").write_text("")
    (tmp_path / "local" / "cmd.sh").write_text((ROOT / "local/cmd.sh").read_text())
    preset = tmp_path / "egs/mine/asr/conf/preset"
    preset.mkdir(parents=True)
    (preset / "default.yaml").write_text("")
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}

    def called(*arguments: str) -> list[str]:
        done = subprocess.run(
            [recipes / "run.sh", "--task", "asr", *arguments],
            cwd=preset.parents[1], env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return called


COMMON = "--task asr --conf conf --preset default --exp exp/default --data data/default --nj 2 --ngpu 0"
COMMANDS = (
    "prepare corpus", "prepare", "train --group teachers", "check-teacher", "book make", "train --group students",
    "decode", "score --recipe", "report", "export",
)  # fmt: skip


def line(*stages: int) -> list[str]:
    return [f"stages {' '.join(STAGES[n] for n in stages)} -- {COMMON}"]


def test_export_only_runs_where_asked_for(set_up):
    assert set_up("--nj", "2") == line(*range(9))
    assert set_up("--nj", "2", "--stop-stage", "export") == line(*range(10))
    assert set_up("--nj", "2", "--stage", "export") == line(9)


def test_stages_by_number_and_by_name(set_up):
    by_name = set_up("--nj", "2", "--stage", "book", "--stop-stage", "decode")
    assert by_name == set_up("--nj", "2", "--stage", "4", "--stop-stage", "6") == line(4, 5, 6)


def test_settings_and_nodes_go_through(set_up):
    (command,) = set_up("--stage", "8", "title=a b", "--nodes", "3", "--nj", "2")
    assert command == f"stages report -- {COMMON} nodes=3 title=a b"


def test_a_recipes_own_script_gets_the_corpus(set_up, tmp_path):
    script = tmp_path / "egs/mine/asr/local/data.sh"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\necho mine "$@"\n')
    script.chmod(0o755)
    own = ["== stage 0: corpus", f"mine {COMMON}"]
    assert set_up("--nj", "2") == own + line(*range(1, 9))
    assert set_up("--nj", "2", "--stop-stage", "corpus") == own
    assert set_up("--nj", "2", "--stage", "prepare", "--stop-stage", "prepare") == line(1)


def test_each_stage_is_one_command_and_the_first_fault_ends_it(monkeypatch, capsys):
    called = []

    def command(argv: list[str]) -> int:
        called.append(argv)
        torch.set_num_threads(3)
        return 7 if argv[0] == "decode" else 0

    monkeypatch.setattr("seqkd.cli.main.main", command)
    threads = torch.get_num_threads()
    try:
        assert stages.main([*STAGES[:5], "--", *COMMON.split(), "title=a b"]) == 0
        assert called == [[*COMMANDS[n].split(), *COMMON.split(), "title=a b"] for n in range(5)]
        assert capsys.readouterr().out.splitlines() == [f"== stage {n}: {STAGES[n]}" for n in range(5)]
        called.clear()
        torch.set_num_threads(threads)
        assert stages.main([*STAGES[5:], "--", "x=1"]) == 7
        assert called == [[*COMMANDS[n].split(), "x=1"] for n in (5, 6)]
    finally:
        torch.set_num_threads(threads)
    with pytest.raises(SystemExit):
        stages.main(["bake"])


def test_what_to_run_again_can_be_pasted(monkeypatch):
    monkeypatch.delenv("SEQKD_COMMAND", raising=False)
    assert again("decode") == "run ./run.sh --stage decode"
    monkeypatch.setenv("SEQKD_COMMAND", r"./run.sh --preset smoke --stop-stage 8 systems=\[kd\] --stage 7 title=a\ b")
    assert again("prepare") == "run ./run.sh --stage prepare --preset smoke 'systems=[kd]' 'title=a b'"
    monkeypatch.setenv("SEQKD_COMMAND", r"./run.sh title=$'a\nb'")
    assert again("prepare") == "run ./run.sh --stage prepare"
