"""The options of run.sh. None of these cases gets as far as setting up."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

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
    for part in ("0  get the corpus", "--stop-stage M", "--preset NAME", "--ngpu N", "key=value"):
        assert part in done.stdout
    last = re.search(r"last_stage=(\d+)", (ROOT / "recipes" / f"{script.parent.name}.sh").read_text())[1]
    assert all(re.search(rf"\b{number}  \w", done.stdout) for number in range(int(last) + 1))


@pytest.mark.parametrize("script", RECIPES, ids=str)
def test_scripts_are_short_and_their_parts_are_there(script):
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 20
    for part in ("local/data.sh", "conf/preset/default.yaml"):
        assert (script.parent / part).is_file()
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
        (["--stage", "three"], "--stage is 'three'; expected a whole number"),
        (["--stage", "-1"], "--stage is '-1'; expected a whole number"),
        (["--stop-stage", "1.5"], "--stop-stage is '1.5'; expected a whole number"),
        (["--nj", "two"], "--nj is 'two'; expected a whole number"),
        (["--nj", "0"], "--nj is 0; expected at least 1"),
        (["--ngpu", "all"], "--ngpu is 'all'; expected a whole number"),
        (["--stage", "7", "--stop-stage", "3"], "--stage 7 comes after --stop-stage 3: nothing would run"),
        (["--stop-stage", "11"], "--stop-stage is 11; the last stage is 10"),
        (["--preset", "huge"], "there is no preset huge; known: default full smoke study"),
    ],
    ids=str,
)
def test_a_wrong_option_is_one_sentence(arguments, said):
    done = run(ROOT / "egs/espeak_voices/ctc_kd/run.sh", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"run.sh: {said}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
