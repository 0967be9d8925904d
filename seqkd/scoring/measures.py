"""What transcripts are measured by, as functions of sums over utterances, and how these are counted.

Columns of the table: (N,) ``substitutions``, ``deletions``, ``insertions``, ``errors`` and ``words``;
``character_errors`` and ``characters``; of the words that were given a confidence, ``confidences`` (N, 3, M + 1),
their number, confidences and right ones by bin, and ``surprise``, minus the log-probability of what came true.

Legend: N utterances, M = 15 bins of confidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from seqkd.scoring.tables import confident_words
from seqkd.scoring.wer import Utterances
from seqkd.statistics.calibration import bins_by_item
from seqkd.statistics.measures import Measure, ece, nce, ratio
from seqkd.statistics.table import Table

_LEAST = 1e-12  # probabilities below this count as this, as a log would not end

WER = Measure(
    "wer",
    "WER",
    ("errors", "words"),
    ratio,
    unit="%",
    scale=100,
    about="word error rate: substitutions, deletions and insertions in % of the reference words.",
)
CER = Measure(
    "cer",
    "CER",
    ("character_errors", "characters"),
    ratio,
    unit="%",
    scale=100,
    about="the same of characters, spaces included.",
)
ECE = Measure("ece", "ECE", ("confidences",), ece, unit="%", scale=100, reflect=True)
NCE = Measure("nce", "NCE", ("confidences", "surprise"), nce, higher_is_better=True)
MEASURES = (WER, CER)
KINDS = tuple(
    Measure(f"{kind}_rate", kind.capitalize(), (f"{kind}s", "words"), ratio, unit="%", scale=100)
    for kind in ("substitution", "deletion", "insertion")
)


def tabulate(utterances: Utterances, confidences: Mapping[str, Sequence[float]] | None = None) -> Table:
    """Return the table of sums of utterances that were counted with their characters.

    Args:
        utterances: see `seqkd.scoring.count`.
        confidences: of each word, by utterance id; utterances that lack some have none.
    """
    words, characters = utterances.words, utterances.characters
    sure, correct, lengths = confident_words(utterances, confidences or {})
    came_true = np.maximum(np.where(correct, sure, 1 - sure), _LEAST)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    columns = {
        "substitutions": words.substitutions,
        "deletions": words.deletions,
        "insertions": words.insertions,
        "errors": words.errors,
        "words": words.length,
        "character_errors": characters.errors,
        "characters": characters.length,
        "confidences": bins_by_item(sure, correct, lengths),
        "surprise": np.bincount(owner, -np.log(came_true), minlength=len(lengths)),
    }
    return Table(utterances.ids, columns)
