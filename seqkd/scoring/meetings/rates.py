"""cpWER, tcpWER, ORC-WER and tcORC-WER.

- ``cp``: concatenated minimum-permutation WER (Watanabe et al., CHiME-6 2020, arXiv:2004.09249). All that a speaker
  says is one text; each reference speaker is given one stream, and each stream one speaker, so that there are fewest
  errors. A speaker without a stream is deleted, a stream without a speaker inserted.
- ``tcp``: the same, time-constrained (von Neumann et al., CHiME 2023, arXiv:2307.11394): words can be aligned only if
  they were spoken at the same time, within a collar.
- ``orc``: optimal reference combination WER (Sklyar et al., ICASSP 2022, arXiv:2112.10200). Each reference utterance,
  in the order of their begins, is given to any stream; who spoke does not matter.
- ``tcorc``: the same, time-constrained.

Times are of segments. As in the meeteval toolkit, whose definitions these are, a reference word takes as much of its
segment as it has of its characters; a hypothesis word is the middle of such a span, less and plus the collar. Words are
aligned if these overlap. Errors are the fewest; among equally few, those with fewest substitutions are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seqkd.errors import ConfigError, DataError
from seqkd.scoring.meetings.assignment import cheapest
from seqkd.scoring.meetings.distance import ERROR, TimedWords, distance, streams
from seqkd.scoring.meetings.turns import Turn, in_order, word_points, word_spans
from seqkd.settings import one_of

MEASURES = ("cp", "tcp", "orc", "tcorc")
COLLAR = 5.0  # seconds, that of the CHiME challenges


@dataclass(frozen=True)
class SessionRate:
    """The errors of one meeting.

    Attributes:
        substitutions: words.
        deletions: words.
        insertions: words.
        words: of the reference.
        missed_speakers: reference speakers without a stream; 0 of orc and tcorc.
        extra_speakers: streams without a reference speaker; 0 of orc and tcorc.
        assignment: stream of each reference speaker (cp, tcp; None where there is none), or of each reference utterance
            in the order of their begins (orc, tcorc).
    """

    substitutions: int
    deletions: int
    insertions: int
    words: int
    missed_speakers: int = 0
    extra_speakers: int = 0
    assignment: tuple[tuple[str, str | None], ...] = ()

    @property
    def errors(self) -> int:
        """The number of errors: substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class MeetingRate:
    """The error rate of all meetings together, and each meeting's errors by its name."""

    measure: str
    collar: float | None
    sessions: Mapping[str, SessionRate]

    def total(self, name: str) -> int:
        """Return the sum of one of the numbers of `SessionRate`."""
        return sum(getattr(session, name) for session in self.sessions.values())

    @property
    def rate(self) -> float:
        """Errors divided by reference words: a fraction, which may exceed 1."""
        return self.total("errors") / self.total("words")


def meeting_rate(
    references: Sequence[Turn], hypotheses: Sequence[Turn], measure: str = "cp", *, collar: float = COLLAR
) -> MeetingRate:
    """Compute one of the word error rates of meetings.

    Args:
        references: turns of all meetings.
        hypotheses: those of a recogniser; ``speaker`` is its stream, of any name. A meeting without any has only
            deletions.
        measure: ``cp``, ``tcp``, ``orc`` or ``tcorc``.
        collar: seconds, of tcp and tcorc.

    Raises:
        ConfigError: an unknown measure, or a negative collar.
        DataError: a hypothesis of a meeting without a reference, no reference words, times that are needed and lack,
            or streams that are too long for orc.
    """
    one_of(MEASURES, measure=measure)
    if not 0 <= collar < float("inf"):
        raise ConfigError(f"the collar is {collar}; expected seconds from 0 on")
    ours, theirs = (_grouped(turns, "session") for turns in (references, hypotheses))
    if extra := [session for session in theirs if session not in ours]:
        raise DataError(f"Session {extra[0]} of the hypotheses has no reference.")
    if not any(turn.words for turn in references):
        raise DataError("The references hold no words, so there is no error rate.")
    timed = collar if measure.startswith("tc") else None
    if timed is not None and (lacking := [turn for turn in (*references, *hypotheses) if turn.begin is None]):
        raise DataError(f"A segment of {lacking[0].speaker} in session {lacking[0].session} has no times.")
    score = _by_speaker if measure.endswith("cp") else _by_utterance
    found = {}
    for session, turns in ours.items():
        try:
            found[session] = score(in_order(turns), in_order(theirs.get(session, [])), timed)
        except DataError as fault:
            raise DataError(f"Session {session}: {fault}") from None
    return MeetingRate(measure, timed, found)


def _by_speaker(references: Sequence[Turn], hypotheses: Sequence[Turn], collar: float | None) -> SessionRate:
    numbers: dict[str, int] = {}
    ours = {name: _joined(turns, numbers, collar, False) for name, turns in _grouped(references, "speaker").items()}
    theirs = {name: _joined(turns, numbers, collar, True) for name, turns in _grouped(hypotheses, "speaker").items()}
    size = max(len(ours), len(theirs))
    costs = np.zeros((size, size), np.int64)
    for i, one in enumerate(ours.values()):
        costs[i, :] = len(one) * ERROR
        for j, other in enumerate(theirs.values()):
            costs[i, j] = distance(one, other)
    costs[len(ours) :, : len(theirs)] = [len(other) * ERROR for other in theirs.values()]
    columns = cheapest(costs)
    value = sum(int(costs[row, column]) for row, column in enumerate(columns))
    streams_ = [*theirs, *[None] * (size - len(theirs))]
    return _rate(
        value,
        sum(map(len, ours.values())),
        sum(map(len, theirs.values())),
        missed_speakers=size - len(theirs),
        extra_speakers=size - len(ours),
        assignment=tuple((name, streams_[column]) for name, column in zip(ours, columns, strict=False)),
    )


def _by_utterance(references: Sequence[Turn], hypotheses: Sequence[Turn], collar: float | None) -> SessionRate:
    numbers: dict[str, int] = {}
    utterances = [_joined([turn], numbers, collar, False) for turn in references]
    theirs = {name: _joined(turns, numbers, collar, True) for name, turns in _grouped(hypotheses, "speaker").items()}
    words, others = sum(map(len, utterances)), sum(map(len, theirs.values()))
    if not theirs:
        return _rate(words * ERROR, words, 0)
    value, assigned = streams(utterances, list(theirs.values()))
    names = list(theirs)
    assignment = tuple((turn.speaker, names[axis]) for turn, axis in zip(references, assigned, strict=True))
    return _rate(value, words, others, assignment=assignment)


def _rate(value: int, words: int, others: int, **more: object) -> SessionRate:
    errors, substitutions = divmod(value, ERROR)
    deletions = (errors - substitutions + words - others) // 2
    return SessionRate(substitutions, deletions, errors - substitutions - deletions, words, **more)


def _grouped(turns: Sequence[Turn], field: str) -> dict[str, list[Turn]]:
    """Return the turns by their session or speaker, in the order in which these occur."""
    found: dict[str, list[Turn]] = {}
    for turn in turns:
        found.setdefault(getattr(turn, field), []).append(turn)
    return found


def _joined(turns: Sequence[Turn], numbers: dict[str, int], collar: float | None, points: bool) -> TimedWords:
    """The words of turns, one after the other."""
    ids = np.array([numbers.setdefault(word, len(numbers)) for turn in turns for word in turn.words], np.int64)
    if collar is None:
        return TimedWords(ids)
    spans = [word_points(turn, collar) if points else word_spans(turn) for turn in turns]
    return TimedWords(ids, np.concatenate([np.zeros((0, 2)), *spans]))
