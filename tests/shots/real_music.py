"""Real music: the soundtrack of Tumiki Fighters, fetched from Debian for the tests."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.scoring.sclite import run

PACKAGE = "tumiki-fighters-data"  # 4.3 MB, six pieces in ogg
FOLDER = "usr/share/games/tumiki-fighters/sounds"


@functools.cache
def find() -> list[Path] | str:
    """The pieces, or why there are none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqkd-tests"
    for folder in (Path("/") / FOLDER, cache / PACKAGE / FOLDER):
        if pieces := sorted(folder.glob("*.ogg")):
            return pieces
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return f"there is no apt-get to fetch Debian's {PACKAGE} with"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=cache))
    except OSError as error:
        return f"{cache} cannot be written to: {error}"
    try:
        # Unpacked, not installed: no root needed. Where the machine has no package lists, they are fetched here.
        (work / "lists" / "partial").mkdir(parents=True)
        (work / "cache" / "archives" / "partial").mkdir(parents=True)
        own = ["-o", f"Dir::State::lists={work / 'lists'}", "-o", f"Dir::Cache={work / 'cache'}"]
        last = run(work, "apt-get", "download", PACKAGE)
        if last is not None and run(work, "apt-get", *own, "update") is None:
            last = run(work, "apt-get", *own, "download", PACKAGE)
        if last is None:
            last = run(work, "sh", "-c", f"dpkg -x {PACKAGE}_*.deb root")
        if last is not None:
            return f"Debian's {PACKAGE} could not be fetched: {last}"
        if not (cache / PACKAGE).exists():
            (work / "root").rename(cache / PACKAGE)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return sorted((cache / PACKAGE / FOLDER).glob("*.ogg"))


def require() -> list[Path]:
    """The pieces, or skip the test with the reason."""
    found = find()
    if isinstance(found, str):
        pytest.skip(found)
    return found
