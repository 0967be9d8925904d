"""What a translation is measured by, as functions of sums over sentences; `TranslationScorer.measure` counts these.

Columns of the table, besides the (N,) ``tokens`` (of the reference, its end included), ``nll`` and ``brier``:

- ``bleu`` (N, 10), sacreBLEU's: length of hypothesis and reference, correct and all n-grams of order 1 to 4;
- ``chrf`` (N, 18), sacreBLEU's: n-grams of characters of order 1 to 6, in hypothesis, reference and both;
- ``forced`` (N, 3, M + 1): teacher-forced predictions, their confidences and the right ones, by bin of confidence;
- ``decoded`` (N, 3, M + 1): the same of decoded tokens.

Legend: N sentences, M bins of confidence; ``...`` any leading dimensions, such as draws of sentences.
"""

from __future__ import annotations

import numpy as np

from seqkd.statistics.measures import Measure, ece, ratio


def _bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU with sacreBLEU's default smoothing: each order without a match counts half as much as the one before."""
    length, reference = sums[..., 0], sums[..., 1]
    correct, total = sums[..., 2:6], sums[..., 6:10]
    unmatched = correct == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        smoothed = 100 / (2.0 ** np.cumsum(unmatched, axis=-1) * total)
        precisions = np.where(unmatched, smoothed, 100 * correct / total)
        brevity = np.where(length < reference, np.exp(1 - reference / length), 1.0)
        score = brevity * np.exp(np.log(precisions).sum(axis=-1) / 4)
    return np.where(unmatched.all(axis=-1) | (total == 0).any(axis=-1), 0.0, score)


def _chrf(sums: np.ndarray) -> np.ndarray:
    """chrF2: recall counts twice; orders that are longer than either side are left out."""
    ours, theirs, both = (sums[..., start::3] for start in range(3))  # (..., 6)
    used = (ours > 0) & (theirs > 0)
    orders = np.maximum(used.sum(axis=-1), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(used, both / ours, 0.0).sum(axis=-1) / orders
        recall = np.where(used, both / theirs, 0.0).sum(axis=-1) / orders
        score = 100 * 5 * precision * recall / (4 * precision + recall)
    return np.where(precision + recall > 0, score, 0.0)


BLEU = Measure("bleu", "BLEU", ("bleu",), _bleu, higher_is_better=True, tested=True)
CHRF = Measure("chrf", "chrF", ("chrf",), _chrf, higher_is_better=True, tested=True)
NLL = Measure(
    "nll",
    "NLL",
    ("nll", "tokens"),
    ratio,
    decimals=3,
    tested=True,
    about="negative log-likelihood in nats a token, of the teacher-forced predictions of all reference tokens, the "
    "ends of sentences included.",
)
ECE = Measure(
    "ece",
    "ECE",
    ("forced",),
    ece,
    unit="%",
    scale=100,
    reflect=True,
    tested=True,
    about="expected calibration error of the same predictions: the mean gap between confidence and accuracy over equal "
    "bins of confidence.",
)
INFERENCE_ECE = Measure(
    "inference_ece",
    "Inference ECE",
    ("decoded",),
    ece,
    unit="%",
    scale=100,
    reflect=True,
    tested=True,
    about="the same of the tokens that were decoded, without the ends (Wang et al. 2020, arXiv:2005.00963).",
)
BRIER = Measure(
    "brier",
    "Brier",
    ("brier", "tokens"),
    ratio,
    decimals=4,
    tested=True,
    about="Brier score, from 0 to 2, of the teacher-forced predictions.",
)
MEASURES = (BLEU, CHRF, NLL, ECE, INFERENCE_ECE, BRIER)
