"""CMX 3600 edit decision lists: record times of the video events."""

from __future__ import annotations

import re
from pathlib import Path

from seqkd.corpora.songs.listed import ListEntry, counted, kind_in, past_midnight, rate_of, text_of, time_of
from seqkd.errors import DataError
from seqkd.shots.editing.timecode import FrameRate

_EVENT = re.compile(r"\s*(\d+)\s+(\S+)\s+(\S+)\s+(\S+)(?:\s+\d+)?((?:\s+\d\d:\d\d:\d\d[:;]\d\d){4})\s*$")
_NAME = re.compile(r"\*\s*FROM CLIP NAME:\s*(.+)", re.IGNORECASE)
_COUNT = re.compile(r"FCM:\s*(NON[- ]?)?DROP[- ]?FRAME", re.IGNORECASE)


def read_edl(file: Path, rate: FrameRate) -> list[ListEntry]:
    """Read the shots; the type is in ``* FROM CLIP NAME:``, else it is the reel.

    ``FCM:`` decides whether timecodes are drop-frame from its line on, at rates that can be either; in a list without
    that line, the timecodes themselves. Events that take no time, such as the first half of a transition, are no shots.

    Raises:
        DataError: Something is no event, no cut, or no timecode at this rate; with file and line.
    """
    found: list[tuple[str, str]] = []
    times: list[float] = []
    lines = text_of(file).splitlines()
    if not any(_COUNT.fullmatch(text.strip()) for text in lines):
        rate = rate_of((code for text in lines if (event := _EVENT.match(text)) for code in event[5].split()), rate)
    for line, text in enumerate(lines, start=1):
        where = f"{file}, line {line}"
        if count := _COUNT.fullmatch(text.strip()):
            rate = _counted(rate, drop=count[1] is None, where=where)
        elif event := _EVENT.match(text):
            reel, channels, kind = event.group(2), event.group(3).upper(), event.group(4)
            if "V" not in channels and not any(channel.startswith("B") for channel in channels.split("/")):
                continue
            first, last = event.group(5).split()[2:]
            if first == last:
                continue
            if kind.upper() != "C":
                raise DataError(
                    f"{where}: event {event.group(1)} is not a cut but {kind!r}; make the transition a cut."
                )
            times += [time_of(code, where, rate)[0] for code in (first, last)]
            found.append((where, reel))
        elif re.match(r"\s*\d+\s", text):
            raise DataError(
                f"{where}: found {text.strip()!r}, expected an event: number, reel, V, C and four timecodes."
            )
        elif found and (name := _NAME.match(text.strip())) and name[1].strip().upper() not in ("(NULL)", "NULL"):
            found[-1] = (found[-1][0], name[1])
    times = past_midnight(times, float(rate.seconds(rate.day)))
    origin = times[0] if times else 0.0
    return [
        ListEntry(where, start - origin, end - origin, kind_in(name))
        for (where, name), start, end in zip(found, times[::2], times[1::2], strict=True)
    ]


def _counted(rate: FrameRate, *, drop: bool, where: str) -> FrameRate:
    """The rate with the counting that the list says it has."""
    other = counted(rate, drop=drop)
    if other is None and drop:
        raise DataError(
            f"{where}: the list is drop-frame, which {rate.name} frames a second is not; set fps to 29.97 or 59.94."
        )
    return other or rate
