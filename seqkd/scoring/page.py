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
LIMIT = 20_000  # utterances in a page: browsers take no more with ease
_LETTERS = {SUBSTITUTION: "S", DELETION: "D", INSERTION: "I", LEFT_OUT: "O"}


def write_page(path: Path | str, evaluation: Evaluation, *, limit: int = LIMIT) -> None:
    """Write the page; of more than ``limit`` utterances those with errors come first, and the page states it."""
    text = json.dumps(_data(evaluation, limit), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Within a script element only these could end it, or begin a comment.
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    files.write_text(path, TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", text))


def _data(evaluation: Evaluation, limit: int) -> dict[str, Any]:
    """What the page shows: references once, and of each system only how it differs from them."""
    errors: dict[str, int] = {}
    for result in evaluation.scores.values():
        for utterance, count in zip(result.utterances.ids, result.utterances.words.errors.tolist(), strict=True):
            errors[utterance] = errors.get(utterance, 0) + count
    ids = list(errors)
    if len(ids) > limit:
        chosen = set(sorted(ids, key=lambda utterance: errors[utterance] == 0)[:limit])
        ids = [utterance for utterance in ids if utterance in chosen]
    numbers: dict[str, int] = {}
    references: dict[str, list[int]] = {}
    systems = {name: _system(result.utterances, ids, numbers, references) for name, result in evaluation.scores.items()}
    speakers = [evaluation.speakers.get(utterance) for utterance in ids]
    return {
        "score": evaluation.json,
        "vocabulary": list(numbers),
        "utterances": {
            "ids": ids,
            "refs": [references[utterance] for utterance in ids],
            "speakers": speakers if any(speakers) else None,
            "systems": systems,
        },
    }


def _system(
    utterances: Utterances, ids: list[str], numbers: dict[str, int], references: dict[str, list[int]]
) -> dict[str, Any]:
    """Rows by place in ``ids``: code, words and, if it is another, the reference; none where all is right.

    The code is ``12S3``: 12 right words, a substituted one, 3 right ones; D is a deleted word, I an inserted one, O an
    optional one that was left out. The words are those of S and I. A row of 0 is an utterance that was not scored.
    """
    aligned = utterances.alignments
    words = list(aligned.vocabulary)
    places = {utterance: index for index, utterance in enumerate(utterances.ids)}
    rows: dict[int, Any] = {}
    for place, utterance in enumerate(ids):
        index = places.get(utterance)
        if index is None:
            rows[place] = 0
            continue
        ops = aligned.alignments[index]
        reference = [numbers.setdefault(words[word], len(numbers)) for word in aligned.reference[index].tolist()]
        own = references.setdefault(utterance, reference)
        if own == reference and not (ops != MATCH).any():
            continue
        spoken = ops[(ops != DELETION) & (ops != LEFT_OUT)]
        other = aligned.hypothesis[index][spoken != MATCH].tolist()
        row = [_code(ops), [numbers.setdefault(words[word], len(numbers)) for word in other]]
        rows[place] = row if own == reference else [*row, reference]
    listed = sum(row != 0 for row in rows.values()) + len(ids) - len(rows)
    return {"total": len(utterances.ids), "listed": listed, "rows": rows}


def _code(ops: np.ndarray) -> str:
    code, right = "", 0
    for op in ops.tolist():
        if op == MATCH:
            right += 1
            continue
        code += (str(right) if right else "") + _LETTERS[op]
        right = 0
    return code + (str(right) if right else "")
