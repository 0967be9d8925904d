"""The CUDA kernels, compiled by g++ and run on the host: every line of them but the few of ``portable.h``."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path

import torch

from seqkd.ctc.cuda.compiler import Variant
from seqkd.ctc.cuda.passes import Launch

HERE = Path(__file__).parent


class NoCompiler(Exception):
    """There is no C++ compiler, or it is too old."""


def build(directory: Path, variant: Variant = Variant(), *, flags: tuple[str, ...] = ()) -> Path:  # noqa: B008
    """Compile the kernels for the host.

    Raises:
        NoCompiler: with a reason to skip.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise NoCompiler("needs g++, to run the CUDA kernels on the host (Debian, Ubuntu: apt install g++)")
    probe = "int main() { _Float16 x = __builtin_bit_cast(_Float16, short(0)); return x != 0; }"
    options = [compiler, "-std=c++20", "-x", "c++"]
    if subprocess.run([*options, "-fsyntax-only", "-"], input=probe.encode(), capture_output=True).returncode:
        raise NoCompiler("needs a g++ that knows C++20 and _Float16 (version 12 or newer) to run the CUDA kernels")
    library = directory / "kernels.so"
    # Fibers leave and enter functions in ways that the fortified longjmp takes for a fault.
    options += ["-O1", "-fPIC", "-shared", "-U_FORTIFY_SOURCE", *flags]
    options += [f"-DLOGITS={variant.logits}", f"-DTEACHER={variant.teacher}", f"-DFUSED={int(variant.fused)}"]
    subprocess.run([*options, "-Wno-unknown-pragmas", str(HERE / "kernels.cpp"), "-o", str(library)], check=True)
    return library


class Emulator:
    """Starts kernels on the host: a :class:`seqkd.ctc.cuda.passes.Launcher`.

    Args:
        library: from :func:`build`.
        backwards: run blocks and threads from the last to the first, which must change nothing.
    """

    def __init__(self, library: Path, *, backwards: bool = False) -> None:
        self._emulate = ctypes.CDLL(str(library)).emulate
        self.backwards = backwards
        self.skipped = ""  # a kernel that is not to run

    def __call__(self, kernel: str, launch: Launch, *arguments: int | float) -> None:
        assert launch.grid > 0 and 0 < launch.block <= 1024 and launch.block % 32 == 0 and launch.shared <= 48 * 1024
        if kernel == self.skipped:
            return
        raw = [struct.unpack("q", struct.pack("d", x))[0] if isinstance(x, float) else int(x) for x in arguments]
        error = self._emulate(
            kernel.encode(),
            *(ctypes.c_uint(x) for x in launch),
            int(self.backwards),
            (ctypes.c_int64 * len(raw))(*raw),
            len(raw),
        )
        assert error == 0, f"{kernel}: {['', 'no such kernel', f'not {len(raw)} arguments'][error]}"


def no_fault() -> torch.Tensor:
    """(4,) zeros, for bad labels to be told."""
    return torch.zeros(4, dtype=torch.int64)
