"""Transcripts from any teacher, in the student's spelling.

Letters: T frames, C classes of the teacher, N hypotheses.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from seqkd.data.kaldi import FORM
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.prefix_beam import prefix_beam_search
from seqkd.errors import ConfigError
from seqkd.teachers.external.audio import FrameTeacher, Speech, TeacherTranscript, TeacherWord
from seqkd.teachers.external.vocabulary import UNKNOWN, fold


class CtcNBest:
    """A `SequenceTeacher` made of a `FrameTeacher`: prefix beam search over its own units."""

    def __init__(self, teacher: FrameTeacher, beam: int) -> None:
        if beam < 1:
            raise ConfigError(f"the beam of {teacher.name} is {beam}; expected at least 1")
        self.name, self.hash, self.sample_rate = teacher.name, teacher.hash, teacher.sample_rate
        self.earlier_hash = getattr(teacher, "earlier_hash", None)
        self._teacher, self._beam = teacher, beam

    def transcribe(self, speech: Sequence[Speech], n: int) -> list[list[TeacherTranscript]]:
        """See SequenceTeacher. Searches with a beam of at least n; sequences that read the same are added up."""
        return [self._search(log_probs, n) for log_probs in self._teacher.log_probs(speech)]

    def _search(self, log_probs: torch.Tensor, n: int) -> list[TeacherTranscript]:
        vocabulary = self._teacher.vocabulary
        found = prefix_beam_search(
            log_probs[None],
            torch.tensor([len(log_probs)]),
            blank=vocabulary.blank,
            beam_size=max(self._beam, n),
        )[0]
        return distinct(TeacherTranscript(vocabulary.text(one.tokens), one.score) for one in found)[:n]


def nbest_of(teacher: FrameTeacher, *, beam: int = 8) -> CtcNBest:
    """What a CTC teacher would write, for a student whose units its own cannot be mapped to.

    Args:
        teacher: any teacher of frames.
        beam: of the prefix beam search; more hypotheses than this widen it.

    Raises:
        ConfigError: no beam.
    """
    return CtcNBest(teacher, beam)


def distinct(hypotheses: Iterable[TeacherTranscript]) -> list[TeacherTranscript]:
    """Hypotheses with different texts, best first; the probabilities of those that read the same are added.

    Word times are those of the first that reads so.
    """
    sums: dict[str, float] = {}
    words: dict[str, tuple[TeacherWord, ...]] = {}
    for one in hypotheses:
        sums[one.text] = float(np.logaddexp(sums.get(one.text, -np.inf), one.log_prob))
        words.setdefault(one.text, one.words)
    ranked = sorted(sums, key=lambda text: (-sums[text], text))
    return [TeacherTranscript(text, sums[text], words[text]) for text in ranked]


def fitted(text: str, student: Tokenizer) -> str:
    """A teacher's text as the student spells: its case, and without the punctuation that it lacks.

    Apostrophes that the student lacks disappear (don't, dont), other punctuation and symbols become spaces. Digits and
    letters stay as they are, also those that the student lacks: what they stand for cannot be guessed.
    """
    known = set("".join(student.units[UNKNOWN + 1 :]))

    def plainer(character: str) -> str:
        """A compatible character, or several, that the student has in place of one that it lacks: ½ as 1⁄2."""
        others = unicodedata.normalize("NFKC", character)
        return others if character not in known and known.issuperset(others.replace(" ", "")) else character

    def spelt(character: str) -> str:
        if character in known or unicodedata.category(character)[0] not in "PS":
            return character
        return "" if character == "'" else " "

    text = unicodedata.normalize(FORM, text)
    text = text if "’" in known else text.replace("’", "'")
    text = "".join(map(plainer, fold(text, student)))
    return " ".join("".join(map(spelt, text)).split())
