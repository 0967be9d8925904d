"""Builds the optional compiled part; everything else is in pyproject.toml.

One shared library with a plain C interface (no Python, torch or NumPy headers), loaded with ctypes by
``seqkd/native.py``. Where it cannot be built, the installation still succeeds and slower code is used. A wheel
serves every Python 3 of its platform, since the library knows nothing of Python.
"""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

LIBRARY = "_native.abi3.so"  # the name that seqkd/native.py loads, whatever Python builds it
sources = sorted(map(str, [*Path("seqkd/ctc/cpu").glob("*.cpp"), *Path("seqkd/scoring").glob("*.cpp")]))
headers = sorted(map(str, Path("seqkd").glob("**/*.h")))

native = Extension(
    "seqkd._native",
    sources,
    depends=headers,
    language="c++",
    # No -march: the kernels choose the instruction set when they run. The NaN of one utterance is a result
    # here, so no -ffast-math either.
    extra_compile_args=[
        "-std=gnu++17",
        "-O3",
        "-g0",
        "-fvisibility=hidden",
        "-fno-math-errno",
        "-pthread",
        "-Wno-psabi",
    ],
    extra_link_args=["-pthread"],
    optional=True,
    py_limited_api=True,
)


class BuildLibrary(build_ext):
    """Gives the library one name under every Python, free-threaded ones included."""

    def get_ext_filename(self, fullname: str) -> str:
        """The library's place, relative to the root."""
        return str(Path(*fullname.split(".")).with_name(LIBRARY))


class PlatformWheel(bdist_wheel):
    """Tags a wheel py3-none-<platform>, or py3-none-any where the library could not be built."""

    def get_tag(self) -> tuple[str, str, str]:
        """What the name of the wheel ends with: Python, ABI, platform."""
        built = (Path(self.bdist_dir) / "seqkd" / LIBRARY).exists()
        return "py3", "none", super().get_tag()[2] if built else "any"

    def write_wheelfile(self, *arguments: str, **named: str) -> None:
        """Write the WHEEL file, which says whether the files depend on the platform."""
        self.root_is_pure = self.get_tag()[2] == "any"
        super().write_wheelfile(*arguments, **named)


commands = {"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel}
setup(ext_modules=[native] if sources else [], cmdclass=commands)
