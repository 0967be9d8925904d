"""CMX 3600 edit decision lists: record times of the video events."""

from __future__ import annotations

import re
from pathlib import Path

from seqkd.corpora.songs.listed import ListEntry, kind_in, past_midnight, text_of, time_of
from seqkd.errors import DataError
from seqkd.shots.editing.timecode import RATES, FrameRate

_EVENT = re.compile(r"\s*(\d+)\s+(\S+)\s+(\S+)\s+(\S+)(?:\s+\d+)?((?:\s+\d\d:\d\d:\d\d[:;]\d\d){4})\s*$")
_NAME = re.compile(r"\*\s*FROM CLIP NAME:\s*(.+)", re.IGNORECASE)
_COUNT = re.compile(r"FCM:\s*(NON[- ]?)?DROP[- ]?FRAME", re.IGNORECASE)


def read_edl(file: Path, rate: FrameRate) -> list[ListEntry]:
    """Read the shots; the type is in ``* FROM CLIP NAME:``, else it is the reel.

    ``FCM:`` decides whether timecodes are drop-frame from its line on, at rates that can be either.

    Raises:
        DataError: Something is no event, no cut, or no timecode at this rate; with file and line.
    """
    found: list[tuple[str, str]] = []
    times: list[float] = []
    for line, text in enumerate(text_of(file).splitlines(), start=1):
        where = f"{file}, line {line}"
        if count := _COUNT.fullmatch(text.strip()):
            rate = _counted(rate, drop=count[1] is None, where=where)
        elif event := _EVENT.match(text):
            reel, channels, kind = event.group(2), event.group(3).upper(), event.group(4)
            if not any(channel.startswith(("V", "B")) for channel in channels.split("/")):
                continue
            if kind.upper() != "C":
                raise DataError(
                    f"{where}: event {event.group(1)} is not a cut but {kind!r}; make the transition a cut."
                )
            times += [time_of(code, where, rate)[0] for code in event.group(5).split()[2:]]
            found.append((where, reel))
        elif re.match(r"\s*\d+\s", text):
            raise DataError(
                f"{where}: found {text.strip()!r}, expected an event: number, reel, V, C and four timecodes."
            )
        elif found and (name := _NAME.match(text.strip())) and name[1].strip().upper() != "(NULL)":
            found[-1] = (found[-1][0], name[1])
    times = past_midnight(times, rate)
    origin = times[0] if times else 0.0
    return [
        ListEntry(where, start - origin, end - origin, kind_in(name))
        for (where, name), start, end in zip(found, times[::2], times[1::2], strict=True)
    ]


def _counted(rate: FrameRate, *, drop: bool, where: str) -> FrameRate:
    """The rate with the counting that the list says it has."""
    if rate.drop == drop:
        return rate
    for other in RATES:
        if (other.fps, other.drop) == (rate.fps, drop):
            return other
    if drop:
        raise DataError(
            f"{where}: the list is drop-frame, which {rate.name} frames a second is not; set fps to 29.97 or 59.94."
        )
    return rate
