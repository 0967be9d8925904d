"""What decoding leaves of each test set, read with care: ``hyp.jsonl``.

A line is a JSON object: ``id``; ``text``, the translation; ``tokens``, their numbers without the end of the sentence;
``confidences``, the probability of each token. What else it holds, such as ``score``, is not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqkd.errors import DataError
from seqkd.scoring.formats import read_lines

_ABOVE_ONE = 1e-4  # a probability in single precision may be a little more than 1


@dataclass(frozen=True)
class Translation:
    """One decoded sentence: its text, its tokens and the probability of each of them."""

    text: str
    tokens: tuple[int, ...]
    confidences: tuple[float, ...]


def read_translations(path: Path | str) -> dict[str, Translation]:
    """Read a ``hyp.jsonl``.

    Returns:
        Translations by sentence id, in the order of the file.

    Raises:
        DataError: no such file, nothing in it, or a malformed line, which the sentence names.
    """
    found: dict[str, Translation] = {}
    lines: dict[str, int] = {}
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as fault:
            raise DataError(f"{where}: not JSON ({fault.msg}); decode again.") from None
        if not isinstance(entry, dict):
            raise DataError(f"{where}: expected a JSON object with id, text, tokens and confidences.")
        sentence = entry.get("id")
        if not isinstance(sentence, str) or not sentence.strip():
            raise DataError(f"{where}: id is {sentence!r}; expected text that is not empty.")
        if sentence in lines:
            raise DataError(f"{where}: sentence {sentence} was already given in line {lines[sentence]}.")
        lines[sentence], found[sentence] = number, _translation(entry, where)
    if not found:
        raise DataError(f"{path} holds no sentences; decode again.")
    return found


def check_ids(references: Mapping[str, Any], translations: Mapping[str, Any]) -> None:
    """Raise DataError, without the files' names, unless there is a translation of each reference and no other."""
    for have, lack, what in ((references, translations, "translation"), (translations, references, "reference")):
        if lacking := [sentence for sentence in have if sentence not in lack]:
            are = "sentence is" if len(lacking) == 1 else "sentences are"
            raise DataError(f"{len(lacking)} {are} without a {what}, such as {lacking[0]}; decode again.")


def _translation(entry: Mapping[str, Any], where: str) -> Translation:
    text, tokens, confidences = (entry.get(key) for key in ("text", "tokens", "confidences"))
    if not isinstance(text, str):
        raise DataError(f"{where}: text is {text!r}; expected text.")
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise DataError(f"{where}: tokens must be a list of whole numbers.")
    if not isinstance(confidences, list) or len(confidences) != len(tokens):
        given = len(confidences) if isinstance(confidences, list) else "no"
        raise DataError(f"{where}: there are {len(tokens)} tokens and {given} confidences; expected one each.")
    for value in confidences:
        # A number that is not one (NaN) is neither at least 0 nor at most 1.
        if type(value) not in (int, float) or not 0 <= value <= 1 + _ABOVE_ONE:
            raise DataError(f"{where}: a confidence is {value!r}; expected a probability from 0 to 1.")
    return Translation(text, tuple(tokens), tuple(min(float(value), 1.0) for value in confidences))
