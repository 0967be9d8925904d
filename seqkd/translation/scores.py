"""What ``score.json`` of a decoded test set of translations holds beside its ``scores`` (`seqkd.experiment.scores`).

::

    {
      "schema": 2,
      "task": "translation",
      "options": {
        "bins", "alignment",             of the calibration errors; of decoded tokens with the reference's
        "reference",                     its file's name
        "signatures": {"bleu", "chrf"}   sacreBLEU's, to be quoted with a number
      },
      "sacrebleu": {"bleu", "chrf", "precisions", "brevity_penalty", "hypothesis_words", "reference_words"},
      "teacher_forced": CALIBRATION,     of the reference tokens, the ends of sentences included
      "inference": CALIBRATION or null   of the decoded tokens, without the ends
    }

``scores`` are ``bleu`` and ``chrf`` from 0 to 100, ``nll`` in nats a token, ``brier`` from 0 to 2, and the fractions
``ece`` and ``inference_ece``. A CALIBRATION is ``{"count", "accuracy", "confidence", "ece", "ece_by_chance", "mce",
"adaptive_ece", "nll", "brier", "nce", "diagram": [{"from", "to", "count", "confidence", "accuracy"}]}``. ECE is biased
upwards: ``ece_by_chance`` is about what a perfectly calibrated model would show. ``nll`` and ``brier`` are of the whole
distribution if teacher-forced, and of the event that a decoded token is correct at inference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqkd.errors import DataError
from seqkd.statistics.calibration import Calibration
from seqkd.statistics.table import Table
from seqkd.translation.files import Translation, check_ids, read_translations
from seqkd.translation.forced import Forced, read_forced
from seqkd.translation.scorer import TranslationScorer

SCHEMA = 2
INPUTS = ("hyp.jsonl", "forced.npz")  # what decoding leaves and scoring reads


def read_decoding(scorer: TranslationScorer, decoded: Path, reference: Path) -> tuple[dict[str, Translation], Forced]:
    """Read what decoding left.

    Args:
        scorer: of the references.
        decoded: directory with ``hyp.jsonl`` and ``forced.npz``.
        reference: file of the references, to name it.

    Raises:
        DataError: a file is missing or malformed, or sentences are not those of the references.
    """
    hypotheses, forced = (decoded / name for name in INPUTS)
    translations, predictions = read_translations(hypotheses), read_forced(forced)
    try:
        check_ids(dict.fromkeys(scorer.ids), translations)
    except DataError as fault:
        raise DataError(f"{hypotheses} against {reference}: {fault}") from None
    return translations, predictions


def details(scorer: TranslationScorer, table: Table, decoded: Path, reference: Path) -> dict[str, Any]:
    """Return what the module's head describes; ``table`` as `TranslationScorer.measure` counted it."""
    forced, inference = scorer.calibrations(*read_decoding(scorer, decoded, reference))
    return {
        "schema": SCHEMA,
        "task": "translation",
        "options": {
            "bins": scorer.bins,
            "alignment": scorer.alignment,
            "reference": reference.name,
            "signatures": scorer.signatures,
        },
        "sacrebleu": scorer.describe(table),
        "teacher_forced": _calibration(forced),
        "inference": _calibration(inference),
    }


def _calibration(measured: Calibration) -> dict[str, Any] | None:
    if not measured.count:
        return None
    return {**measured.summary().to_json(), "ece_by_chance": measured.ece_by_chance(), "diagram": measured.diagram()}
