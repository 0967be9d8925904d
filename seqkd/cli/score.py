"""``seqkd score``: WER and CER with error bars, of files or of a recipe's decodings."""

from __future__ import annotations

import argparse
from pathlib import Path

from seqkd.errors import ConfigError


def main(argv: list[str]) -> int:
    """Entry point. Scoring files needs neither torch nor the recipes' libraries."""
    if "--recipe" in argv:
        return score_recipe([argument for argument in argv if argument != "--recipe"])
    made = argparse.ArgumentParser(
        prog="seqkd score",
        description="Score hypothesis files against references (Kaldi text or sclite trn).",
        epilog="example: seqkd score --ref text --hyp baseline=a.txt --hyp student=b.trn --json score.json",
    )
    made.add_argument("--ref", type=Path, required=True, help="references: Kaldi text, or *.trn")
    made.add_argument("--hyp", action="append", required=True, metavar="NAME=FILE", help="a system's hypotheses")
    made.add_argument("--json", type=Path, help="write all numbers here")
    made.add_argument("--recipe", action="store_true", help="score a recipe's decodings instead (see --recipe --help)")
    args = made.parse_args(argv)
    hypotheses = {}
    for item in args.hyp:
        name, separator, path = item.partition("=")
        if not (separator and name and path):
            raise ConfigError(f"--hyp {item!r}: expected NAME=FILE")
        if name in hypotheses:
            raise ConfigError(f"--hyp {name} is given twice; give every system its own name")
        hypotheses[name] = Path(path)
    from seqkd.scoring import score_files

    print(score_files(args.ref, hypotheses, args.json))
    return 0


def score_recipe(argv: list[str]) -> int:
    """``decode_<set>/score.json`` for every system, seed and test set of a recipe."""
    from seqkd.cli.settings import compose, parse, parser, runs
    from seqkd.layout import run_directory
    from seqkd.scoring import score_files

    args = parse(parser("score --recipe", "Score the decodings of every trained system."), argv)
    cfg = compose(args)
    for system, seed in runs(cfg, with_teacher=True):
        for name in cfg.sets.test:
            decoded = run_directory(cfg, system, seed) / f"decode_{name}"
            result, reference = decoded / "score.json", Path(cfg.data) / name / "text"
            if not (decoded / "text").is_file():
                raise ConfigError(f"{decoded} has no text; run stage 7 (decode) first")
            if not reference.is_file():
                raise ConfigError(
                    f"{reference} is missing: a test set needs transcripts; name another set in sets.test"
                )
            if result.is_file() and result.stat().st_mtime > max(
                (decoded / "text").stat().st_mtime, reference.stat().st_mtime
            ):
                continue
            print(f"{name}\n{score_files(reference, {f'{system} seed {seed}': decoded / 'text'}, result)}")
    return 0
