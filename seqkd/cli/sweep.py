"""``seqkd train --multirun``: every combination of ``key=v1,v2`` trained by Hydra, here or as jobs of its launchers.

``hydra/launcher=submitit_slurm`` makes each combination a Slurm job and ``submitit_local`` a process, with
``hydra.launcher.<option>=...`` for either; without a launcher they run one after the other. A combination has its own
experiment directory, ``<exp>/sweep/<key=value,...>``, and all share ``<exp>``'s tokenizer, teacher and book.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from seqkd.config import CONF, check_settings, composed, defaults, explained, search_path, shared_overrides, with_plus
from seqkd.errors import ConfigError
from seqkd.overrides import as_meant, quoted

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


def sweep(args: argparse.Namespace) -> int:
    """Train every combination; print them all, best first. Finished, unchanged runs are skipped.

    Raises:
        ConfigError: nothing varies, or a launcher is not installed.
        SeqkdError: what a run says.
    """
    import hydra

    given = [as_meant(one, defaults(args.task), sweep=True) for one in args.overrides]
    varied = [one for one in parsed(given, args.task) if one.is_sweep_override()]
    if not varied:
        raise ConfigError("--multirun has nothing to vary; expected at least one key=v1,v2")
    firsts = [f"{one.get_key_element()}={next(iter(one.sweep_string_iterator()))}" for one in varied]
    same = [one.input_line for one in parsed(given, args.task) if not one.is_sweep_override()]
    alike = argparse.Namespace(**{**vars(args), "overrides": [x for x in same if not x.startswith("hydra")] + firsts})
    cfg, added = composed(alike)
    check_settings(cfg)  # so that a mistake is a sentence, before anything starts
    folder = Path(cfg.exp) / "sweep"
    fixed = [
        *(with_plus(one, added) for one in same),
        *shared_overrides(cfg),
        f"data={quoted(cfg.data)}",
        f"ngpu={cfg.ngpu}",
        *([search_path(args.conf)] if args.conf else []),
        *([f"conf={quoted(args.conf.resolve())}"] if args.conf else []),
        *([f"+preset={args.preset}"] if args.preset else []),
    ]
    names = sorted({one.key_or_group for one in parsed(fixed, args.task)} | {"exp"})
    told = [
        *fixed,
        f"exp={quoted(folder)[:-1]}/${{hydra:job.override_dirname}}'",
        f"hydra.job.config.override_dirname.exclude_keys=[{','.join(map(quoted, names))}]",
        f"hydra.sweep.dir={quoted(folder)}",
        "hydra.sweep.subdir=.hydra/${hydra.job.num}",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",  # what this process does with its log messages is its own business
        "hydra/hydra_logging=none",
        *(with_plus(one.input_line, added) for one in varied),
    ]
    try:
        # Hydra's public entrance reads the command line, and with this variable leaves errors as they are.
        with (
            mock.patch.object(sys, "argv", ["seqkd train", "--multirun", *told]),
            mock.patch.dict(os.environ, {"HYDRA_FULL_ERROR": "1"}),
        ):
            hydra.main(config_path=str(CONF / args.task), config_name="config", version_base="1.3")(train)()
    except hydra.errors.MissingConfigException as error:
        if "launcher" not in str(error):
            raise
        raise ConfigError(
            f"{error.missing_cfg_file} is not installed; known: {', '.join(error.options or [])}; submitit's come "
            "with pip install 'seqkd[slurm]'"
        ) from error
    print(table(folder))
    return 0


def parsed(overrides: list[str], task: str) -> list[Override]:
    """Overrides as Hydra understands them. Raises ConfigError for one that it does not."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise ConfigError(explained(error, overrides, task)) from error


def train(cfg: DictConfig) -> None:
    """Train one combination, in whatever process a launcher has made for it."""
    from omegaconf import OmegaConf

    from seqkd.processes import needs_of, place
    from seqkd.progress import log_to_terminal
    from seqkd.tasks import task_of
    from seqkd.training.run import train as train_run

    log_to_terminal()
    OmegaConf.resolve(cfg)
    check_settings(cfg)
    needs = needs_of(cfg)
    if needs.world > 1 and place() is None:
        raise ConfigError(
            f"a run of this sweep asks for {needs}, but its launcher starts one process; use "
            f"hydra/launcher=submitit_slurm with hydra.launcher.nodes={needs.nodes} and "
            f"hydra.launcher.tasks_per_node={needs.per_node}"
        )
    train_run(task_of(cfg), cfg)


def table(folder: Path) -> str:
    """Markdown: all finished runs of a sweep's directory, the best on dev first."""
    rows = []
    for path in folder.rglob("summary.json"):
        run = json.loads(path.read_text(encoding="utf-8"))
        measure = next((name for name in run if name.startswith("best_dev_")), None)
        rows.append((run[measure] if measure else 0.0, str(path.parent.relative_to(folder)), measure))
    lines = ["| run | measure on dev | value |", "|---|---|---|"]
    lines += [f"| {name} | {measure or 'none'} | {value:.4f} |" for value, name, measure in sorted(rows)]
    return "\n".join(lines)
