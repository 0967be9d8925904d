"""ONNX Runtime Web, fetched once from the npm registry, and kept; or from a directory of the user's."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from seqkd.errors import ConfigError
from seqkd.files import atomic_path

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# Of the package as the registry states it, and of what is taken out of it.
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
SCRIPT, GLUE, BINARY = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {
    SCRIPT: "faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81",
    GLUE: "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    BINARY: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
BY_HAND = f"npm pack {PACKAGE}@{VERSION} && tar -xzf {PACKAGE}-{VERSION}.tgz package/dist"
TIMEOUT = 600  # seconds: the package has 33 MB


def read_runtime(directory: Path | None = None) -> dict[str, bytes]:
    """The files of the runtime by name: the script, the glue code that it imports, and the WebAssembly.

    Without ``directory``, they come from ``SEQKD_CACHE``, or ``seqkd`` in the user's cache directory, where npm puts
    them the first time.

    Raises ConfigError when ``directory`` does not hold this version, or npm cannot fetch it.
    """
    if directory is not None:
        return _read(directory)
    kept = cache_directory()
    try:
        return _read(kept)
    except ConfigError:
        files = _fetch()
    try:
        kept.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            with atomic_path(kept / name) as path:
                path.write_bytes(content)
    except OSError:
        pass  # it is fetched again the next time
    return files


def cache_directory() -> Path:
    """Where the runtime is kept."""
    user = os.environ.get("XDG_CACHE_HOME")
    kept = os.environ.get("SEQKD_CACHE") or (Path(user) if user else Path.home() / ".cache") / "seqkd"
    return Path(kept) / f"{PACKAGE}-{VERSION}"


def _read(directory: Path) -> dict[str, bytes]:
    found = {}
    for name, stated in SHA256.items():
        try:
            found[name] = (directory / name).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{directory / name} cannot be read ({error.strerror}); expected {PACKAGE} {VERSION}, get it by "
                f"'{BY_HAND}' and give --runtime package/dist"
            ) from error
        if hashlib.sha256(found[name]).hexdigest() != stated:
            raise ConfigError(
                f"{directory / name} is not that of {PACKAGE} {VERSION}; get it by '{BY_HAND}' and give "
                "--runtime package/dist"
            )
    return found


def _fetch() -> dict[str, bytes]:
    npm = shutil.which("npm")
    elsewhere = f"on a machine that can, run '{BY_HAND}', and give the directory package/dist here by --runtime"
    if npm is None:
        raise ConfigError(f"npm is not installed, which fetches {PACKAGE} {VERSION}; install it, or {elsewhere}")
    with tempfile.TemporaryDirectory(prefix="seqkd-npm-") as temporary:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", temporary]
        command += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
        try:
            done = subprocess.run(command, cwd=temporary, capture_output=True, text=True, timeout=TIMEOUT)
            reason = "" if done.returncode == 0 else _reason(done.stderr)
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
        archive = Path(temporary) / f"{PACKAGE}-{VERSION}.tgz"
        if reason or not archive.is_file():
            raise ConfigError(f"npm cannot fetch {PACKAGE} {VERSION} ({reason or 'no file came'}); {elsewhere}")
        if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != INTEGRITY:
            raise ConfigError(
                f"what npm fetched as {PACKAGE} {VERSION} is not what was published; name another registry to npm, "
                f"or {elsewhere}"
            )
        with tarfile.open(archive) as opened:
            for name in SHA256:
                member = opened.extractfile(f"package/dist/{name}")
                assert member is not None  # of an archive whose hash is known
                (Path(temporary) / name).write_bytes(member.read())
        return _read(Path(temporary))


def _reason(output: str) -> str:
    """The line of npm's complaint that is a sentence."""
    lines = [line.removeprefix("npm error ") for line in output.splitlines() if line.startswith("npm error ")]
    said = [line for line in lines if line.split()[0] not in ("code", "errno", "syscall", "A")]
    return said[0] if said else "it does not say why"


def script(files: Mapping[str, bytes]) -> str:
    """``runtime.js``: glue code and WebAssembly as text, so that a page that was opened from a file may load them."""
    import gzip
    import json

    runtime = {
        "version": VERSION,
        "glue": base64.b64encode(files[GLUE]).decode(),
        "binary": base64.b64encode(gzip.compress(files[BINARY], 9, mtime=0)).decode(),
    }
    return f"(globalThis.seqkd ??= {{}}).runtime = {json.dumps(runtime)};\n"
