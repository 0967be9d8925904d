"""Word, character and sentence error rates with confidence intervals and significance tests. Needs no torch."""

from seqkd.scoring.formats import read_text, read_trn, write_text, write_trn
from seqkd.scoring.normalize import Normalizer
from seqkd.scoring.wer import Counts, Rate, Score, SentenceRate, Utterances, count, score
from seqkd.scoring.words import FEWEST, SCLITE, Costs
from seqkd.statistics.bootstrap import PairedResult, bootstrap_interval, paired_bootstrap
from seqkd.statistics.holm import holm

__all__ = [
    "FEWEST",
    "SCLITE",
    "Costs",
    "Counts",
    "Normalizer",
    "PairedResult",
    "Rate",
    "Score",
    "SentenceRate",
    "Utterances",
    "bootstrap_interval",
    "count",
    "holm",
    "paired_bootstrap",
    "read_text",
    "read_trn",
    "score",
    "write_text",
    "write_trn",
]
