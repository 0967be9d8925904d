"""What several tests of scoring share."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from seqkd import native

SOURCES = Path(native.__file__).parent / "scoring"


@pytest.fixture(scope="session")
def small_limits(tmp_path_factory):
    """The aligner compiled so that short utterances are long to it: narrow bands, small strips, nothing kept."""
    if (compiler := shutil.which("g++")) is None:
        pytest.skip("there is no g++")
    made = tmp_path_factory.mktemp("small") / "small.so"
    flags = ["-std=gnu++17", "-O1", "-shared", "-fPIC", "-DSEQKD_SMALL_LIMITS", "-fsanitize=undefined"]
    flags += ["-fno-sanitize-recover", "-static-libubsan", "-o", str(made)]
    done = subprocess.run([compiler, *flags, *map(str, sorted(SOURCES.glob("*.cpp")))], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"g++ could not build it: {done.stderr.splitlines()[-1:]}")
    return ctypes.CDLL(str(made))
