"""``seqkd prepare``: the first stages of a recipe: the corpus, and what its task makes of it (features, units, …)."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.cli.settings import parse, parser
from seqkd.config import compose
from seqkd.errors import ConfigError, SeqkdError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_SHOWN = 20  # commands


def main(argv: list[str]) -> int:
    """Entry point."""
    if argv[:1] == ["segment"]:
        from seqkd.cli.segment import main as segment

        return segment(argv[1:])
    made = parser(
        "prepare", "Get the corpus; or validate it, and make of it what the task needs: features, a tokenizer."
    )
    made.add_argument(
        "what",
        nargs="?",
        help="'corpus' to get or make it; left out: what the task makes of it, such as features; 'segment' to cut "
        "long recordings with their texts into utterances (seqkd prepare segment --help)",
    )
    made.add_argument(
        "--unpipe",
        type=Path,
        metavar="DIR",
        help="show the commands in the wav.scp of a Kaldi data directory; with --yes, run them, and write DIR.files, "
        "which names files in their place",
    )
    made.add_argument("--yes", action="store_true", help="with --unpipe: run the commands")
    args = parse(made, argv)
    if args.unpipe:
        return unpipe(args.unpipe, args.yes)
    if args.what and "=" in args.what:  # no step, but the first of the settings
        args.overrides.insert(0, args.what)
        args.what = None
    if args.what not in (None, "corpus"):
        raise ConfigError(f"there is no {args.what!r} to prepare; expected corpus, or nothing for what the task needs")
    cfg = compose(args)
    from seqkd.tasks import task_of

    if args.what == "corpus":
        corpus(cfg)
    else:
        task_of(cfg).prepare(cfg)
    return 0


def unpipe(directory: Path, yes: bool) -> int:
    """Show the commands of a ``wav.scp``, or run them."""
    from seqkd.data.unpipe import find_commands
    from seqkd.data.unpipe import unpipe as run

    place = directory.resolve() if directory.name in ("", "..") else directory
    out = place.parent / f"{place.name}.files"
    if yes:
        print(f"{run(directory, out)} commands run; use {out} in place of {directory}")
        return 0
    piped = find_commands(directory)
    for key, command in list(piped.commands.items())[:_SHOWN]:
        print(f"{key}: {command}")
    if len(piped.commands) > _SHOWN:
        print(f"... and {len(piped.commands) - _SHOWN} more")
    programs = ", ".join(f"{name} ({count})" for name, count in piped.programs().items())
    print(f"{len(piped.commands)} commands, of the programs {programs}; run only what you trust:")
    print(f"  seqkd prepare --unpipe {shlex.quote(str(directory))} --yes")
    return 0


def corpus(cfg: DictConfig) -> None:
    """Call the recipe's corpus maker (``corpus._target_``)."""
    from hydra.errors import InstantiationException
    from hydra.utils import get_method, instantiate
    from omegaconf import OmegaConf

    if "_target_" not in cfg.corpus:
        raise ConfigError("this recipe has no corpus._target_; put finished sets into the data directory")
    given = OmegaConf.to_container(cfg.corpus, resolve=True)
    if any(isinstance(value, str) and "${" in value for value in given.values()):  # Hydra would look up what is a name
        get_method(given.pop("_target_"))(data_dir=Path(cfg.data), nj=cfg.nj, **given)
        return
    try:
        instantiate(cfg.corpus, data_dir=Path(cfg.data), nj=cfg.nj, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, SeqkdError):  # the maker's own sentence
            raise error.__cause__ from None
        raise
