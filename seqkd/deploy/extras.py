"""What the extra ``[export]`` brings, and what to say when it is not there."""

from __future__ import annotations

import importlib.util
from importlib import metadata

from seqkd.errors import ConfigError

VERSIONS = ("seqkd", "torch", "torchaudio", "onnx", "onnxscript", "onnxruntime")


def need(*modules: str) -> None:
    """Raise ConfigError, saying how to get it, when a module of the extra is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        are, them = ("is", "it") if len(missing) == 1 else ("are", "them")
        raise ConfigError(f"{', '.join(missing)} {are} not installed; get {them} with: pip install 'seqkd[export]'")


def versions() -> dict[str, str]:
    """Versions of what decides the content of an export directory; the build of torch (+cpu, +cu130) is left out."""
    return {name: metadata.version(name).split("+")[0] for name in VERSIONS}
