"""Files that appear whole: whoever is killed or fails, nothing is lost, and no more than one leftover stays."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from seqkd.files import atomic_path, write_text

WRITER = """
import os, signal, sys
from pathlib import Path
from seqkd.files import atomic_path
with atomic_path(Path(sys.argv[1])) as path:
    path.write_text("a long text, of which half is written " * 100)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_leaves_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    write_text(path, "old")
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", WRITER, str(path)], check=False, timeout=100)
        assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 2  # one leftover of two kills
    write_text(path, "new")
    assert names(tmp_path) == ["model.json"]
    assert path.read_text() == "new"


def test_two_at_work_on_one_path_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with atomic_path(path) as first, atomic_path(path) as second:
        assert first != second
        assert {first.suffix, second.suffix} == {".wav"}
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # whoever ends last
    assert names(tmp_path) == ["a.wav"]


def test_a_name_is_free_again_after_use_and_after_failure(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with pytest.raises(RuntimeError), atomic_path(path) as first:
        first.write_text("half")
        raise RuntimeError
    assert names(tmp_path) == []
    with atomic_path(path) as second:
        assert second == first
        assert second.read_bytes() == b""
        second.write_text("whole")
    with atomic_path(path) as third:  # the file itself is in place, and is not touched before the end
        assert path.read_text() == "whole"
        third.write_text("anew")
    assert path.read_text() == "anew"


def test_no_links_are_followed_and_names_may_be_long(tmp_path: Path) -> None:
    path, victim = tmp_path / ("é" * 120 + ".json"), tmp_path / "victim"
    victim.write_text("mine")
    with atomic_path(path) as temporary:
        pass
    temporary.symlink_to(victim)
    write_text(path, "text")
    assert path.read_text() == "text"
    assert victim.read_text() == "mine"


def test_what_is_written_is_as_readable_as_other_files(tmp_path: Path) -> None:
    write_text(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    ours, plain = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain"))
    assert ours == plain
