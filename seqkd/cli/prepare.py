"""``seqkd prepare``: the first stages of a recipe: the corpus, and what its task makes of it (features, units, …)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.cli.settings import parse, parser
from seqkd.config import compose
from seqkd.errors import ConfigError, SeqkdError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(argv: list[str]) -> int:
    """Entry point."""
    made = parser(
        "prepare", "Get the corpus; or validate it, and make of it what the task needs: features, a tokenizer."
    )
    made.add_argument(
        "what", nargs="?", help="'corpus' to get or make it; left out: what the task makes of it, such as features"
    )
    args = parse(made, argv)
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


def corpus(cfg: DictConfig) -> None:
    """Call the recipe's corpus maker (``corpus._target_``)."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if "_target_" not in cfg.corpus:
        raise ConfigError("this recipe has no corpus._target_; put finished sets into the data directory")
    try:
        instantiate(cfg.corpus, data_dir=Path(cfg.data), nj=cfg.nj, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, SeqkdError):  # the maker's own sentence
            raise error.__cause__ from None
        raise
