"""A teacher's units, and what each of them becomes in the student's tokenizer.

Letters: T frames, C classes of the teacher, D classes of the student.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqkd.data.kaldi import FORM
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError

FLOOR = -30.0  # nats: 1e-13, nothing to a loss, and unlike -inf no NaN where p log p is computed
BOUNDARY = "▁"  # sentencepiece's
UNKNOWN = 1  # the student's unknown unit

_SPECIAL = re.compile(r"<[^<>]+>|\[[^\[\]]+\]")
_UNKNOWN_NAMES = ("<unk>", "[UNK]", "<UNK>")


@dataclass(frozen=True)
class Vocabulary:
    """The classes of a CTC teacher.

    Attributes:
        labels: a text for each class; several classes may share one.
        blank: class of the CTC blank.
        word_boundary: what stands between words: a label of its own ('|'), or what the labels that begin a word
            begin with ('▁'); None if the labels are joined as they are.
        unknown: class of the unknown unit; None if there is none.
        specials: other classes that stand for no sound, such as padding and ends of sentences.
    """

    labels: tuple[str, ...]
    blank: int
    word_boundary: str | None = None
    unknown: int | None = None
    specials: frozenset[int] = frozenset()

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        blank: int,
        word_boundary: str | None = None,
        *,
        unknown: str | None = None,
        specials: Iterable[str] = (),
        where: str = "the teacher's vocabulary",
    ) -> Vocabulary:
        """Find the special classes by name.

        Labels in <> or [], such as ``<s>``, are special whether they are named or not; ``<unk>`` is the unknown one.

        Raises:
            ConfigError: no labels, one that is no text, a blank that is none of them, or a boundary that no label has.
        """
        if (
            not isinstance(labels, (list, tuple))
            or len(labels) < 2
            or not all(isinstance(label, str) for label in labels)
        ):
            raise ConfigError(f"{where} has labels {_few(labels)}; expected a list of at least 2 texts, one a class")
        if not isinstance(blank, int) or isinstance(blank, bool) or not 0 <= blank < len(labels):
            raise ConfigError(f"{where} has the blank {blank!r}; expected a class from 0 to {len(labels) - 1}")
        if word_boundary is not None and not (
            isinstance(word_boundary, str)
            and word_boundary
            and any(label.startswith(word_boundary) for label in labels)
        ):
            raise ConfigError(
                f"{where} has the word boundary {word_boundary!r}, which none of its labels is or begins with; "
                "name the label that stands between words, or null if there is none"
            )
        rest = [i for i in range(len(labels)) if i != blank and labels[i] != word_boundary]
        unknowns = [i for i in rest if labels[i] == unknown or labels[i] in _UNKNOWN_NAMES]
        found = unknowns[0] if unknowns else None
        named = set(specials)
        silent = frozenset(i for i in rest if i != found and (labels[i] in named or _SPECIAL.fullmatch(labels[i])))
        return cls(tuple(labels), blank, word_boundary, found, silent)

    def __len__(self) -> int:
        """Return C."""
        return len(self.labels)

    def piece(self, unit: int) -> str:
        """The label as sentencepiece would write it: with '▁' for the boundary, NFC."""
        label = self.labels[unit]
        if self.word_boundary and label.startswith(self.word_boundary):
            label = BOUNDARY + label[len(self.word_boundary) :]
        return unicodedata.normalize(FORM, label)

    def text(self, units: Iterable[int]) -> str:
        """Classes, blanks and repeats already removed, to words with single spaces; special and unknown ones leave
        nothing."""
        silent = self.specials | {self.blank, self.unknown}
        return " ".join(
            "".join(self.piece(unit) for unit in units if unit not in silent).replace(BOUNDARY, " ").split()
        )


class CannotMap(ConfigError):
    """Teacher and student have units of different kinds: frames cannot be taught, transcripts can."""


@dataclass(frozen=True)
class UnitMatch:
    """What one class of the teacher becomes, and why."""

    unit: int
    label: str
    student: int
    piece: str
    why: str


@dataclass(frozen=True)
class VocabularyMap:
    """Every class of the teacher to one of the student.

    Attributes:
        rows: one a class of the teacher, in order.
        classes: D.
        unreached: pieces of the student that no class of the teacher becomes.
        notes: sentences on what else differs.
    """

    rows: tuple[UnitMatch, ...]
    classes: int
    unreached: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, teacher: Vocabulary, student: Tokenizer, name: str = "the teacher") -> VocabularyMap:
        """Match the units.

        A label becomes the piece that is the same, else the one that is the same but for case. Blank becomes blank,
        unknown unknown, and the other special classes become blank. A single character (digit, apostrophe, foreign
        letter) that the student lacks becomes unknown; a boundary that it lacks becomes blank.

        Raises:
            CannotMap: a label or piece of several characters without counterpart (pieces of words against characters
                or other pieces), or less than half of the student's letters in the teacher (another alphabet;
                Chosen). The sentence says which.
        """
        units = student.units
        where = {piece: unit for unit, piece in enumerate(units) if unit > UNKNOWN}
        rows, lacking = [], []
        for unit, label in enumerate(teacher.labels):
            piece = teacher.piece(unit)
            plainer = unicodedata.normalize("NFKC", piece)
            forms = (piece, piece.lower(), piece.upper(), plainer, plainer.lower(), plainer.upper())
            candidates = (one for one in forms if one in where)
            match = next(candidates, None)
            if unit == teacher.blank:
                target, why = student.blank, "blank"
            elif unit == teacher.unknown:
                target, why = UNKNOWN, "unknown"
            elif unit in teacher.specials:
                target, why = student.blank, "special, counts as blank"
            elif match is not None:
                target = where[match]
                why = "word boundary" if match == BOUNDARY else "same" if match == piece else "same but for case"
            elif piece == BOUNDARY:
                target, why = student.blank, "word boundary, which the student lacks: counts as blank"
            else:
                target, why = UNKNOWN, "the student lacks it: unknown"
                if len(piece) > 1:
                    lacking.append(label)
            rows.append(UnitMatch(unit, label, target, units[target], why))
        reached = {row.student for row in rows}
        unreached = tuple(piece for piece, unit in where.items() if unit not in reached)
        _check_kinds(name, lacking, unreached, units)
        return cls(tuple(rows), len(units), unreached, _notes(teacher, student, name))

    def apply(self, log_probs: Tensor) -> Tensor:
        """Posteriors (T, C) of the teacher to (T, D) of the student, log-probabilities whose rows sum to 1.

        Probabilities of classes that become one are added, so that no mass is lost. What no class becomes gets
        1e-13 (``FLOOR``, -30 nats), as does whatever would have less.

        Raises:
            ConfigError: another number of classes.
        """
        if log_probs.dim() != 2 or log_probs.shape[1] != len(self.rows):
            raise ConfigError(f"a posterior of shape {tuple(log_probs.shape)} does not fit {len(self.rows)} labels")
        index = torch.tensor([row.student for row in self.rows], device=log_probs.device)
        probs = torch.zeros(len(log_probs), self.classes, dtype=torch.float64, device=log_probs.device)
        probs.index_add_(1, index, log_probs.detach().double().exp())
        return probs.log().clamp_min(FLOOR).float()

    def table(self) -> str:
        """Every class of the teacher, the student's piece it becomes and why, for people."""
        head = ("teacher's unit", "student's unit", "why")
        cells = [head, *((f"{r.unit} {r.label!r}", f"{r.student} {r.piece!r}", r.why) for r in self.rows)]
        left, middle = (max(len(line[column]) for line in cells) for column in (0, 1))
        lines = [f"{a:<{left}}  {b:<{middle}}  {c}" for a, b, c in cells]
        if self.unreached:
            lines.append(f"no unit of the teacher becomes {_few(self.unreached)}: probability 1e-13")
        return "\n".join([*lines, *self.notes])


