"""N-gram language models for decoding, read by the KenLM of flashlight-text, or without it, if ARPA, by ourselves."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seqkd.decoding.arpa import ArpaModel
from seqkd.errors import ConfigError, DataError

BINARY = b"mmap lm "  # what KenLM's binaries begin with
_NATURAL = math.log(10.0)  # KenLM's logarithms have base 10


class History:
    """The words so far, as far as the model looks back; what follows is looked up once."""

    __slots__ = ("after", "end", "state")

    def __init__(self, state: Any) -> None:
        self.state = state
        self.after: dict[int, tuple[History, float]] = {}
        self.end: float | None = None


class LanguageModel:
    """P(word | history) of a list of words. Probabilities are natural logarithms.

    Words that the model lacks have its probability of ``<unk>``, which is 1e-100 if it lacks that, too.
    """

    def __init__(self, path: Path, words: Sequence[str]) -> None:
        """Read an ARPA file (or one packed by gzip) or a binary of KenLM's.

        Raises:
            ConfigError: A binary, and flashlight-text, which reads it, is not installed.
            DataError: The file is missing, or cannot be read as a language model.
        """
        if not path.is_file():
            raise DataError(f"The language model {path} does not exist; correct decode.lm.")
        try:
            from flashlight.lib.text.decoder.kenlm import KenLM
            from flashlight.lib.text.dictionary import Dictionary
        except ImportError as error:
            with path.open("rb") as file:
                if file.read(len(BINARY)) == BINARY:
                    raise ConfigError(
                        f"decode.lm is {path}, a binary of KenLM's, and what reads it is not installed: pip install "
                        "'seqkd[lm]' (flashlight-text, for Python up to 3.12); or give the ARPA file"
                    ) from error
            self._model: Any = ArpaModel(path, words)
            return
        self._dictionary = Dictionary(list(words))  # KenLM holds no reference of its own
        try:
            with _quiet():
                self._model = KenLM(str(path), self._dictionary)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].removesuffix(".")
            raise DataError(
                f"{path} cannot be read as a language model ({reason}); expected an ARPA file or a binary of KenLM's."
            ) from error

    def start(self) -> History:
        """Return the beginning of a sentence. Take a new one for each utterance: it remembers what was asked of it."""
        return History(self._model.start(False))

    def follow(self, history: History, word: int) -> tuple[History, float]:
        """Return the history with one word more, and log P(word | history)."""
        if word not in history.after:
            state, log10 = self._model.score(history.state, word)
            history.after[word] = History(state), log10 * _NATURAL
        return history.after[word]

    def finish(self, history: History) -> float:
        """Return log P(end of sentence | history)."""
        if history.end is None:
            history.end = self._model.finish(history.state)[1] * _NATURAL
        return history.end

    def unigram(self, word: int) -> float:
        """Return log P(word) without a history."""
        return self._model.score(self._model.start(True), word)[1] * _NATURAL


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep away what KenLM writes to the terminal past Python, a bar of its own among it."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
