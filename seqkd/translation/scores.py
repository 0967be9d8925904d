"""``score.json`` of a decoded test set of translations, schema 1, and the table that is printed.

Keys may be added within a schema number; none is removed or changes its meaning::

    {
      "schema": 1,
      "task": "translation",
      "options": {
        "bins", "alignment",             of the calibration errors; of decoded tokens with the reference's
        "replicates", "seed",            of the bootstrap
        "reference",                     its file's name
        "signatures": {"bleu", "chrf"}   sacreBLEU's, to be quoted with a number
      },
      "sentences",
      "scores": {
        "bleu", "chrf", "nll", "ece", "inference_ece", "brier": {"value", "ci95": [low, high]}
      },                                 BLEU and chrF from 0 to 100, NLL in nats a token, Brier from 0 to 2, ECEs
                                         fractions; null where undefined: the inference ECE without decoded tokens
      "sacrebleu": {"bleu", "chrf", "precisions", "brevity_penalty", "hypothesis_words", "reference_words"},
      "teacher_forced": CALIBRATION,     of the reference tokens, the ends of sentences included
      "inference": CALIBRATION or null   of the decoded tokens, without the ends
    }

A CALIBRATION is ``{"count", "accuracy", "confidence", "ece", "ece_by_chance", "mce", "adaptive_ece", "nll", "brier",
"nce", "diagram": [{"from", "to", "count", "confidence", "accuracy"}]}``. ECE is biased upwards: ``ece_by_chance`` is
about what a perfectly calibrated model would show. ``nll`` and ``brier`` are of the whole distribution if
teacher-forced, and of the event that a decoded token is correct at inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqkd import files
from seqkd.errors import DataError
from seqkd.scoring.formats import read_text
from seqkd.statistics.calibration import Calibration
from seqkd.translation.files import check_ids, read_translations
from seqkd.translation.forced import read_forced
from seqkd.translation.inference import EDIT
from seqkd.translation.scorer import Encode, TranslationScore, score_translations

SCHEMA = 1
INPUTS = ("hyp.jsonl", "forced.npz")  # what decoding leaves and scoring reads


def score_decoding(
    reference: Path | str,
    decoded: Path | str,
    encode: Encode,
    *,
    json: Path | str | None = None,
    bins: int = 15,
    alignment: str = EDIT,
    tokenize: str = "13a",
    replicates: int = 1000,
    seed: int = 0,
) -> str:
    """Score one decoding and write its ``score.json``.

    Args:
        reference: ``<id> <text>`` lines.
        decoded: directory with ``hyp.jsonl`` and ``forced.npz``.
        encode: the tokenizer that the model was trained with.
        json: where to write; ``score.json`` in ``decoded`` if left out.
        bins, alignment, tokenize, replicates, seed: see `score_translations`.

    Returns:
        A table for the terminal.

    Raises:
        DataError: a file is missing or malformed, or ids differ; the sentence names the file.
    """
    reference, decoded = Path(reference), Path(decoded)
    settings = {"bins": bins, "alignment": alignment, "replicates": replicates, "seed": seed}
    references = read_text(reference)
    hypotheses, forced = (decoded / name for name in INPUTS)
    translations, predictions = read_translations(hypotheses), read_forced(forced)
    try:
        check_ids(references, translations)
    except DataError as fault:
        raise DataError(f"{hypotheses} against {reference}: {fault}") from None
    try:
        score = score_translations(references, translations, predictions, encode, tokenize=tokenize, **settings)
    except DataError as fault:
        raise DataError(f"{forced} against {reference}: {fault}") from None
    options = {**settings, "reference": reference.name, "signatures": score.signatures}
    files.write_json(json or decoded / "score.json", to_json(score, options))
    return table(score)


def to_json(score: TranslationScore, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of score.json."""
    scores = {}
    for key, estimate in score.estimates.items():
        ends = estimate.ci95
        # BLEU and chrF by sacreBLEU itself, to the last digit; the others have no such reference.
        value = score.sacrebleu.get(key, estimate.value)
        scores[key] = {"value": value if value == value else None, "ci95": list(ends) if ends else None}
    return {
        "schema": SCHEMA,
        "task": "translation",
        "options": dict(options),
        "sentences": score.sentences,
        "scores": scores,
        "sacrebleu": score.sacrebleu,
        "teacher_forced": _calibration(score.forced),
        "inference": _calibration(score.decoded),
    }


def table(score: TranslationScore) -> str:
    """Return all scores for the terminal, with 95 % intervals, and the signatures."""
    rows = []
    for estimate in score.estimates.values():
        show, ends = estimate.measure.show, estimate.ci95
        interval = f"[{show(ends[0])}, {show(ends[1])}]" if ends else ""
        rows.append((estimate.measure.label, show(estimate.value), interval))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in rows]
    chance = [
        f"{100 * one.ece_by_chance():.2f} % {name}"
        for one, name in ((score.forced, "teacher-forced"), (score.decoded, "at inference"))
        if one.count
    ]
    return "\n".join(
        [
            *lines,
            f"{score.sentences} sentences; a perfectly calibrated model would show an ECE of {', '.join(chance)}",
            *score.signatures.values(),
        ]
    )


def _calibration(measured: Calibration) -> dict[str, Any] | None:
    if not measured.count:
        return None
    return {**measured.summary().to_json(), "ece_by_chance": measured.ece_by_chance(), "diagram": measured.diagram()}
