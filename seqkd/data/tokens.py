"""Text to CTC units and back, by sentencepiece. Blank is always unit 0.

Units and scoring know one normalisation of text, Unicode's NFC: what is composed and what is decomposed is one
character (é), and nothing else is changed, so that a model that writes exactly its targets has no errors.
sentencepiece's own rules (NFKC: ½ to 1⁄2, m² to m2) are left off.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import sentencepiece

from seqkd.data.kaldi import FORM
from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path, write_json
from seqkd.settings import at_least, build, one_of
from seqkd.stages import again

TYPES = ("unigram", "bpe", "char", "word")
CLOSED = ("char", "word")  # types that take all the units they see
BOUNDARIES = ("before", "between")


@dataclass(frozen=True)
class TokenSettings:
    """The units of transcripts; see `train_tokenizer`.

    Attributes:
        type: unigram, bpe, char or word.
        vocab_size: with the special and the unknown unit.
        directory: where they are written.
        set: on whose transcripts they are trained.
        word_boundary: before every word, or only between words.
    """

    type: str
    vocab_size: int
    directory: str = "tokens"
    set: str = "train"
    word_boundary: str = "before"

    def __post_init__(self) -> None:
        one_of(TYPES, type=self.type)
        one_of(BOUNDARIES, word_boundary=self.word_boundary)
        at_least(0 if self.type in CLOSED else 4, vocab_size=self.vocab_size)
        if self.word_boundary == "between" and self.type != "char":
            raise ConfigError(
                f"word_boundary is 'between' with tokens.type {self.type!r}; only characters can do without a boundary "
                "before the first word, set tokens.type=char or tokens.word_boundary=before"
            )


class Tokenizer:
    """A sentencepiece model with a special unit at id 0 (blank, or boundary of sentences) and the unknown one at 1."""

    blank = 0

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    def __len__(self) -> int:
        """Return the number of classes, blank included."""
        return self._processor.get_piece_size()

    @property
    def hash(self) -> str:
        """Short content hash: two models may exchange posteriors only if theirs agree."""
        return hashlib.sha256(self.model).hexdigest()[:16]

    @cached_property
    def units(self) -> tuple[str, ...]:
        """The pieces by id; '▁' stands for a word boundary."""
        return tuple(self._processor.id_to_piece(i) for i in range(len(self)))

    @cached_property
    def word_boundary(self) -> str:
        """``before`` if '▁' stands before every word, ``between`` if not before the first; see `train_tokenizer`."""
        return "before" if self._processor.encode("a", out_type=str)[0].startswith("▁") else "between"

    def encode(self, text: str, where: str = "text", *, unknown: bool = False) -> list[int]:
        """Text to unit ids. Raises DataError naming ``where`` for a character without a unit, unless ``unknown``."""
        ids = self._processor.encode(text)
        if not unknown and self._processor.unk_id() in ids:
            pieces = self._processor.encode(text, out_type=str)
            bad = [piece.lstrip("▁") for piece, unit in zip(pieces, ids, strict=True) if unit == 1]
            raise DataError(
                f"{where}: {', '.join(map(repr, bad[:5]))} in {text!r} is unknown to the tokenizer; "
                f"normalise the transcript, or add such text to the tokenizer's training set and {again('prepare')}"
            )
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Unit ids (blanks already removed) to text."""
        text = self._processor.decode(list(ids))
        # A boundary at the end says nothing; before the first word sentencepiece expects one, or else keeps it.
        return text if self.word_boundary == "before" else text.strip(" ")

    def save(self, directory: Path) -> None:
        """Write ``tokenizer.model`` and, last, a readable ``tokenizer.json`` with the hash and the units."""
        (directory / "tokenizer.json").unlink(missing_ok=True)  # it vouches for what is written now
        with atomic_path(directory / "tokenizer.model") as path:
            path.write_bytes(self.model)
        write_json(directory / "tokenizer.json", {"hash": self.hash, "blank": self.blank, "units": list(self.units)})

    def is_in(self, directory: Path) -> bool:
        """Whether this very tokenizer was written there, and is whole."""
        try:
            return Tokenizer.load(directory).hash == self.hash
        except DataError:  # not there, cut off or damaged
            return False

    @classmethod
    def load(cls, directory: Path) -> Tokenizer:
        """Read ``tokenizer.model``; its hash must be the one ``tokenizer.json`` states."""
        path = directory / "tokenizer.model"
        if not path.is_file():
            raise DataError(f"{path} is missing; {again('prepare')}")
        try:
            tokenizer = cls(path.read_bytes())
            stated = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))["hash"]
        except (RuntimeError, OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} or its tokenizer.json is damaged ({error}); {again('prepare')}") from error
        if stated != tokenizer.hash:
            raise DataError(f"{path} has hash {tokenizer.hash}, but tokenizer.json says {stated}; {again('prepare')}")
        return tokenizer


def train_tokenizer(
    texts: Iterable[str],
    *,
    type: str,
    vocab_size: int,
    special: str = "<blank>",
    form: str | None = FORM,
    word_boundary: str = "before",
) -> Tokenizer:
    """Train a tokenizer. ``vocab_size`` counts special and unknown unit; ``char`` and ``word`` take all they see.

    ``special`` names unit 0. ``form`` is Unicode's that texts are brought into first, or None: they are given back
    exactly as they are encoded, and must be encoded in the form in which they are here.
    ``word_boundary`` says where '▁' stands: "before" every word, the first one too, or only "between" words, as in
    CTC teachers of the wav2vec 2.0 kind, whose timing such a student can share; for characters only.
    """
    build(TokenSettings, {"type": type, "vocab_size": vocab_size, "word_boundary": word_boundary}, "tokens")
    texts = [text if form is None else unicodedata.normalize(form, text) for text in texts]
    closed = type in CLOSED
    output = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=output,
            model_type=type,
            vocab_size=max(vocab_size, 4),
            hard_vocab_limit=not closed,
            use_all_vocab=closed,
            character_coverage=1.0,
            pad_id=0,
            pad_piece=special,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            normalization_rule_name="identity",
            add_dummy_prefix=word_boundary == "before",
            minloglevel=2,
            num_threads=1,  # the result must not depend on the machine
        )
    except RuntimeError as error:
        reason = str(error).split("] ")[-1].strip()
        most, least = re.search(r"value <= (\d+)", reason), re.search(r"\d+ vs (\d+)", reason)
        advice = f"={most[1]} or fewer" if most else f"={least[1]} or more" if least else " to what the data allows"
        raise ConfigError(
            f"sentencepiece cannot make {vocab_size} {type} units from {len(texts)} lines ({reason}); "
            f"set tokens.vocab_size{advice}"
        ) from error
    return Tokenizer(output.getvalue())
