"""A cut of a song: shots on frames, one after the other from its first frame to its last, and where beats fall.

Every time is a number of frames from the song's beginning, so that all formats agree; `Timeline.timecode` adds
the timecode at which the song starts.

Legend: C shot classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from seqkd.errors import ConfigError, DataError
from seqkd.shots.classes import SHOTS, class_number
from seqkd.shots.editing.timecode import FrameRate

SECTION, BEAT, DOWNBEAT = "section", "beat", "downbeat"


@dataclass(frozen=True)
class Clip:
    """One shot.

    Attributes:
        start: Its first frame.
        end: The frame after its last.
        kind: One of ``SHOTS``.
        probabilities: (C,) in the order of ``SHOTS``: what the model gives each class, averaged over the shot's
            seconds. In a drawn draft the shot's own need not be the greatest.
    """

    start: int
    end: int
    kind: str
    probabilities: tuple[float, ...]

    @property
    def frames(self) -> int:
        """The number of frames that the clip lasts."""
        return self.end - self.start

    @property
    def probability(self) -> float:
        """What the model gives the shot's own class."""
        return self.probabilities[class_number(self.kind)]


@dataclass(frozen=True)
class Marker:
    """Something that happens in the song.

    Attributes:
        frame: When.
        kind: ``section``, ``beat`` or ``downbeat``.
        name: What a section is called, else the kind.
    """

    frame: int
    kind: str
    name: str


@dataclass(frozen=True)
class Timeline:
    """One draft of a song's cut.

    Attributes:
        song: What it is called.
        audio: The song's file.
        duration: Of the audio, in seconds.
        rate: Frames a second.
        start: Frame, counted from midnight, whose timecode the first frame has.
        frames: How many frames the song has: those that end within it, and at least one.
        draft: 0 the model's best, else the number of the draw.
        clips: Shots, the first beginning at 0, each where the one before it ends, the last ending at ``frames``.
        markers: In order of time.
        tempo: Beats a minute, 0 where nothing beats.
        confidence: How sure it is that there is a beat, from 0 to 1.
        note: A sentence for the editor on what is unusual about the draft, such as why it has one shot only.
    """

    song: str
    audio: Path
    duration: float
    rate: FrameRate
    start: int
    frames: int
    draft: int
    clips: tuple[Clip, ...]
    markers: tuple[Marker, ...] = ()
    tempo: float = 0.0
    note: str = ""
    confidence: float = 0.0

    def __post_init__(self) -> None:
        due = 0
        for number, clip in enumerate(self.clips, start=1):
            if clip.start != due or clip.end <= clip.start or len(clip.probabilities) != len(SHOTS):
                raise DataError(
                    f"Shot {number} of {self.song!r} lasts from frame {clip.start} to {clip.end} with "
                    f"{len(clip.probabilities)} probabilities; expected it to start at {due}, to end later, and "
                    f"to have {len(SHOTS)}."
                )
            due = clip.end
        if due != self.frames:
            raise DataError(f"The shots of {self.song!r} end at frame {due}; expected {self.frames}, where it ends.")
        if self.start + self.frames > self.rate.day:
            raise ConfigError(
                f"{self.song!r} would pass midnight: it starts at {self.rate.timecode(self.start)} and lasts "
                f"{self.duration:.0f} s; choose an earlier --start-tc."
            )

    def timecode(self, frame: int) -> str:
        """SMPTE timecode of a frame of the song."""
        return self.rate.timecode(self.start + frame)

    def seconds(self, frame: int) -> Fraction:
        """Time of a frame from the song's beginning."""
        return self.rate.seconds(frame)

    def marked(self, *kinds: str) -> Iterator[Marker]:
        """Return the markers of the kinds given, in the order of time."""
        return (marker for marker in self.markers if marker.kind in kinds)


def frames_of(duration: float, rate: FrameRate) -> int:
    """How many frames end within a song of ``duration`` (s), at least one: no clip reaches beyond the audio."""
    return max(1, rate.floor(duration))
