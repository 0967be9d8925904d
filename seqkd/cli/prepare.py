"""``seqkd prepare corpus|features|tokens``: stages 0, 1 and 2 of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seqkd.cli.settings import compose, parse, parser
from seqkd.errors import ConfigError, DataError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(argv: list[str]) -> int:
    """Entry point."""
    made = parser("prepare", "Get the corpus, validate it and make features, or train the tokenizer.")
    made.add_argument("what", choices=["corpus", "features", "tokens"])
    args = parse(made, argv)
    {"corpus": corpus, "features": features, "tokens": tokens}[args.what](compose(args))
    return 0


def corpus(cfg: DictConfig) -> None:
    """Call the recipe's corpus maker (``corpus._target_``)."""
    from hydra.utils import instantiate

    if "_target_" not in cfg.corpus:
        raise ConfigError("this recipe has no corpus._target_; put Kaldi data directories into the data directory")
    instantiate(cfg.corpus, data_dir=Path(cfg.data), nj=cfg.nj, _convert_="all")


def features(cfg: DictConfig) -> None:
    """Validate every set the recipe uses, and make its features."""
    from seqkd.data.features import FeatureSettings, make_features

    sets = [cfg.teacher.train_set, cfg.student.train_set, *cfg.unlabelled, cfg.sets.dev, *cfg.sets.test]
    for name in dict.fromkeys(sets):
        count = make_features(Path(cfg.data) / name, FeatureSettings(**cfg.features), cfg.nj)
        print(f"{name}: {count} utterances")


def tokens(cfg: DictConfig) -> None:
    """Train the tokenizer, or leave it alone if its text and settings are unchanged."""
    from omegaconf import OmegaConf

    from seqkd.data.kaldi import read_data_dir
    from seqkd.data.tokens import Tokenizer, train_tokenizer

    directory, source = Path(cfg.tokens.directory), Path(cfg.data) / cfg.tokens.set
    texts = [u.text for u in read_data_dir(source)]
    if None in texts:
        raise DataError(f"{source} has no transcripts; name a labelled set in tokens.set")
    tokenizer = train_tokenizer(texts, type=cfg.tokens.type, vocab_size=cfg.tokens.vocab_size)
    if not (directory / "tokenizer.json").is_file() or Tokenizer.load(directory).hash != tokenizer.hash:
        tokenizer.save(directory)
    settings = OmegaConf.to_container(cfg.tokens)
    print(f"{len(tokenizer)} {settings['type']} units from {len(texts)} transcripts of {settings['set']}")