def fold(text: str, student: Tokenizer) -> str:
    """``text`` in lower or upper case if all letters of the student's units are, else as it is."""
    units = "".join(student.units[UNKNOWN + 1 :])
    if units == units.lower() != units.upper():
        return text.lower()
    if units == units.upper() != units.lower():
        return text.upper()
    return text


def _check_kinds(name: str, lacking: list[str], unreached: Sequence[str], units: Sequence[str]) -> None:
    remedy = "its frames cannot teach this student, but its N best transcripts can (sequence-level distillation)"
    if lacking:
        raise CannotMap(f"{name} has {_many(lacking)} of several characters that the student lacks: {remedy}")
    pieces = [piece for piece in unreached if len(piece) > 1]
    if pieces:
        raise CannotMap(f"the student has {_many(pieces)} of several characters that {name} lacks: {remedy}")
    letters = [piece for piece in units[UNKNOWN + 1 :] if piece.isalpha()]
    strange = [piece for piece in unreached if piece.isalpha()]
    if 2 * len(strange) > len(letters):
        raise CannotMap(
            f"{name} lacks {len(strange)} of the student's {len(letters)} letters ({_few(strange)}): {remedy}"
        )


def _notes(teacher: Vocabulary, student: Tokenizer, name: str) -> tuple[str, ...]:
    between = teacher.word_boundary in teacher.labels and not any(
        teacher.piece(unit).startswith(BOUNDARY) and len(teacher.piece(unit)) > 1 for unit in range(len(teacher))
    )
    if between and BOUNDARY in student.units and student.word_boundary == "before":
        return (
            f"the student has a word boundary before the first word, and {name} usually only between words; "
            "tokens.word_boundary=between gives both the same",
        )
    return ()


def _many(pieces: Sequence[str]) -> str:
    return f"{len(pieces)} unit{'s' if len(pieces) > 1 else ''} ({_few(pieces)})"


def _few(pieces: object) -> str:
    if not isinstance(pieces, (list, tuple)):
        return repr(pieces)
    return ", ".join(map(repr, pieces[:5])) + (f" and {len(pieces) - 5} more" if len(pieces) > 5 else "")
