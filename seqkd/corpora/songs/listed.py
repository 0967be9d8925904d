"""What readers of shot lists share: a shot as it was found, times, names and text as people write them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from seqkd.data.tables import number
from seqkd.errors import ConfigError, DataError
from seqkd.shots.classes import parse_kind
from seqkd.shots.editing.timecode import RATES, FrameRate

_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?)")
_TIMECODE = re.compile(r"\d\d:\d\d:\d\d[:;]\d\d")
_MIDNIGHT = re.compile(r"24:00:00[:;]00")
_COMMA = re.compile(r"-?\d+,\d+")
_MEDIA = re.compile(r"\.(mov|mp4|mxf|mkv|avi|m4v|mts|webm)$", re.IGNORECASE)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class ListEntry:
    """A shot as it was found: where (for messages), when (s), and of which type as it is spelt."""

    where: str
    start: float
    end: float
    kind: str


def text_of(file: Path) -> str:
    """The text of a file in UTF-8 or UTF-16, with or without a byte order mark; DataError where it is neither."""
    raw = file.read_bytes()
    name = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    if name == "utf-8" and len(raw) > 3 and not len(raw) % 2:
        # Latin text in UTF-16 has a zero in every other byte.
        if not any(raw[1:200:2]):
            name = "utf-16-le"
        elif not any(raw[:200:2]):
            name = "utf-16-be"
    try:
        return raw.decode(name)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not valid {name.removesuffix('-sig').upper()} (byte {error.start + 1}); convert it, for "
            "instance with iconv."
        ) from error


def time_of(text: str, where: str, rate: FrameRate) -> tuple[float, bool]:
    """Seconds, and whether they were given as timecode; DataError where it is no time."""
    text = text.strip()
    if _MIDNIGHT.fullmatch(text):  # where a shot ends with the day
        return float(rate.seconds(rate.day)), True
    if _TIMECODE.fullmatch(text):
        try:
            return float(rate.seconds(rate.parse(text))), True
        except ConfigError as error:
            raise DataError(f"{where}: {error}") from error
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = clock.groups()
        return 3600 * int(hours or 0) + 60 * int(minutes) + float(seconds.replace(",", ".")), False
    seconds = number(text.replace(",", ".") if _COMMA.fullmatch(text) else text)
    if seconds != seconds:
        raise DataError(f"{where}: {text!r} is no time; expected seconds, minutes:seconds, or a timecode with frames.")
    return seconds, False


def kind_in(name: str) -> str:
    """The type in a clip's name, which may be the type, begin with it, or be the name of its file."""
    name = _MEDIA.sub("", name.strip())
    ends = [found.start() for found in re.finditer(r"[\s_-]+", name)]
    for end in (len(name), *reversed(ends)):  # "medium close-up 2" is not "medium"
        if parse_kind(name[:end]):
            return name[:end]
    return name if not name.split() else name.split()[0]


def counted(rate: FrameRate, *, drop: bool) -> FrameRate | None:
    """The rate of as many frames a second that counts drop-frame or does not; None where there is none."""
    same = (other for other in RATES if (other.fps, other.drop) == (rate.fps, drop))
    return rate if rate.drop == drop else next(same, None)


def rate_of(codes: Iterable[str], rate: FrameRate) -> FrameRate:
    """The rate with the counting that timecodes are written in: drop-frame with ``;`` before the frames, else not."""
    labels = [code.strip() for code in codes if _TIMECODE.fullmatch(code.strip())]
    return (counted(rate, drop=any(";" in label for label in labels)) or rate) if labels else rate


def is_clock(text: str) -> bool:
    """Whether a time is written with hours, minutes and seconds."""
    found = _CLOCK.fullmatch(text.strip())
    return found is not None and found[1] is not None


def past_midnight(times: list[float], day: float) -> list[float]:
    """Times in order, with a day (s) added where the clock began again."""
    half, turned, before = 43200.0, 0, None
    unwound = []
    for time in times:
        if before is not None and time < before - half:
            turned += 1
        before = time
        unwound.append(time + turned * day)
    return unwound
