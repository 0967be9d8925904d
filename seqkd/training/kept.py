"""Other weights of a run than those with the least loss on dev: the last ones, or the best by another measure.

``training.keep: [last, dev_bleu]`` lets a run keep them, as model directories ``kept/last`` and ``kept/dev_bleu``. A
system with the procedure `take` is such weights of the run that its ``teacher`` names, decoded and scored like any
other; nothing is trained for it. So one training can be looked at with the weights that each rule chooses.

    variants:
      adaptive_last: {of: adaptive, teacher: adaptive, procedure: seqkd.training.kept.last}
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.errors import ConfigError
from seqkd.layout import run_directory
from seqkd.training.order import teachers_by_name
from seqkd.training.settings import LAST

if TYPE_CHECKING:
    from seqkd.training.study import Study


def last(study: Study) -> None:
    """The procedure of a system that is the last weights of another."""
    take(study, LAST)


def best_bleu(study: Study) -> None:
    """The procedure of a system that is the weights of another with the best BLEU on dev."""
    take(study, "dev_bleu")


def take(study: Study, name: str) -> None:
    """Be the weights ``name`` that the run of ``system.teacher`` has kept.

    Raises:
        ConfigError: the system names no other, or that kept no such weights.
    """
    if study.done:
        return
    named = teachers_by_name(study.cfg.system, study.seed)
    if not named:
        raise ConfigError(f"system {study.cfg.system.name} takes weights of another; name it by system.teacher")
    source = run_directory(study.cfg, *named[0])
    if not (source / "kept" / name / "model.safetensors").is_file():
        raise ConfigError(f"{source} kept no weights {name!r}; train it with {study.role}.training.keep=[{name}] first")
    summary = _read(source / "summary.json")
    with study.working():
        shutil.copytree(source / "kept" / name, study.directory / "model", dirs_exist_ok=True)
        found = {key: value for key, value in summary.items() if key not in ("system", "label", "seed", "passes")}
        study.conclude(_read(source / "history.json")["rows"], **{**found, "weights": name})


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
