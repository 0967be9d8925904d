"""Where things are in an experiment directory, and when what is there is done.

``exp/<system>/seed<k>/`` receives ``config.yaml`` (all that decides the result), what training leaves there, and, last,
``summary.json``: a run with a summary is done. If anything in ``config.yaml`` changes, the run starts anew; what was
done before is kept beside it, as ``seed<k>.1`` and so on.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqkd.errors import DataError
from seqkd.files import lock, write_text
from seqkd.processes import rank
from seqkd.uptodate import agrees

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger("seqkd")

MARKER = ".moved_aside"  # in what was moved aside: the name that it was given
LIVE_BOOK = re.compile(r"masked_voice0\.\d+")  # a book's own name that looks as if it were moved aside, see `ctc_book`


def run_directory(cfg: DictConfig, system: str | None = None, seed: int | None = None) -> Path:
    """``<exp>/<system>/seed<k>``, by default of the settings' own system and seed."""
    return Path(cfg.exp) / (system or cfg.system.name) / f"seed{cfg.seed if seed is None else seed}"


def teacher_runs(cfg: DictConfig) -> list[tuple[str, int]]:
    """The (system, seed) of every teacher of CTC students that is trained here, in order; none if they are imported."""
    if cfg.teacher.import_from:
        return []
    further = "teacher_guided" if cfg.teacher.guided else "teacher"
    return [("teacher", 0), *((further, seed) for seed in range(1, cfg.teacher.seeds))]


def teacher_sources(cfg: DictConfig) -> list[str]:
    """All that teach: model directories that the stage teachers trained, or what ``teacher.import_from`` names."""
    named = cfg.teacher.import_from
    if named:
        return [named] if isinstance(named, str) else list(named)
    return [str(trained_teacher(cfg, *run)) for run in teacher_runs(cfg)]


def trained_teacher(cfg: DictConfig, system: str = "teacher", seed: int = 0) -> Path:
    """The model directory that the stage teachers leaves, in the experiment ``teacher.exp``."""
    return Path(cfg.teacher.exp) / system / f"seed{seed}" / "model"


def plain(settings: DictConfig) -> dict[str, Any]:
    """Settings as plain Python values, for a run's description."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(settings, resolve=True)


def is_ours(directory: Path, description: dict[str, Any], later: Collection[str] = ()) -> bool:
    """Whether what the directory holds was made with the same settings and data; for ``later`` see `agrees`."""
    import yaml

    config = directory / "config.yaml"
    return config.is_file() and agrees(yaml.safe_load(config.read_text(encoding="utf-8")), description, later)


def is_done(directory: Path, description: dict[str, Any], later: Collection[str] = ()) -> bool:
    """Whether this very run is finished; for ``later`` see `agrees`."""
    return (directory / "summary.json").is_file() and is_ours(directory, description, later)


@contextlib.contextmanager
def working_in(directory: Path, description: dict[str, Any]) -> Iterator[None]:
    """Hold a run's directory while the block runs; first move aside, or remove, what other settings left there.

    Enter it only when all settings have been understood: a mistake in them must not cost an older run. The other
    processes of a distributed run share the first one's hold, and wait until it has cleared and described it.

    Raises SeqkdError when another run holds it, and DataError when the first process' description does not appear.
    """
    import yaml

    if rank() > 0:
        wait_until_ours(directory, description)
        yield
        return
    with lock(directory.parent / f".{directory.name}.lock", str(directory)):
        if not is_ours(directory, description):
            clear(directory)
            write_text(directory / "config.yaml", yaml.safe_dump(description, sort_keys=False))
        yield


def clear(directory: Path) -> None:
    """Make room for a run of other settings or data: a finished one is moved aside, an unfinished one removed."""
    if (directory / "summary.json").is_file():
        aside = put_aside(directory)
        log.info(
            "%s was made with other settings or data: kept as %s ('seqkd clean' removes such), training anew",
            directory,
            aside,
        )
    elif directory.exists():
        log.info("%s was begun with other settings or data: training anew", directory)
        shutil.rmtree(directory)


def put_aside(directory: Path) -> Path:
    """Rename what took long to make: ``seed0`` to ``seed0.1``, or the first such name that is free. Returns it.

    A file inside states the new name, so that no other directory whose name ends in a number is taken for one that was
    moved aside.
    """
    names = (directory.with_name(f"{directory.name}.{n}") for n in itertools.count(1))
    aside = next(path for path in names if not path.exists())
    with contextlib.suppress(OSError):  # a full disk: without it `moved_aside` goes by the names
        write_text(directory / MARKER, f"{aside.name}\n")
    directory.rename(aside)
    return aside


def moved_aside(exp: Path) -> list[Path]:
    """What `put_aside` has renamed below an experiment directory: finished runs, and what teachers have written."""
    found = (path for path in exp.rglob("*.*") if re.fullmatch(r".+\.\d+", path.name) and path.is_dir())
    return sorted(path for path in found if is_aside(path))


def is_aside(directory: Path) -> bool:
    """Whether a directory whose name ends in a number was moved aside: the file inside states this very name.

    Earlier versions wrote no such file. What they moved aside stands beside what took its place.
    """
    marker = directory / MARKER
    if marker.is_file():
        return marker.read_text(encoding="utf-8").strip() == directory.name
    if LIVE_BOOK.fullmatch(directory.name) or not directory.with_suffix("").is_dir():
        return False
    return any((directory / name).is_file() for name in ("summary.json", "manifest.json"))


def wait_until_ours(directory: Path, description: dict[str, Any], seconds: float = 120.0) -> None:
    """Wait for what another process writes; DataError when it does not."""
    deadline = time.monotonic() + seconds
    while not is_ours(directory, description):
        if time.monotonic() > deadline:
            raise DataError(
                f"{directory / 'config.yaml'} does not say within {seconds:.0f} s what the first process of this run "
                "writes there; every node must see the experiment directory under the same path, and the same data"
            )
        time.sleep(0.1)
