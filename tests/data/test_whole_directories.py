"""Directories that appear whole: whoever is killed, nothing is lost, nothing is left, and no other's is replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seqkd.errors import DataError
from seqkd.files import OURS, atomic_directory, check_name, check_ours, own_directory, remove_own

WRITER = """
import os, signal, sys
from pathlib import Path
from seqkd.files import own_directory
real, count = Path.replace, 0

def replace(self, target):
    global count
    count += 1
    if count == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)

Path.replace = replace
with own_directory(Path(sys.argv[1])) as directory:
    (directory / "new").write_text("new")
    if sys.argv[2] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def made(directory: Path, text: str) -> None:
    with own_directory(directory) as temporary:
        (temporary / "old").write_text(text)


def killed(directory: Path, at: int) -> None:
    """Have another process write a directory, and killed within the block (0) or before one of its renames."""
    done = subprocess.run([sys.executable, "-c", WRITER, str(directory), str(at)], check=False, timeout=100)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_killed_processes_leave_is_cleared(at: int, tmp_path: Path) -> None:
    made(tmp_path / "set", "x")
    made(tmp_path / "set-a", "another's")
    killed(tmp_path / "set", at)
    killed(tmp_path / "set-a", 0)
    assert len([path for path in tmp_path.iterdir() if path.name.startswith((".tmp-", ".old-"))]) == (3 if at else 2)
    assert (tmp_path / "set").is_dir() == (at != 2)  # killed between its renames, it is aside
    with pytest.raises(RuntimeError), own_directory(tmp_path / "set"):
        assert (tmp_path / "set" / "old").read_text() == "x"
        raise RuntimeError
    assert (tmp_path / "set" / "old").read_text() == "x"  # put back
    (left,) = (path for path in tmp_path.iterdir() if path.name.startswith("."))
    assert left.name.startswith(".tmp-set-a-")  # of a directory of another name
    made(tmp_path / "set-a", "y")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "set-a"]


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    wait = (
        "import sys\nfrom pathlib import Path\nfrom seqkd.files import atomic_directory\n"
        "with atomic_directory(Path(sys.argv[1])) as d:\n (d / 'a').write_text('a')\n print(flush=True)\n input()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", wait, str(tmp_path / "set")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    other.stdout.readline()
    made(tmp_path / "set", "x")
    assert len(list(tmp_path.glob(".tmp-set-*"))) == 1
    other.communicate("\n", timeout=100)
    assert other.returncode == 0
    assert (tmp_path / "set" / "a").read_text() == "a" and not list(tmp_path.glob(".*"))


def test_a_rename_that_fails_brings_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "set", "x")
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.name.startswith(".tmp-"):
            raise OSError("no")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match="no"):
        made(tmp_path / "set", "y")
    assert (tmp_path / "set" / "old").read_text() == "x"


def test_only_what_is_ours_is_replaced(tmp_path: Path) -> None:
    made(tmp_path / "set", "x")
    with atomic_directory(tmp_path / "set") as temporary:  # by one who knows of no mark
        (temporary / "src").write_text("y")
    made(tmp_path / "set", "z")
    for name, content in {"train": "mine.wav", "dev": "wav.scp"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / content).write_text("mine")
        with pytest.raises(DataError, match=f"{name} is there, and was not written by seqkd") as said:
            made(tmp_path / name, "x")
        with pytest.raises(DataError):
            remove_own(tmp_path / name)
        assert (tmp_path / name / content).read_text() == "mine"
        command = str(said.value).rpartition("move it away: ")[2]
        assert os.system(command) == 0  # as pasted into a shell
        made(tmp_path / name, "x")
    (tmp_path / "empty").mkdir()
    made(tmp_path / "empty", "x")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="file is a file, but a directory is to be written there"):
        made(tmp_path / "file", "x")
    (tmp_path / "link").symlink_to(tmp_path / "train.mine")
    with pytest.raises(DataError, match=r"train\.mine is there, and was not written by seqkd"):
        check_ours(tmp_path / "link")
    remove_own(tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_sets_of_earlier_versions_are_known_by_the_record_beside_them(tmp_path: Path) -> None:
    (tmp_path / "train" / "feats").mkdir(parents=True)
    for name in ("wav.scp", "text", "utt2spk", "spk2utt", ".content.json"):
        (tmp_path / "train" / name).write_text("x")
    with pytest.raises(DataError):
        check_ours(tmp_path / "train")
    (tmp_path / "origin.json").write_text("{}")
    check_ours(tmp_path / "train")
    (tmp_path / "train" / "1.wav").write_text("x")
    with pytest.raises(DataError, match=r"'1\.wav' is in it"):
        check_ours(tmp_path / "train")
    (tmp_path / "train" / OURS).write_text("")
    check_ours(tmp_path / "train")


def test_names_that_are_not_utf8_are_said(tmp_path: Path) -> None:
    check_name(tmp_path / "café.wav")
    with pytest.raises(DataError, match=r"caf\\xe9/a\.wav: byte 0xe9 of its name is not UTF-8; rename it\.$"):
        check_name(Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9")) / "a.wav")
