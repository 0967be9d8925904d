"""Whether what is on the disk is up to date: one rule for features, decodings, scores and exports.

A result is current when its stamp, a small JSON file beside it, says that it was made by the same settings and by
inputs of the same content. Times are never compared: what was made of a file that was only touched stays current, and
what was made of a file that was corrected does not, though its new time be older (``cp -p``, ``rsync -a``).

    made_by = {"audio": content_hash(audio), "beam": 16}
    if not is_current(stamp, made_by):
        ...
        write_stamp(stamp, made_by)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from seqkd.errors import DataError
from seqkd.files import write_json

CACHE = ".content.json"  # the name of a cache of content hashes, in a data directory
_THREADS = 4  # that read files: more do not make a disk faster
_TICK = 0.02  # seconds within which a file system may give two changes the same time
_COARSE = 2.0  # likewise, of one that keeps no fractions of a second


def is_current(stamp: Path, made_by: Mapping[str, Any], *outputs: Path, later: Collection[str] = ()) -> bool:
    """Whether a result was made by exactly this, and all of it is there.

    Args:
        stamp: What `write_stamp` wrote, after the result.
        made_by: Settings and content hashes; whatever JSON can hold.
        outputs: Files that belong to the result and must be there.
        later: See `agrees`.
    """
    try:
        stated = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or damaged: made anew
        return False
    return agrees(stated, as_json(made_by), later) and all(output.exists() for output in outputs)


def agrees(stated: Any, wanted: Mapping[str, Any], later: Collection[str] = ()) -> bool:
    """Return whether what is stated is what is wanted.

    ``later`` names what is wanted and earlier versions did not state: where it is not stated it is not known, and what
    took long to make stays valid.
    """
    if not isinstance(stated, Mapping):
        return False
    return stated == {key: value for key, value in wanted.items() if key in stated or key not in later}


def write_stamp(stamp: Path, made_by: Mapping[str, Any]) -> None:
    """Write what a result was made by. Call it last: a result without a stamp is not finished."""
    write_json(stamp, as_json(made_by))


def as_json(value: Any) -> Any:
    """Return a value as JSON would give it back: tuples become lists, and keys strings."""
    return json.loads(json.dumps(value, allow_nan=False))


def fingerprint(*settings: Any) -> str:
    """Return a short digest of settings that JSON can hold."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def content_hash(path: Path, cache: Path | None = None) -> str:
    """Return a short hash of a file's content; see `content_hashes`."""
    return content_hashes([path], cache)[path]


def content_hashes(paths: Iterable[Path], cache: Path | None = None) -> dict[Path, str]:
    """Return short hashes of the contents of files.

    Args:
        paths: Files.
        cache: A JSON file that keeps the hashes, so that files which have not changed are not read again. A file has
            not changed if its size, inode, and times of modification and of change are as they were: a program can
            set back the first time but not the second. Where the cache cannot be written, files are read each time.

    Raises:
        DataError: A file is missing or cannot be read.
    """
    paths = list(dict.fromkeys(paths))
    known = _read_cache(cache)
    found: dict[Path, str] = {}
    todo: list[Path] = []
    for path in paths:
        entry = known.get(str(path.absolute()))
        if entry is not None and entry[:-1] == file_state(path):
            found[path] = entry[-1]
        else:
            todo.append(path)
    if todo:
        _let_time_pass(todo)
        with ThreadPoolExecutor(_THREADS) as pool:
            read = dict(zip(todo, pool.map(_read, todo), strict=True))
        found |= {path: digest for path, (digest, _) in read.items()}
        if cache is not None:
            known |= {str(path.absolute()): [*state, digest] for path, (digest, state) in read.items() if state}
            with contextlib.suppress(OSError):  # a directory of someone else's
                write_json(cache, known)
    return {path: found[path] for path in paths}


def file_state(path: Path) -> list[int]:
    """Return what changes whenever a file's content does: size, inode, and both its times in nanoseconds.

    It may change without the content, too. Raises DataError when there is no such file.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    return [state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns]


def _read(path: Path) -> tuple[str, list[int] | None]:
    """The hash of a file, and its state; no state if it changed meanwhile."""
    before, digest = file_state(path), hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()[:32], before if file_state(path) == before else None


def _read_cache(cache: Path | None) -> dict[str, list[Any]]:
    if cache is None:
        return {}
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
        return {path: entry for path, entry in known.items() if isinstance(entry, list) and len(entry) == 5}
    except (OSError, ValueError, AttributeError):  # none yet, or damaged: all files are read
        return {}


def _let_time_pass(paths: Iterable[Path]) -> None:
    """Wait until a later change of these files cannot have the same time as the last one."""
    newest = max(file_state(path)[-1] for path in paths)
    pause = _TICK if newest % 1_000_000_000 else _COARSE
    left = newest / 1e9 + pause - time.time()
    if 0 < left <= pause:  # a time in the future is of another machine's clock
        time.sleep(left)
