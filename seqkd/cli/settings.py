"""Options every recipe command shares, and how they become one configuration."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.cli.jobs import on_slurm
from seqkd.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONF = Path(__file__).resolve().parent.parent / "conf"
TASKS = tuple(sorted(path.parent.name for path in CONF.glob("*/config.yaml")))


def parser(command: str, description: str, tasks: tuple[str, ...] = TASKS) -> argparse.ArgumentParser:
    """Build a parser with the options that all recipe commands share; ``tasks`` are those that the command serves."""
    made = argparse.ArgumentParser(prog=f"seqkd {command}", description=description)
    made.add_argument("--task", choices=tasks, default="ctc_kd", help="kind of recipe (default: ctc_kd)")
    made.add_argument("--conf", type=Path, help="a recipe's conf directory, with preset/*.yaml")
    made.add_argument("--preset", help="a preset of that directory: smoke, default, study, full")
    made.add_argument("--exp", type=Path, default=Path("exp"), help="experiment directory (default: exp)")
    made.add_argument("--data", type=Path, default=Path("data"), help="the sets' directories (default: data)")
    made.add_argument("--nj", type=int, default=os.cpu_count() or 1, help="parallel jobs (default: all cores)")
    made.add_argument("--ngpu", type=int, default=0, help="GPUs a training run uses (default: 0, the CPU)")
    return made


def parse(made: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """Parse ``key=value`` settings too, and refuse other positional arguments."""
    made.add_argument("overrides", nargs="*", metavar="key=value", help="any setting of seqkd/conf/<task>/config.yaml")
    args = made.parse_intermixed_args(argv)
    for override in args.overrides:
        if "=" not in override:
            made.error(f"{override!r} is neither an option nor a key=value setting")
    if args.nj < 1 or args.ngpu < 0:
        made.error("--nj must be at least 1 and --ngpu at least 0")
    if args.ngpu and not on_slurm():  # the GPUs are those of other machines then
        check_gpus(args.ngpu)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("lhotse").setLevel(logging.WARNING)
    return args


def add_shards(made: argparse.ArgumentParser, what: str) -> None:
    """Add ``--shard I --shards N``: do only a share of ``what``."""
    made.add_argument("--shard", type=int, metavar="I", help=f"{what} only this share of all, from 0")
    made.add_argument("--shards", type=int, metavar="N", help="of how many")


def check_shards(args: argparse.Namespace) -> None:
    """Raise ConfigError unless both options of ``add_shards`` are there, or neither."""
    if (args.shard is None) != (args.shards is None) or (args.shards and not 0 <= args.shard < args.shards):
        raise ConfigError("--shard I and --shards N go together, with I from 0 to N - 1")


def check_gpus(wanted: int) -> None:
    """Raise ConfigError when this machine has fewer GPUs than ``wanted``."""
    import torch

    found = torch.cuda.device_count()
    if found < wanted:
        raise ConfigError(
            f"--ngpu is {wanted}, but torch can use {found} GPUs here; leave it out to use the CPU, "
            "or see what 'seqkd doctor' says"
        )


def compose(args: argparse.Namespace, *extra: str) -> DictConfig:
    """Settings from the package's defaults, the recipe's preset, key=value arguments and ``extra``, later ones winning.

    Raises ConfigError when a setting does not exist or cannot be read.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from seqkd.cli.checks import check_values, explain

    overrides = []
    if args.conf:
        overrides.append(f"hydra.searchpath=[{quoted(args.conf.resolve().as_uri())}]")
    if args.preset:
        if not (args.conf and (args.conf / "preset" / f"{args.preset}.yaml").is_file()):
            known = sorted(p.stem for p in (args.conf / "preset").glob("*.yaml")) if args.conf else []
            raise ConfigError(f"there is no preset {args.preset!r}; known: {', '.join(known) or 'none without --conf'}")
        overrides.append(f"+preset={args.preset}")
    fixed = [f"exp={quoted(args.exp)}", f"data={quoted(args.data)}", f"nj={args.nj}", f"ngpu={args.ngpu}"]
    try:
        with initialize_config_dir(str(CONF / args.task), version_base="1.3"):
            cfg = hydra_compose("config", [*overrides, *fixed, *args.overrides, *extra])
        OmegaConf.resolve(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, [*args.overrides, *extra], args.task)) from error
    check_values(cfg)
    return cfg


def quoted(path: Path | str) -> str:
    """Quote a path or address for Hydra's override grammar."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def system_overrides(cfg: DictConfig, system: str, seed: int) -> list[str]:
    """Overrides that select a system and a seed, with what was chosen for it on dev."""
    chosen = cfg.dev_chosen.get(system) or []
    return [f"system={system}", f"seed={seed}", *chosen]


def shared_overrides(cfg: DictConfig) -> list[str]:
    """Overrides for runs elsewhere that have this experiment's tokenizer, teacher and book in common."""
    told = [f"tokens.directory={quoted(cfg.tokens.directory)}"] if "tokens" in cfg else []
    if cfg.task == "ctc_kd":
        told.append(f"teacher.exp={quoted(cfg.teacher.exp)}")
        told.append(f"book.directory={quoted(cfg.book.directory)}")
    return told


def student_runs(cfg: DictConfig) -> list[tuple[str, int]]:
    """Every (system, seed) of ``systems=[...]``. Raises ConfigError for a system that does not exist."""
    known = {path.stem for path in (CONF / cfg.task / "system").glob("*.yaml")}
    for system in cfg.systems:
        if system not in known:
            raise ConfigError(f"there is no system {system!r}; known: {', '.join(sorted(known))}")
    return [(system, seed) for system in cfg.systems for seed in range(cfg.seeds)]
