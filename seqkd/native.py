"""The optional compiled part: one shared library with a plain C interface, built by pip from ``setup.py``."""

import ctypes
from functools import cache
from pathlib import Path

HOW_TO_GET_IT = "install a C++ compiler (Debian, Ubuntu: apt install g++) and reinstall seqkd with pip"


@cache
def library() -> ctypes.CDLL | None:
    """The compiled part, or None where it was not built. Loaded once."""
    path = Path(__file__).with_name("_native.abi3.so")  # setup.py gives it this name under every Python
    return ctypes.CDLL(str(path)) if path.exists() else None
