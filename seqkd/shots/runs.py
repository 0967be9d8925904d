"""A run's directory: what decides its result, whether it is done, and that one process at a time works on it.

``exp/<system>/seed<k>/`` receives ``config.yaml`` (all that decides the result), what training leaves there, and, last,
``summary.json``: a run with a summary is done. If anything in ``config.yaml`` changes, the run starts anew.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from seqkd.files import lock, write_text

log = logging.getLogger("seqkd")


def is_ours(directory: Path, description: dict[str, Any]) -> bool:
    """Whether what the directory holds was made with the same settings and data."""
    config = directory / "config.yaml"
    return config.is_file() and yaml.safe_load(config.read_text(encoding="utf-8")) == description


def is_done(directory: Path, description: dict[str, Any]) -> bool:
    """Whether this very run is finished."""
    return (directory / "summary.json").is_file() and is_ours(directory, description)


@contextlib.contextmanager
def working_in(directory: Path, description: dict[str, Any]) -> Iterator[None]:
    """Hold the directory while the block runs; clear first what another configuration left there.

    Raises SeqkdError when another process holds it.
    """
    with lock(directory.parent / f".{directory.name}.lock", str(directory)):
        if not is_ours(directory, description):
            if directory.exists():
                log.info("%s was made with other settings or data: training anew", directory)
                shutil.rmtree(directory)
            write_text(directory / "config.yaml", yaml.safe_dump(description, sort_keys=False))
        yield
