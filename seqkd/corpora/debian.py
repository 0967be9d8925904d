"""Data that come in Debian's packages, fetched and unpacked without any rights on the machine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from seqkd.errors import DataError
from seqkd.files import write_json

PACKAGES_FILE = "packages.json"  # beside what was unpacked: names, versions and licences
_TIMEOUT = 300  # seconds for a download


def unpack(debs: Sequence[Path], folder: Path) -> str | None:
    """Unpack packages into a folder and note in ``packages.json`` what they are; returns what went wrong."""
    if shutil.which("dpkg") is None:
        return "dpkg is not installed"
    for deb in debs:
        done = subprocess.run(["dpkg", "-x", str(deb), str(folder)], capture_output=True, text=True)
        if done.returncode != 0:
            return f"dpkg could not unpack {deb.name}: {done.stderr.strip()}"
    write_json(folder / PACKAGES_FILE, [_describe(deb, folder) for deb in debs])
    return None


def _describe(deb: Path, folder: Path) -> dict[str, str | list[str]]:
    """Return name, version (from the file's name) and licences (from the package's copyright file)."""
    name, _, rest = deb.stem.partition("_")
    copyright_ = folder / "usr" / "share" / "doc" / name / "copyright"
    licences: set[str] = set()
    if copyright_.is_file():
        text = copyright_.read_text(encoding="utf-8", errors="replace")
        licences = {found.strip() for found in re.findall(r"^License:[ \t]*(\S.*)$", text, re.MULTILINE)}
    version = rest.rpartition("_")[0].replace("%3a", ":")  # as apt writes epochs
    return {"package": name, "version": version, "licences": sorted(licences)}


def download(packages: Sequence[str], folder: Path) -> str | None:
    """Download packages into a folder and unpack them there; returns what went wrong."""
    if shutil.which("apt-get") is None:
        return "apt-get is not installed"
    try:
        done = subprocess.run(
            ["apt-get", "download", *packages], cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return f"apt-get took longer than {_TIMEOUT} s"
    if done.returncode != 0:
        return f"apt-get download failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
    return unpack(sorted(folder.glob("*.deb")), folder)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in this block with the same folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot lock a folder
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def fetch(
    downloads: Path,
    packages: Sequence[str],
    name: str,
    *,
    complete: Callable[[Path], str | None],
    otherwise: Sequence[Callable[[Path], str | None]] = (),
    what: str,
    or_else: str,
) -> Path:
    """Return the folder ``downloads``, with what packages hold below it; fetches it if it is not there.

    Tried in turn: packages that lie in ``downloads`` (all of them, as ``<package>_*.deb``), ``apt-get
    download``, then ``otherwise``. What was fetched appears whole, as ``downloads/<name>``.

    Args:
        downloads: The folder.
        packages: Names of the packages.
        name: What to call the folder of what was unpacked.
        complete: Says what is missing in a folder; None if everything is there.
        otherwise: More ways to put the data into a folder; each returns what went wrong, if anything did.
        what: What is fetched, in the plural, for the message.
        or_else: What else the user can put into the folder, for the message.

    Raises:
        DataError: It cannot be had; the message says what was tried and what to do.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    tried = []
    with _alone(downloads):
        for leftover in downloads.glob(".tmp-*"):  # of a process that was killed: it may look complete
            shutil.rmtree(leftover, ignore_errors=True)
        if complete(downloads) is None:
            return downloads
        debs = [deb for package in packages for deb in sorted(downloads.glob(f"{package}_*.deb"))[-1:]]
        ways = [lambda folder: unpack(debs, folder)] if len(debs) == len(packages) else []
        for way in [*ways, lambda folder: download(packages, folder), *otherwise]:
            temporary = Path(tempfile.mkdtemp(dir=downloads, prefix=".tmp-"))
            try:
                failure = way(temporary) or complete(temporary)
                if failure is None:
                    for deb in temporary.glob("*.deb"):
                        deb.unlink()
                    shutil.rmtree(downloads / name, ignore_errors=True)  # what was there is not complete
                    temporary.chmod(0o755)  # mkdtemp makes private directories
                    temporary.replace(downloads / name)
                    return downloads
                tried.append(failure)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    *others, last = (f"{package}_*.deb" for package in packages)
    named = f"packages {', '.join(others)} and {last}" if others else f"package {last}"
    raise DataError(
        f"The {what} could not be fetched ({'; '.join(tried)}); put the Debian {named} (on a machine with dpkg), or "
        f"{or_else}, into {downloads} and run this again."
    )


def packages_of(folder: Path) -> list[dict[str, str | list[str]]]:
    """Return name, version and licences of the packages unpacked below a folder, by name; [] if none are noted."""
    found = []
    for file in sorted(folder.rglob(PACKAGES_FILE)):
        try:
            found += [dict(entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
        except (ValueError, TypeError) as error:
            raise DataError(f"{file} cannot be read ({error}); delete its folder to have it fetched again.") from error
    return sorted(found, key=lambda entry: str(entry.get("package")))
