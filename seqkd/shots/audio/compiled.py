"""librosa, whose compiled kernels only one process at a time may make."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock


@functools.cache
def load_librosa() -> ModuleType:
    """Import librosa with all that is used of it, and return it.

    On its first import librosa compiles kernels with numba and keeps them on disk. Two processes that do so at once can
    leave halves that do not fit, and every process that loads them dies of a segmentation fault
    (https://github.com/numba/numba/issues/10128). Hence the lock, and a cache that no other program writes.
    """
    from filelock import FileLock

    cache = _cache_directory()
    if "numba" not in sys.modules:  # it reads the variable once
        os.environ.setdefault("NUMBA_CACHE_DIR", str(cache))
    with FileLock(cache / "librosa.lock"):
        import numba

        # librosa 0.11 keeps all of them but one, which costs every process two seconds.
        with mock.patch.object(numba, "guvectorize", functools.partial(_kept, numba.guvectorize)):
            import librosa
            import librosa.beat
            import librosa.feature
            import librosa.filters
            import librosa.onset
    return librosa


def _kept(guvectorize: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return guvectorize(*arguments, **{**options, "cache": True})


def _cache_directory() -> Path:
    """``SEQKD_CACHE``, or ``seqkd`` in the user's cache directory, or where that cannot be written, a fresh one."""
    user = os.environ.get("XDG_CACHE_HOME")
    kept = os.environ.get("SEQKD_CACHE") or (Path(user) if user else Path.home() / ".cache") / "seqkd"
    directory = Path(kept) / "numba"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="seqkd-numba-"))
    # Code is loaded from here: no directory that others could have made beforehand.
    return directory if os.access(directory, os.W_OK) else Path(tempfile.mkdtemp(prefix="seqkd-numba-"))
