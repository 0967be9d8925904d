"""Timecodes, exact over two hours: every frame there and back, against a count by hand and against OpenTimelineIO."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqkd.errors import ConfigError
from seqkd.shots.editing.timecode import RATES, FrameRate, parse_rate

by_rate = pytest.mark.parametrize("rate", RATES, ids=lambda rate: rate.name)
DROPS = {"29.97df": 2, "59.94df": 4}


def labels(rate: FrameRate, minutes: int) -> Iterator[str]:
    """Every label that exists, one after the other: all of the clock's but those that the standard names as dropped."""
    per_second = {"23.976": 24, "29.97df": 30, "29.97ndf": 30, "59.94df": 60, "59.94ndf": 60}.get(rate.name)
    per_second = per_second or int(rate.name)
    sign = ";" if rate.name in DROPS else ":"
    for minute in range(minutes):
        hour, within = divmod(minute, 60)
        for second in range(60):
            start = DROPS.get(rate.name, 0) if second == 0 and minute % 10 != 0 else 0
            for frame in range(start, per_second):
                yield f"{hour:02}:{within:02}:{second:02}{sign}{frame:02}"


@by_rate
def test_the_frames_of_two_hours(rate: FrameRate) -> None:
    # Labels repeat every ten minutes but for the hour and the tens: every frame of twenty minutes or more, and around
    # the full hour, then every 13th. Rates that count as one of the others does: of eleven minutes or more.
    every = 72_000 if rate.name in ("24", "25", "29.97df", "59.94df", "60") else 40_000
    hour, frame = round(3600 * rate.fps), -1
    for frame, label in enumerate(labels(rate, 120)):
        if not (frame < every or abs(frame - hour) < 500 or frame % 13 == 0):
            continue
        if rate.timecode(frame) != label or rate.parse(label) != frame:
            pytest.fail(f"frame {frame}: {rate.timecode(frame)}, expected {label}, which reads as {rate.parse(label)}")
    # Timecode says two hours when the clock does, to two frames, but for NTSC without drop-frame (7.2 s late).
    passed = (frame + 1) / rate.fps
    if rate.name in ("23.976", "29.97ndf", "59.94ndf"):
        assert passed - 7200 == Fraction("7.2")
    else:
        assert abs(passed - 7200) < Fraction(1, 100)


@by_rate
@given(data=st.data())
def test_seconds_and_frames(rate: FrameRate, data: st.DataObject) -> None:
    frame = data.draw(st.integers(0, 7200 * 60))
    seconds = rate.seconds(frame)
    assert rate.floor(seconds) == rate.nearest(seconds) == frame
    # As floats, such as come out of an audio analysis, they are the same frames.
    assert rate.floor(float(seconds)) == rate.nearest(float(seconds)) == frame
    # A time within a frame is shown by it; its nearest frame is less than half of one away.
    inside = seconds + data.draw(st.fractions(0, Fraction(99, 100))) / rate.fps
    assert rate.floor(inside) == frame
    assert abs(rate.seconds(rate.nearest(inside)) - inside) <= 1 / (2 * rate.fps)


@by_rate
def test_the_day_begins_again(rate: FrameRate) -> None:
    assert rate.timecode(rate.day) == rate.timecode(0)
    assert rate.parse(rate.timecode(rate.day - 1)) == rate.day - 1
    assert rate.timecode(rate.day - 1).startswith("23:59:59")


def test_known_labels() -> None:
    """Of SMPTE ST 12-1: after 00:00:59;29 comes 00:01:00;02; ten minutes are 17,982 frames, an hour 107,892."""
    rate = parse_rate("29.97")
    assert [rate.timecode(frame) for frame in (1799, 1800, 17981, 17982)] == [
        "00:00:59;29",
        "00:01:00;02",
        "00:09:59;29",
        "00:10:00;00",
    ]
    assert rate.parse("01:00:00;00") == 107892
    assert parse_rate("59.94").timecode(3600) == "00:01:00;04"
    assert parse_rate("29.97ndf").parse("01:00:00:00") == 108000


@pytest.mark.parametrize("name", ["24", "25", "29.97df", "29.97ndf", "30", "50", "59.94df", "60"])
def test_against_opentimelineio(name: str) -> None:
    opentime = pytest.importorskip("opentimelineio").opentime
    rate = parse_rate(name)
    fps = {"29.97": 30000 / 1001, "59.94": 60000 / 1001}.get(name.rstrip("ndf")) or float(name)
    ends = [rate.parse(f"{hour:02}:{minute:02}:59:00") for hour in (0, 1) for minute in range(60)]
    for frame in itertools.chain(range(0, 432_000, 997), ends, (end + rate.nominal for end in ends)):
        theirs = opentime.to_timecode(opentime.RationalTime(frame, fps), fps, drop_frame=rate.drop)
        assert rate.timecode(frame) == theirs


def test_names_of_rates() -> None:
    assert parse_rate("29.97") == parse_rate("30000/1001") == parse_rate("29.97DF")
    assert parse_rate("25.0").fps == 25
    assert parse_rate("23.98").fps == Fraction(24000, 1001)
    assert not parse_rate("59.94ndf").drop


@pytest.mark.parametrize(
    ("rate", "timecode", "says"),
    [
        ("25", "1:00", "timecode '1:00' is not of the form HH:MM:SS:FF; write, for example, 00:00:00:00."),
        ("25", "01:00:00:25", "timecode '01:00:00:25' has 25 frames; at 25 frames a second 0 to 24 exist."),
        ("60", "00:60:00:00", "timecode '00:60:00:00' has 60 minutes; at 60 frames a second 0 to 59 exist."),
        ("24", "24:00:00:00", "timecode '24:00:00:00' has 24 hours; at 24 frames a second 0 to 23 exist."),
        ("24", "١٢:00:00:00",
         "timecode '١٢:00:00:00' is not of the form HH:MM:SS:FF; write, for example, 00:00:00:00."),
        ("25", "01:00:00;00",
         "timecode '01:00:00;00' is drop-frame (';'), which 25 frames a second is not; write ':'."),
        ("29.97", "00:01:00;01",
         "timecode '00:01:00;01' is left out by drop-frame; the minute begins with 00:01:00;02."),
        ("59.94", "00:59:00;03",
         "timecode '00:59:00;03' is left out by drop-frame; the minute begins with 00:59:00;04."),
    ],
)  # fmt: skip
def test_no_timecode(rate: str, timecode: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(says)}$"):
        parse_rate(rate).parse(timecode)


def test_no_rate() -> None:
    with pytest.raises(ConfigError, match=r"'27' is no frame rate that editors know; choose one of 23\.976, 24, 25, "):
        parse_rate("27")
