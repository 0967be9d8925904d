"""ARPA files without KenLM: read into `NGram`, and asked as KenLM is asked."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from seqkd.decoding.ngram import BEGIN, END, UNKNOWN, Gram, NGram
from seqkd.errors import DataError
from seqkd.files import decode_line

LACKING = -100.0  # log10 P(<unk>) of a model without it: KenLM's


class ArpaModel:
    """The four questions that `seqkd.decoding.language_model` asks of a model. A state is the words so far."""

    def __init__(self, path: Path, words: Sequence[str]) -> None:
        self._model, self._words = read_arpa(path), words

    def start(self, empty: bool) -> Gram:
        """The state without a history, or at the beginning of a sentence."""
        return () if empty else (BEGIN,)

    def score(self, state: Gram, word: int) -> tuple[Gram, float]:
        """The state with one word more, and log10 P(word | state)."""
        return self._score(state, self._words[word])

    def finish(self, state: Gram) -> tuple[Gram, float]:
        """The same of the end of the sentence."""
        return self._score(state, END)

    def _score(self, state: Gram, word: str) -> tuple[Gram, float]:
        longest = self._model.order - 1
        return ((*state, word)[-longest:] if longest else ()), self._model.log_prob(state, word)


def read_arpa(path: Path) -> NGram:
    """Read an ARPA file, packed by gzip or not.

    Raises:
        DataError: the file cannot be read or is not of this format, or lacks n-grams that it promises; the sentence
            names the line.
    """
    lines = _lines(path)
    if next((text for _, text in lines if text), None) != "\\data\\":
        raise DataError(f"{path} begins with another line than \\data\\; expected an ARPA file.")
    promised: dict[int, int] = {}
    log_probs: dict[Gram, float] = {}
    backoffs: dict[Gram, float] = {}
    order, found = 0, 0
    for where, text in lines:
        if text == "\\end\\":
            break
        if match := re.fullmatch(r"ngram\s+(\d+)\s*=\s*(\d+)", text):
            promised[int(match[1])] = int(match[2])
        elif match := re.fullmatch(r"\\(\d+)-grams:", text):
            _check(path, order, found, promised)
            order, found = int(match[1]), 0
            if order not in promised:
                raise DataError(f"{where}: {text} were not promised by a line 'ngram {order}=...' above.")
        elif text:
            fields = text.split()
            numbers = [_number(field) for field in (fields[0], fields[order + 1] if len(fields) == order + 2 else "0")]
            if order == 0 or len(fields) not in (order + 1, order + 2) or None in numbers:
                wanted = (
                    f"log10 probability, {order} words, perhaps log10 of a backoff weight" if order else "ngram N=COUNT"
                )
                raise DataError(f"{where}: found {text!r}, expected {wanted}.")
            gram, found = tuple(fields[1 : order + 1]), found + 1
            log_probs[gram] = numbers[0]
            if len(fields) == order + 2:
                backoffs[gram] = numbers[1]
    else:
        raise DataError(f"{path} ends without \\end\\: it was cut off.")
    _check(path, order, found, promised)
    if order != max(promised, default=0) or not log_probs:
        raise DataError(f"{path} promises {max(promised, default=0)}-grams and has none; it is damaged.")
    log_probs.setdefault((UNKNOWN,), LACKING)
    return NGram(order, log_probs, backoffs)


def _check(path: Path, order: int, found: int, promised: dict[int, int]) -> None:
    if order and found != promised[order]:
        raise DataError(f"{path} has {found} {order}-grams and promises {promised[order]}; it is damaged.")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines without the white space around them, each with where it is."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with (gzip.open if packed else Path.open)(path, "rb") as file:
            for number, raw in enumerate(file, 1):
                where = f"{path}, line {number}"
                yield where, decode_line(raw, where).strip()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
