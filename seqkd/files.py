"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import lzma
import os
import shlex
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from seqkd.errors import DataError, SeqkdError

OURS = ".seqkd"  # in a directory: seqkd wrote it, and may replace it
_NEW, _OLD = ".tmp-", ".old-"  # what the names of folders that `atomic_directory` works with begin with
# What is in sets, and beside them, that were written before there was a mark.
_RECORDS = ("origin.json", "corpus.json", "split.json", "sources.json")
_OF_SETS = {
    *("wav.scp", "image.scp", "utt2spk", "spk2utt", "text", "utt2dur", "label", "group", "fold", "phones.ctm"),
    *("src", "tgt", "shots.csv", "feats", "features", "clips", "director.safetensors", "bound.json"),
}


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes ``path``'s place if the block succeeds, else it is removed.

    What a process that was killed has left is written over, so that no more than one such file stays of a path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = _held_file(path)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # it was made private
        temporary.replace(path)
    except BaseException:  # else the name may be another's already
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _held_file(path: Path) -> tuple[int, Path]:
    """Make an empty file beside ``path``, always by the same name unless another process or thread is at work on it."""
    # The suffix is kept because writers such as soundfile choose a format by it; the name, to which the file system may
    # allow no more letters, is not.
    name = hashlib.sha1(os.fsencode(path.name), usedforsecurity=False).hexdigest()[:16]
    temporary = path.parent / f"{_NEW}{name}{path.suffix}"
    with contextlib.suppress(OSError):  # of another user, or no file: see mkstemp
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if _locked(descriptor, temporary):
            os.ftruncate(descriptor, 0)
            return descriptor, temporary
        os.close(descriptor)
    descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=_NEW, suffix=path.suffix)
    return descriptor, Path(made)


def _locked(descriptor: int, path: Path) -> bool:
    """Lock a file that was opened by its path. False where another has it, or had it and put it in another's place."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems cannot lock: no one uses this name
        path.unlink(missing_ok=True)
        return False
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def atomic_directory(directory: Path) -> Iterator[Path]:
    """Yield a temporary directory; it takes the place of ``directory`` if the block succeeds, else it is removed.

    What a process that was killed has left beside it is removed first; the directory itself, if it was killed between
    moving it aside and putting the new one in its place, is put back.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(directory.parent, directory.name)
    with _held_folder(directory, _NEW) as temporary:
        try:
            temporary.chmod(0o755)  # mkdtemp makes private directories
            yield temporary
            if (directory / OURS).is_file():
                mark(temporary)
            if directory.exists():
                with _held_folder(directory, _OLD) as old:
                    aside = old / directory.name
                    directory.replace(aside)  # a directory cannot be renamed onto one that is not empty
                    try:
                        temporary.replace(directory)
                    except BaseException:
                        aside.replace(directory)
                        raise
                    shutil.rmtree(old)
            else:
                temporary.replace(directory)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _held_folder(directory: Path, kind: str) -> Iterator[Path]:
    """Yield a new folder beside a directory, locked until the block ends, or its process: then it is a leftover."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f"{kind}{directory.name}-"))
        descriptor = os.open(folder, os.O_RDONLY)
        with contextlib.suppress(OSError):  # some network file systems cannot lock a folder
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.lexists(folder):  # else another process took it for a leftover before it was locked
            break
        os.close(descriptor)
    try:
        yield folder
    finally:
        os.close(descriptor)


def clear_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left of `atomic_directory` in a folder, or put it back where nothing else is left.

    Args:
        folder: Where.
        name: Of the directory that they wrote; None for any, where nothing else makes folders of such names.
    """
    with contextlib.suppress(OSError):  # a folder that cannot be listed: nothing is put right, and nothing is lost
        for left in sorted(folder.iterdir()):
            # What follows the last hyphen is mkdtemp's.
            kind, of = left.name[: len(_NEW)], left.name[len(_NEW) :].rpartition("-")[0]
            if kind not in (_NEW, _OLD) or not of or name not in (None, of) or not left.is_dir():
                continue
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if kind == _OLD and not (folder / of).exists() and (left / of).is_dir():
                    (left / of).replace(folder / of)
                shutil.rmtree(left, ignore_errors=True)
            except OSError:  # it is held by a process that lives
                pass
            finally:
                os.close(descriptor)


# ---- directories that may be replaced


def mark(directory: Path) -> None:
    """Write into a directory that seqkd made it, and may replace it."""
    (directory / OURS).write_text("Written by seqkd, which replaces this directory when it writes it anew.\n")


def check_ours(directory: Path) -> None:
    """Raise DataError if there is a directory, or a file, that we did not write: it must not be replaced."""
    directory = directory.resolve()
    if not directory.exists() or (directory / OURS).is_file():
        return
    if not directory.is_dir():
        raise DataError(f"{directory} is a file, but a directory is to be written there; move it away.")
    there = {path.name for path in directory.iterdir() if not path.name.startswith((_NEW, ".content.json"))}
    unknown = sorted(there - _OF_SETS)
    # Earlier versions wrote no mark, but a record beside their sets.
    if there and (unknown or not any((directory.parent / name).is_file() for name in _RECORDS)):
        first, aside = (unknown or sorted(there))[0], shlex.quote(f"{directory}.mine")
        raise DataError(
            f"{directory} is there, and was not written by seqkd ({first!r} is in it, {OURS} is not), so it is "
            "not replaced; name another data directory by --data, or move it away: "
            f"mv {shlex.quote(str(directory))} {aside}"
        )


@contextlib.contextmanager
def own_directory(directory: Path) -> Iterator[Path]:
    """`atomic_directory`, marked: it takes the place of one that seqkd wrote, and of no other (`check_ours`)."""
    check_ours(directory)
    with atomic_directory(directory) as temporary:
        mark(temporary)
        yield temporary


def remove_own(directory: Path) -> None:
    """Remove a directory that seqkd wrote. Raises DataError if another wrote it."""
    check_ours(directory)
    shutil.rmtree(directory, ignore_errors=True)


def check_name(path: Path) -> None:
    """Raise DataError if the name of a file, or of a folder above it, is not UTF-8: no table could name it."""
    raw = os.fsencode(path.absolute())
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        shown = raw.decode("utf-8", "backslashreplace")
        raise DataError(f"{shown}: byte {raw[error.start]:#x} of its name is not UTF-8; rename it.") from None


# ---- archives


class _Member(tarfile.TarInfo):
    """A member of an archive. What is no member, after the first one, would else be taken for the archive's end."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.SubsequentHeaderError(str(error)) from None


def unpack(archive: Path, directory: Path) -> None:
    """Unpack a tar archive, of whatever compression, in one reading.

    Raises:
        tarfile.TarError: it is damaged, or holds something that is not a file or a folder inside it; what came before
            that is in the directory.
        OSError: it cannot be read, or the directory written.
    """
    try:
        with tarfile.open(archive, tarinfo=_Member) as tar:
            # The same again, and no ownership, where Python can do that (from 3.10.12 and 3.11.4 on).
            options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(directory, members=map(_inside, tar), **options)
            # tarfile stops at the end of the archive; what compressed it has its checksum after that.
            while rest := tar.fileobj.read(1 << 20):
                if rest.strip(b"\0"):
                    raise tarfile.ReadError("more follows after its end")
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise tarfile.ReadError(" ".join(str(error).split())) from error
    except OSError as error:
        if error.errno is None:  # what gzip and bz2 say of damage
            raise tarfile.ReadError(str(error)) from error
        raise


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
