"""Builds the optional compiled part; everything else is in pyproject.toml.

One shared library with a plain C interface (no Python, torch or NumPy headers), loaded with ctypes by
``seqkd/native.py``. Where it cannot be built, the installation still succeeds and slower code is used.
"""

from pathlib import Path

from setuptools import Extension, setup

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

setup(ext_modules=[native] if sources else [])
