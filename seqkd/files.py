"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from seqkd.errors import DataError, SeqkdError


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes ``path``'s place if the block succeeds, else it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept because writers such as soundfile choose a format by it.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-", suffix=path.suffix)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(directory: Path) -> Iterator[Path]:
    """Yield a temporary directory; it takes the place of ``directory`` if the block succeeds, else it is removed."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".tmp-{directory.name}-"))
    try:
        temporary.chmod(0o755)  # mkdtemp makes private directories
        yield temporary
        if directory.exists():
            old = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".old-{directory.name}-"))
            directory.replace(old / directory.name)  # a directory cannot be renamed onto one that is not empty
            temporary.replace(directory)
            shutil.rmtree(old)
        else:
            temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unpack(archive: Path, directory: Path) -> None:
    """Unpack a tar archive, of whatever compression, in one reading.

    Raises:
        tarfile.TarError: it is damaged, or holds something that is not a file or a folder inside it; what came before
            that is in the directory.
        OSError: it cannot be read, or the directory written.
    """
    with tarfile.open(archive) as tar:
        # The same again, and no ownership, where Python can do that (from 3.10.12 and 3.11.4 on).
        options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(directory, members=map(_inside, tar), **options)


def _inside(member: tarfile.TarInfo) -> tarfile.TarInfo:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
        raise tarfile.TarError(f"{member.name} is not a file or folder inside the archive")
    return member


def decode_line(raw: bytes, where: str) -> str:
    """UTF-8 to text. Raises DataError that names ``where`` and the byte."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: byte {error.start + 1} (0x{raw[error.start]:02x}) is not valid UTF-8; "
            "convert the file to UTF-8, for instance with iconv."
        ) from error


@contextlib.contextmanager
def lock(path: Path | str, what: str) -> Iterator[None]:
    """Hold ``path`` as a lock while the block runs; the system lets go of it however the process ends.

    Raises SeqkdError, naming ``what``, when another process holds it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SeqkdError(f"another process is at work on {what}; wait for it or stop it") from error
        yield


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON atomically; refuses values that JSON cannot hold."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
