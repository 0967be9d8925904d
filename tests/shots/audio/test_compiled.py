"""librosa's kernels are compiled by one process at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_WATCH = """
import os, sys, filelock
held = []
class Watched(filelock.FileLock):
    def acquire(self, *args, **kwargs):
        assert "librosa.beat" not in sys.modules and "numba" not in sys.modules, "imported before the lock"
        held.append(os.environ["NUMBA_CACHE_DIR"])
        return super().acquire(*args, **kwargs)
    def release(self, *args, **kwargs):
        if held and "librosa.beat" not in sys.modules: held.append("released too early")
        return super().release(*args, **kwargs)
filelock.FileLock = Watched
from seqkd.shots.audio.compiled import load_librosa
assert load_librosa() is load_librosa()
print(held, "librosa.beat" in sys.modules)
"""


def test_kernels_are_compiled_under_a_lock() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run([sys.executable, "-c", _WATCH], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    held, imported = done.stdout.rsplit(maxsplit=1)
    assert imported == "True" and "too early" not in held and held.count("numba") == 1


_COUNT = """
import numba.core.compiler as compiler
seen, compile_extra = [], compiler.compile_extra
def watched(typing, target, function, *rest, **options):
    seen.append(function.__module__)
    return compile_extra(typing, target, function, *rest, **options)
compiler.compile_extra = watched
from seqkd.shots.audio.compiled import load_librosa
load_librosa()
print(sum(name.startswith("librosa") for name in seen))
"""


def test_what_one_process_compiles_the_next_one_finds() -> None:
    subprocess.run([sys.executable, "-c", _COUNT], check=True, capture_output=True)
    assert subprocess.run([sys.executable, "-c", _COUNT], check=True, capture_output=True, text=True).stdout == "0\n"


def test_a_cache_that_cannot_be_written_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code = "from seqkd.shots.audio.compiled import _cache_directory; print(_cache_directory())"
    environment = os.environ | {"SEQKD_CACHE": str(tmp_path / "file"), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert Path(done.stdout.strip()).parent == tmp_path, done.stderr
