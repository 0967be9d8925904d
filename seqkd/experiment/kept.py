"""Estimates that a report has made, kept in the experiment directory, so that the next report need not draw them again.

``exp/.estimates/<key>.npz`` holds the values and replicates of one call of `seqkd.statistics.bootstrap.estimate`. Its
key is a hash of all that they follow from: the items and columns of every table, the measures, the number and the seed
of the draws, the code that draws and measures, and NumPy's version. So a file is never out of date, only of no use any
more; the oldest are removed. What is damaged is made anew, and no report fails because a file cannot be written.

Legend: V values, one a system, measure and seed; E estimates, one a system and measure; R replicates.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqkd import statistics
from seqkd.errors import DataError
from seqkd.files import atomic_path
from seqkd.statistics.bootstrap import Estimate, Estimates, Systems, estimate
from seqkd.statistics.measures import Measure
from seqkd.uptodate import content_hashes

VERSION = 1  # of the files' form, and of whatever else the sources do not show
KEPT = 6  # files: two reports, each of what is compared and what is shown only, and room for a third


def estimate_once(
    directory: Path, systems: Systems, measures: Sequence[Measure], *, replicates: int, seed: int = 0
) -> dict[str, Estimates]:
    """Return what `estimate` returns, bit for bit, without drawing again what ``directory`` holds.

    Args:
        directory: where estimates are kept; made if need be.
        systems, measures, replicates, seed: of `estimate`, which raises what is wrong with them.
    """
    key = _key(systems, measures, replicates, seed)
    path = directory / f"{key}.npz"
    if key and (kept := _read(path, systems, measures, replicates)) is not None:
        return kept
    found = estimate(systems, measures, replicates=replicates, seed=seed)
    if key:
        with contextlib.suppress(OSError):  # a full or foreign disk costs time, not the report
            _write(path, found)
    return found


def _key(systems: Systems, measures: Sequence[Measure], replicates: int, seed: int) -> str | None:
    """Hash what estimates follow from; None where the code of a measure cannot be told from another's."""
    functions = [_named(measure.of) for measure in measures]
    sources = None if None in functions else _sources(tuple(sys.modules[name] for name, *_ in functions))
    if sources is None:
        return None
    needed = sorted({column for measure in measures for column in measure.columns})
    digest = hashlib.sha256()
    tables = []
    # In order: of which system a column comes first decides which items are drawn by which random number.
    for name, seeds in systems.items():
        for number, table in seeds.items():
            columns = [table.columns[column] for column in needed]
            tables.append([name, number, table.ids, [[one.dtype.str, one.shape] for one in columns]])
            for column in columns:
                digest.update(np.ascontiguousarray(column, float))
    of = [[measure.key, measure.columns, *named] for measure, named in zip(measures, functions, strict=True)]
    about = [VERSION, np.__version__, sources, of, replicates, seed, needed, tables]
    digest.update(json.dumps(about).encode())
    return digest.hexdigest()[:32]


def _named(of: Callable[..., Any]) -> list[str] | None:
    """Name a function by its module and what binds it there; None of what has no such name, as a closure has none."""
    if isinstance(of, functools.partial):
        inner = _named(of.func)
        return inner and [*inner, repr(of.args), repr(sorted(of.keywords.items()))]
    module, name = getattr(of, "__module__", ""), getattr(of, "__qualname__", "")
    return [module, name] if getattr(sys.modules.get(module), name, None) is of else None


def _sources(modules: Sequence[Any]) -> list[str] | None:
    """Hash the files of these modules, and of all that draws and measures; None where there are none to read."""
    paths = [Path(module.__file__) for module in modules if getattr(module, "__file__", None)]
    if len(paths) < len(modules):
        return None
    try:
        return list(content_hashes([*sorted(Path(statistics.__file__).parent.glob("*.py")), *paths]).values())
    except DataError:
        return None


def _read(path: Path, systems: Systems, measures: Sequence[Measure], replicates: int) -> dict[str, Estimates] | None:
    """Return what is kept; None if that is nothing, damaged, or not what the measures give of the same sums."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            values, drawn = stored["values"], stored["replicates"]
    except Exception:  # no file, or any damage: a torn archive raises what its broken bytes happen to mean
        return None
    if drawn.shape != (len(systems) * len(measures), replicates) or not values.dtype == drawn.dtype == float:
        return None
    found: dict[str, Estimates] = {}
    rows = iter(drawn)
    for name, seeds in systems.items():
        totals = {number: table.total() for number, table in seeds.items()}
        found[name] = {
            one.key: Estimate(one, {n: float(one.value(total)) for n, total in totals.items()}, next(rows), seeds)
            for one in measures
        }
    return found if np.array_equal(values, _values(found), equal_nan=True) else None


def _values(estimates: dict[str, Estimates]) -> np.ndarray:
    """Return (V,) the values of all systems, measures and seeds."""
    return np.array([value for one in estimates.values() for each in one.values() for value in each.seeds.values()])


def _write(path: Path, estimates: dict[str, Estimates]) -> None:
    replicates = np.stack([each.replicates for one in estimates.values() for each in one.values()])  # (E, R)
    with atomic_path(path) as temporary, temporary.open("wb") as out:
        np.savez(out, values=_values(estimates), replicates=replicates)
    kept = sorted(path.parent.glob("*.npz"), key=lambda one: one.stat().st_mtime_ns)
    for old in kept[:-KEPT]:
        old.unlink(missing_ok=True)
