"""Error rates with intervals, significance tests, and reports of whole experiments. Needs no torch."""

from seqkd.scoring.bootstrap import PairedResult, bootstrap_interval, holm, paired_bootstrap
from seqkd.scoring.formats import read_text, read_transcripts, read_trn, write_text, write_trn
from seqkd.scoring.tables import compare_pairs, score_files
from seqkd.scoring.wer import Counts, Rate, Score, SentenceRate, Utterances, count, score

__all__ = [
    "Counts",
    "PairedResult",
    "Rate",
    "Score",
    "SentenceRate",
    "Utterances",
    "bootstrap_interval",
    "compare_pairs",
    "count",
    "holm",
    "paired_bootstrap",
    "read_text",
    "read_transcripts",
    "read_trn",
    "score",
    "score_files",
    "write_text",
    "write_trn",
]
