"""Every CUDA kernel compiles for the oldest and the newest architecture, which needs NVRTC but no GPU."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seqkd.ctc.cuda import available, compiler, passes

pytest.importorskip("cuda.core", reason="needs cuda-core (pip install 'seqkd[cuda]') to compile the CUDA kernels")

try:
    from cuda.bindings import nvrtc

    nvrtc.nvrtcVersion()
except (ImportError, RuntimeError) as error:
    pytest.skip(f"needs NVRTC to compile the CUDA kernels: {error}", allow_module_level=True)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("arch", ["sm_80", "sm_120"])
@pytest.mark.parametrize("source", compiler.SOURCES)
def test_compiles(source, arch):
    cubin = compiler.compile_cubin(source, arch)
    assert cubin[:4] == b"\x7fELF"
    kernels = [kernel for kernel, its_source in passes.SOURCE_OF.items() if its_source == source]
    assert kernels and all(kernel.encode() in cubin for kernel in kernels)


@pytest.mark.parametrize("source", compiler.VARIED_SOURCES)
@pytest.mark.parametrize(
    ("arch", "variant"),
    [
        ("sm_90", ("bf16", "bf16", True)),
        ("sm_100", ("fp16", "float", True)),
        ("sm_90", ("float", "float", False)),
    ],
)
def test_compiles_for_other_inputs(source, arch, variant):
    variant = compiler.Variant(*variant)
    cubin = compiler.compile_cubin(source, arch, variant)
    assert cubin[:4] == b"\x7fELF"


def test_cubins_are_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQKD_CACHE", str(tmp_path / "cache"))
    cubin = compiler.cached_cubin("slow", "sm_90")
    (file,) = (tmp_path / "cache" / "kernels").iterdir()
    assert file.read_bytes() == cubin and re.fullmatch(r"slow-sm_90-[0-9a-f]{16}\.cubin", file.name)
    monkeypatch.setattr(compiler, "compile_cubin", None)
    assert compiler.cached_cubin("slow", "sm_90") == cubin


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEQKD_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(compiler, "compile_cubin", lambda *_: b"cubin")
    assert compiler.cached_cubin("slow", "sm_90") == b"cubin"


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.delenv("SEQKD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compiler.cache_directory() == tmp_path / "seqkd" / "kernels"
    monkeypatch.setenv("SEQKD_CACHE", str(tmp_path / "mine"))
    assert compiler.cache_directory() == tmp_path / "mine" / "kernels"


def test_says_why_it_is_not_available():
    fine, why = available()
    assert fine != bool(why)


def test_the_sources_are_installed():
    tomllib = pytest.importorskip("tomllib")
    root = Path(__file__).parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["seqkd"]
    installed = {path for pattern in patterns for path in (root / "seqkd").glob(pattern)}
    here = root / "seqkd" / "ctc" / "cuda"
    assert {*here.glob("*.cu"), *here.glob("*.h")} <= installed
