"""The optional compiled part: one shared library with a plain C interface, built by pip from ``setup.py``."""

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

HOW_TO_GET_IT = "install a C++ compiler (Debian, Ubuntu: apt install g++) and reinstall seqkd with pip"


@cache
def library() -> ctypes.CDLL | None:
    """The compiled part, or None where it was not built. Loaded once."""
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name("_native" + suffix)
        if path.exists():
            return ctypes.CDLL(str(path))
    return None
