"""From the ``.cu`` files of this directory to kernels: NVRTC through cuda-core, once an architecture and machine."""

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

SOURCES = ("rows", "lattice", "slow", "utterance", "gradient")
"""The programs. The headers beside them count as part of each."""

VARIED_SOURCES = ("rows", "utterance", "gradient")
"""Those that are compiled for what they read: see :class:`Variant`."""

_HERE = Path(__file__).parent


class Variant(NamedTuple):
    """What the row and gradient kernels are compiled for.

    Attributes:
        logits: the kernels' name of the logits' dtype: float, bf16 or fp16.
        teacher: that of the teacher's.
        fused: whether distillation or consistency may be wanted; without, CTC needs fewer registers.
    """

    logits: str = "float"
    teacher: str = "float"
    fused: bool = True


def compile_cubin(source: str, arch: str, variant: Variant | None = None) -> bytes:
    """Compile one program with NVRTC; needs no GPU and no driver.

    Args:
        source: one of ``SOURCES``.
        arch: "sm_90", say.
        variant: of a varied source; None for the others.

    Returns:
        The cubin.
    """
    from cuda.core import Program, ProgramOptions

    macros = []
    if variant is not None:
        macros = [("LOGITS", variant.logits), ("TEACHER", variant.teacher), ("FUSED", str(int(variant.fused)))]
    options = ProgramOptions(
        name=f"{source}.cu",
        arch=arch,
        std="c++17",
        include_path=[str(_HERE)],
        define_macro=macros or None,
        # Several kernels compute the same numbers, which must agree to the bit: the compiler is not to choose, one
        # way here and another there, which products and sums become one operation.
        fma=False,
    )
    return bytes(Program((_HERE / f"{source}.cu").read_text(), "c++", options).compile("cubin").code)


def cached_cubin(source: str, arch: str, variant: Variant | None = None) -> bytes:
    """As :func:`compile_cubin`, from the cache on disk if it is there.

    Another version of the sources or of the compiler is another file. One that cannot be read or written costs a
    compilation of a second, no more.
    """
    name = "-".join([source, *(() if variant is None else map(str, variant)), arch, _version()])
    path = cache_directory() / f"{name}.cubin"
    try:
        return path.read_bytes()
    except OSError:
        pass
    cubin = compile_cubin(source, arch, variant)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Processes that start together all write; each file appears at once or not at all.
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
            part.write(cubin)
        Path(part.name).replace(path)
    except OSError:
        pass
    return cubin


def cache_directory() -> Path:
    """Where cubins are kept: ``SEQKD_CACHE``, or ``seqkd`` in the user's cache directory (``XDG_CACHE_HOME``)."""
    chosen = os.environ.get("SEQKD_CACHE")
    if chosen:
        return Path(chosen) / "kernels"
    user = os.environ.get("XDG_CACHE_HOME")
    return (Path(user) if user else Path.home() / ".cache") / "seqkd" / "kernels"


@cache
def load(source: str, arch: str, variant: Variant | None = None) -> Any:
    """The program as a ``cuda.core.ObjectCode``, loaded once a process."""
    from cuda.core import ObjectCode

    return ObjectCode.from_cubin(cached_cubin(source, arch, variant), name=source)


@cache
def _version() -> str:
    """A hash of all sources and the compiler's version."""
    from cuda.bindings import nvrtc

    digest = hashlib.sha256(repr(nvrtc.nvrtcVersion()).encode())
    for path in sorted([*_HERE.glob("*.cu"), *_HERE.glob("*.h")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
