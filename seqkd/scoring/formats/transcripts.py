"""What a file of transcripts holds, and names of utterances that cannot collide."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Transcripts:
    """The transcripts of a file and what comes with them; everything by utterance id.

    Attributes:
        texts: transcripts.
        speakers: of each utterance, where the format has them.
        durations: seconds, where the format has them.
        confidences: the recogniser's probability that each word is right, where the format has it.
        nbest: several hypotheses, best first, where the format has them.
        markup: how references of this format are to be read; see `seqkd.scoring.lattice`.
        kind: the format's name.
        found: how the format was found: ``by --format``, ``by its name`` or ``by its content``.
    """

    texts: dict[str, str]
    speakers: dict[str, str] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    confidences: dict[str, list[float]] = field(default_factory=dict)
    nbest: dict[str, list[str]] = field(default_factory=dict)
    markup: str = "none"
    kind: str = ""
    found: str = ""


@dataclass(frozen=True)
class Segment:
    """A line of an stm file: who speaks from when to when, and the words."""

    file: str
    channel: str
    speaker: str
    begin: float
    end: float
    words: str
    labels: str = ""

    @property
    def id(self) -> str:
        """What this utterance is called: no other file, channel and time give the same."""
        return f"{self.file}-{escape(self.channel)}-{seconds(self.begin)}-{seconds(self.end)}"


def escape(part: str) -> str:
    """A part of a name without the separator."""
    return part.replace("%", "%25").replace("-", "%2D")


def seconds(time: float) -> str:
    """Two digits after the point, or as many as there are."""
    short = f"{time:.2f}"
    return short if float(short) == time else repr(time)


def session_speaker(session: str, speaker: str | None) -> str:
    """Return one name for a speaker in a session, which no other pair of names gives.

    ``session-speaker``; a ``-`` in the speaker's name is written ``%2D``, so that the last one separates. A session
    without speakers is called by its name alone, with a ``-`` after it where it holds one itself.
    """
    if speaker is None or not speaker:
        return f"{session}-" if "-" in session else session
    return f"{session}-{escape(speaker)}"
