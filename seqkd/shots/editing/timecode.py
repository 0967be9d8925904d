"""Frame rates as exact fractions, and seconds, frames and SMPTE timecodes turned into one another.

Nothing here is a float once it is a frame: two hours at 29.97 frames a second end on the frame they should.

Drop-frame (SMPTE ST 12-1): at 30000/1001 frames a second the labels 00 and 01 of every minute are left out, save every
tenth minute, so that labels keep to the clock (to 3.6 ms an hour); at 60000/1001 it is the labels 00 to 03.
No frame of picture is dropped. Such timecodes have ``;`` before the frames: ``01:00:00;02``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from seqkd.errors import ConfigError

HOURS = 24  # a timecode begins again at midnight
_SLACK = Fraction(1, 10**6)  # seconds: what a float loses must not move a time to the frame before
_PARTS = ("hours", "minutes", "seconds", "frames")
_LABEL = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})([:;])([0-9]{2})")


@dataclass(frozen=True)
class FrameRate:
    """A frame rate.

    Attributes:
        name: As ``--fps`` takes it, such as ``25`` or ``29.97df``.
        fps: Frames a second, exactly.
        drop: Timecodes are drop-frame.
    """

    name: str
    fps: Fraction
    drop: bool = False

    @cached_property
    def nominal(self) -> int:
        """Frames that a second of timecode counts: 30 at 29.97."""
        return math.ceil(self.fps)

    def floor(self, seconds: float | Fraction) -> int:
        """Number of the frame that is shown at a time; a microsecond before a frame counts as on it."""
        return math.floor((Fraction(seconds) + _SLACK) * self.fps)

    def nearest(self, seconds: float | Fraction) -> int:
        """Number of the frame that begins nearest to a time; of two as near, the later."""
        return math.floor(Fraction(seconds) * self.fps + Fraction(1, 2))

    def seconds(self, frame: int) -> Fraction:
        """Return the second at which a frame begins."""
        return frame / self.fps

    def timecode(self, frame: int) -> str:
        """SMPTE timecode of a frame counted from midnight; after 24 hours it begins again."""
        frame %= self.day
        if self.drop:
            frame += self._dropped_before(frame)
        seconds, frames = divmod(frame, self.nominal)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours:02}:{minutes:02}:{seconds:02}{';' if self.drop else ':'}{frames:02}"

    def parse(self, timecode: str) -> int:
        """Frame, counted from midnight, of a timecode; ``:`` serves before the frames of drop-frame ones, too.

        Raises:
            ConfigError: No timecode, a part out of range, or a label that drop-frame leaves out.
        """
        what = f"timecode {timecode!r}"
        found = _LABEL.fullmatch(timecode)
        if not found:
            raise ConfigError(f"{what} is not of the form HH:MM:SS:FF; write, for example, {self.timecode(0)}.")
        hours, minutes, seconds, sign, frames = found.groups()
        values = int(hours), int(minutes), int(seconds), int(frames)
        for name, value, limit in zip(_PARTS, values, (HOURS, 60, 60, self.nominal), strict=True):
            if value >= limit:
                raise ConfigError(f"{what} has {value} {name}; at {self.name} frames a second 0 to {limit - 1} exist.")
        if sign == ";" and not self.drop:
            raise ConfigError(f"{what} is drop-frame (';'), which {self.name} frames a second is not; write ':'.")
        minute = values[0] * 60 + values[1]
        frame = (minute * 60 + values[2]) * self.nominal + values[3]
        if not self.drop:
            return frame
        if minute % 10 and values[2] == 0 and values[3] < self._drops:
            following = f"{hours}:{minutes}:00;{self._drops:02}"
            raise ConfigError(f"{what} is left out by drop-frame; the minute begins with {following}.")
        return frame - self._drops * (minute - minute // 10)

    @cached_property
    def day(self) -> int:
        """Frames from midnight to midnight, by timecode."""
        minutes = HOURS * 60
        return minutes * 60 * self.nominal - (self._drops * (minutes - minutes // 10) if self.drop else 0)

    @cached_property
    def _drops(self) -> int:
        """Labels left out at the beginning of a minute."""
        return self.nominal // 15

    def _dropped_before(self, frame: int) -> int:
        """How many labels were left out before the one of a frame."""
        minute = 60 * self.nominal - self._drops  # frames of a minute, but of the first of ten, which is whole
        tens, rest = divmod(frame, 10 * minute + self._drops)
        return self._drops * (9 * tens + max(0, rest - self._drops) // minute)


RATES = tuple(
    FrameRate(name, Fraction(fps), drop)
    for name, fps, drop in (
        ("23.976", "24000/1001", False),
        ("24", "24", False),
        ("25", "25", False),
        ("29.97df", "30000/1001", True),
        ("29.97ndf", "30000/1001", False),
        ("30", "30", False),
        ("50", "50", False),
        ("59.94df", "60000/1001", True),
        ("59.94ndf", "60000/1001", False),
        ("60", "60", False),
    )
)
_OTHER_NAMES = {
    "23.98": "23.976",
    "24000/1001": "23.976",
    "29.97": "29.97df",
    "30000/1001": "29.97df",
    "59.94": "59.94df",
    "60000/1001": "59.94df",
}


def parse_rate(text: str) -> FrameRate:
    """Return the rate that a name of ``RATES`` means; 29.97 and 59.94 alone are drop-frame, as broadcasters have it.

    Raises:
        ConfigError: Another rate.
    """
    name = text.strip().lower().removesuffix(".0")
    for rate in RATES:
        if rate.name == _OTHER_NAMES.get(name, name):
            return rate
    known = ", ".join(rate.name for rate in RATES)
    raise ConfigError(f"--fps {text!r} is no frame rate that editors know; choose one of {known}.")
