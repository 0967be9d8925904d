"""Where a report's numbers come from: commit, software, hardware; never a path or the name of a machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

_PACKAGES = ("seqkd", "torch", "torchaudio", "lightning", "lhotse", "numpy", "rapidfuzz")
# A slash that begins a path, not one within a relative path or after the colon of an address.
_ABSOLUTE = re.compile(r"(?<![\w.:/~-])~?/(?:[\w.@+-]+/)*([\w.@+-]+)/?")


def describe_environment() -> dict[str, str]:
    """Return versions of what matters, the processor and the number of threads; no torch import is needed."""
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    try:
        threads = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        threads = os.cpu_count() or 1
    return {
        "Software": ", ".join([f"Python {platform.python_version()}", *versions]),
        "System": f"{platform.system()} {platform.machine()}",
        "CPU": f"{_processor()}, {threads} threads",
    }


def describe_commit(directory: Path, ignore: Sequence[Path] = ()) -> str | None:
    """Return the commit that ``directory`` is at, or None without git or a commit.

    Args:
        directory: any within the repository.
        ignore: what the report itself writes, which does not count as an uncommitted change.
    """
    commit = _git(directory, "rev-parse", "--short=12", "HEAD")
    if commit is None:
        return None
    exclude = [f":(exclude){path.name}" for path in ignore]
    # All changes below the repository's top, but for the exclusions, which are relative to the directory.
    changes = _git(directory, "status", "--porcelain", "--", ":/", *exclude)
    return f"{commit} + uncommitted changes" if changes else commit


def without_paths(text: str) -> str:
    """Shorten absolute paths to their last part: they say nothing on another machine."""
    return _ABSOLUTE.sub(r"\1", text)


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    except OSError:
        pass
    return platform.processor() or platform.machine()
