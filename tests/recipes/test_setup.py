"""local/setup.sh, with stand-ins for Python and pip so that nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
# A Python that can do what setup.sh asks of one.
case "$1 $2" in
  "-c "*) echo {version} ;;
  "-m venv") [ {has_venv} = 0 ] || exit 1; mkdir -p "$3/bin"; cp "{pip}" "$3/bin/pip" ;;
esac
"""
PIP = """#!/bin/sh
echo "$@" >>"$(dirname "$0")/pip.log"
exit $(cat "{status}")
"""
UV = """#!/bin/sh
# `uv venv` makes an environment; `uv pip` ends with the status given.
case "$1" in
  venv) for place; do :; done; mkdir -p "$place/bin"; cp "{pip}" "$place/bin/pip"; cp "{python}" "$place/bin/python" ;;
  pip) echo "$@" >>"{log}"; exit {status} ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A copy of what setup.sh reads, in a folder with a space in its name."""
    root = tmp_path / "a checkout"
    for folder in ("local", "seqkd/ctc/cpu"):
        (root / folder).mkdir(parents=True)
    for name in ("local/setup.sh", "local/constraints.txt", "pyproject.toml", "setup.py", "seqkd/ctc/cpu/ctc.cpp"):
        shutil.copy(ROOT / name, root / name)
    return root


def stand_in(folder: Path, *, version: str = "3.12", has_venv: bool = True) -> Path:
    pip, status, python = folder / "pip", folder / "status", folder / "python"
    status.write_text("0")
    pip.write_text(PIP.format(status=status))
    python.write_text(PYTHON.format(pip=pip, version=version, has_venv=int(not has_venv)))
    for script in (pip, python):
        script.chmod(0o755)
    return python


def source(root: Path, path: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Source setup.sh from elsewhere and print the first folder of PATH; this machine's uv is not found."""
    path = path or ":".join(f for f in os.environ["PATH"].split(":") if not Path(f, "uv").exists())
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEQKD_")}
    command = f'. "{root}/local/setup.sh"; echo "first: ${{PATH%%:*}}"'
    return subprocess.run(
        [shutil.which("bash"), "-c", command],
        env={**kept, **environment, "PATH": path},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_installs_once_and_then_answers_at_once(checkout, tmp_path):
    python = str(stand_in(tmp_path))
    first = source(checkout, SEQKD_PYTHON=python)
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"first: {checkout}/.venv/bin\n"
    assert "setup: installing into" in first.stderr
    log = checkout / ".venv/bin/pip.log"
    assert f"-c {checkout}/local/constraints.txt -e {checkout}[recipes,synth,dev]" in log.read_text()
    began = time.monotonic()
    second = source(checkout, SEQKD_PYTHON=python)
    assert time.monotonic() - began < 2
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")
    assert len(log.read_text().splitlines()) == 1
    # Other versions to install, and another source of the compiled part to build.
    for calls, changed in enumerate(("local/constraints.txt", "seqkd/ctc/cpu/ctc.cpp"), 2):
        with (checkout / changed).open("a") as file:
            file.write("another==1.0\n")
        assert source(checkout, SEQKD_PYTHON=python).returncode == 0
        assert len(log.read_text().splitlines()) == calls


@pytest.mark.parametrize("place", ["absolute", "relative"])
def test_the_environment_can_be_elsewhere(checkout, tmp_path, place):
    elsewhere = tmp_path / "my env" if place == "absolute" else Path("my env")
    done = source(checkout, SEQKD_PYTHON=str(stand_in(tmp_path)), SEQKD_VENV=str(elsewhere))
    assert done.returncode == 0, done.stderr
    # A relative place is one in the checkout, wherever the caller stands.
    assert done.stdout == f"first: {checkout / elsewhere}/bin\n"
    assert not (checkout / ".venv").exists()


def test_a_failed_installation_is_tried_again(checkout, tmp_path):
    python = str(stand_in(tmp_path))
    (tmp_path / "status").write_text("1")
    failed = source(checkout, SEQKD_PYTHON=python)
    assert failed.returncode == 1
    assert "setup: pip could not install the packages; run it again when the reason above is removed" in failed.stderr
    (tmp_path / "status").write_text("0")
    assert source(checkout, SEQKD_PYTHON=python).returncode == 0


def test_without_a_python(checkout, tmp_path):
    for tool in ("dirname", "cat", "cksum"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    done = source(checkout, path=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "setup: no Python 3.10 to 3.14 on the PATH; install one, or set SEQKD_PYTHON\n"


def test_with_a_python_that_does_not_fit(checkout, tmp_path):
    python = str(stand_in(tmp_path, version="3.9"))
    done = source(checkout, SEQKD_PYTHON=python)
    assert done.returncode == 1
    assert done.stderr == f"setup: SEQKD_PYTHON is {python}, which is not a Python 3.10 to 3.14\n"


def test_with_a_python_without_venv(checkout, tmp_path):
    done = source(checkout, SEQKD_PYTHON=str(stand_in(tmp_path, has_venv=False)))
    assert done.returncode == 1
    assert "cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" in done.stderr


def test_with_another_python_than_the_environment_has(checkout, tmp_path):
    for version in ("3.11", "3.12"):
        (tmp_path / version).mkdir()
    has, wanted = (stand_in(tmp_path / version, version=version) for version in ("3.11", "3.12"))
    venv = checkout / ".venv"
    (venv / "bin").mkdir(parents=True)
    shutil.copy(has, venv / "bin/python")
    done = source(checkout, SEQKD_PYTHON=str(wanted))
    assert done.returncode == 1
    assert done.stderr == (
        f"setup: {venv} has Python 3.11, SEQKD_PYTHON is 3.12; remove it, or set SEQKD_VENV to another place\n"
    )


@pytest.mark.parametrize("status", [0, 1])
def test_uv_installs_where_it_is_and_pip_where_it_fails(checkout, tmp_path, status):
    python, log = stand_in(tmp_path), tmp_path / "uv.log"
    uv = tmp_path / "tools/uv"
    uv.parent.mkdir()
    uv.write_text(UV.format(pip=tmp_path / "pip", python=python, log=log, status=status))
    uv.chmod(0o755)
    done = source(checkout, path=f"{uv.parent}:/usr/bin:/bin", SEQKD_PYTHON=str(python))
    assert done.returncode == 0, done.stderr
    what = f"-c {checkout}/local/constraints.txt -e {checkout}[recipes,synth,dev]"
    assert log.read_text() == f"pip install --quiet --python {checkout}/.venv/bin/python {what}\n"
    pip = checkout / ".venv/bin/pip.log"
    assert pip.exists() == (status == 1)
    if status:
        assert "setup: uv could not install the packages; pip tries" in done.stderr
        assert what in pip.read_text()


def test_this_environment_is_up_to_date_within_two_seconds():
    stamp = Path(os.environ.get("SEQKD_VENV", ROOT / ".venv")) / "seqkd-stamp"
    if not stamp.is_file():
        pytest.skip("this environment was not made by local/setup.sh")
    began = time.monotonic()
    done = subprocess.run(["bash", "-c", ". local/setup.sh"], cwd=ROOT, capture_output=True, text=True, timeout=600)
    if "installing" in done.stderr:
        pytest.skip("pyproject.toml or constraints.txt has just changed")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 2
