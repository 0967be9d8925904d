"""``seqkd tune-lm``: choose the language model's weight and the word score on dev."""

from __future__ import annotations

from seqkd.cli.settings import parse, parser
from seqkd.config import compose
from seqkd.errors import ConfigError


def main(argv: list[str]) -> int:
    """Entry point: one table for each system of ``systems=[...]``."""
    about = "Choose decode.lm_weight and decode.word_score on dev; decode.lm and decode.beam say what is searched."
    made = parser("tune-lm", about, tasks=("asr",))
    made.add_argument("--lm-weights", type=numbers, metavar="A,B,...", help="to try (default: a small grid)")
    made.add_argument("--word-scores", type=numbers, metavar="A,B,...", help="likewise")
    args = parse(made, argv)
    cfg = compose(args)
    from seqkd.decoding.lm_tuning import tune_lm

    if not cfg.systems:
        raise ConfigError(
            "systems is empty; name the systems whose models are to be decoded, such as systems=[cons_kd]"
        )
    given = {"lm_weights": args.lm_weights, "word_scores": args.word_scores}
    for system in cfg.systems:
        found = tune_lm(cfg, system, cfg.seed, **{name: value for name, value in given.items() if value})
        print(f"{system}\n{found.table()}best: decode.lm_weight={found.best.lm_weight:g} "
              f"decode.word_score={found.best.word_score:g}")  # fmt: skip
    return 0


def numbers(text: str) -> list[float]:
    """Of a comma-separated list."""
    return [float(one) for one in text.split(",")]
