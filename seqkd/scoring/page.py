"""The HTML report: one file that needs nothing else, neither a network nor a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkd import files
from seqkd.scoring.words import DELETION, INSERTION, LEFT_OUT, MATCH, SUBSTITUTION

if TYPE_CHECKING:
    from seqkd.scoring.evaluation import Evaluation
    from seqkd.scoring.wer import Utterances

TEMPLATE = Path(__file__).with_name("page.html")
LIMIT = 20_000  # utterances of a system in a page: browsers take no more with ease
_LETTERS = {MATCH: "M", SUBSTITUTION: "S", DELETION: "D", INSERTION: "I", LEFT_OUT: "O"}


def write_page(path: Path | str, evaluation: Evaluation, *, limit: int = LIMIT) -> None:
    """Write the page; of more than ``limit`` utterances a system those with errors come first, and it says so."""
    numbers: dict[str, int] = {}
    utterances = {
        name: _utterances(result.utterances, numbers, evaluation.speakers, limit)
        for name, result in evaluation.scores.items()
    }
    data = {"score": evaluation.json, "vocabulary": list(numbers), "utterances": utterances}
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Within a script element only these could end it, or begin a comment.
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    files.write_text(path, TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", text))


def _utterances(
    utterances: Utterances, numbers: dict[str, int], speakers: dict[str, str], limit: int
) -> dict[str, Any]:
    aligned, errors = utterances.alignments, utterances.words.errors
    chosen = np.arange(len(utterances.ids))
    if len(chosen) > limit:
        chosen = np.sort(np.argsort(errors == 0, kind="stable")[:limit])
    words = list(aligned.vocabulary)

    def own(ids: np.ndarray) -> list[int]:
        return [numbers.setdefault(words[word], len(numbers)) for word in ids.tolist()]

    rows = []
    for index in chosen.tolist():
        utterance = utterances.ids[index]
        row = {
            "id": utterance,
            "errors": int(errors[index]),
            "ref": own(aligned.reference[index]),
            "hyp": own(aligned.hypothesis[index]),
            "ops": "".join(_LETTERS[op] for op in aligned.alignments[index].tolist()),
        }
        if utterance in speakers:
            row["speaker"] = speakers[utterance]
        rows.append(row)
    return {"total": len(utterances.ids), "rows": rows}
