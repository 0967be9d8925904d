"""Who spoke which words when in a meeting: segments of SegLST and stm, which may overlap, and their words' times."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.errors import DataError
from seqkd.scoring.formats import Reading
from seqkd.scoring.formats.nist import is_ignored, words_alone

_NOTHING = "{ @ }"  # what `words_alone` makes of a bare @, which stands for no word
_OPTIONAL = re.compile(r"\(\S+\)")


@dataclass(frozen=True)
class Turn:
    """A segment of one speaker.

    Attributes:
        session: the meeting.
        speaker: who speaks, or the stream of a recogniser.
        words: of the transcript, split at white space.
        begin: seconds, or None where the file has no times.
        end: seconds, not before ``begin``, or None.
    """

    session: str
    speaker: str
    words: tuple[str, ...]
    begin: float | None = None
    end: float | None = None


def read_turns(path: Path | str, reading: Reading | None = None) -> list[Turn]:
    """Read the turns of an stm file, by its name, or else of SegLST.

    Of stm, tags and a bare ``@`` are no words. ``(hm)`` is a word as it stands there, which is noted: no measure of
    meetings can leave it out.

    Args:
        path: of the file.
        reading: collects what is noted.

    Raises:
        DataError: the file is malformed; the sentence names the line or segment. Alternatives in stm are a fault: no
            measure of meetings can choose one. A segment of stm that is to be left out of scoring is one, too: words
            spoken there would count as inserted.
    """
    path, reading = Path(path), reading or Reading()
    is_stm = path.suffix.lower() == ".stm" or path.name == "stm"
    turns = _read_stm(path, reading) if is_stm else _read_seglst(path, reading)
    if not turns:
        raise DataError(f"{path} holds no segments.")
    return turns


def _read_stm(path: Path, reading: Reading) -> list[Turn]:
    turns = []
    for number, line in reading.lines(path):
        if not line.strip() or line.startswith(";;"):
            continue
        where, fields = f"{path}, line {number}", line.split()
        if len(fields) < 5:
            raise DataError(f"{where}: expected file, channel, speaker, begin, end and words.")
        words = fields[6:] if len(fields) > 5 and fields[5].startswith("<") and fields[5].endswith(">") else fields[5:]
        if is_ignored(" ".join(words)):
            raise DataError(f"{where}: segments that are not to be scored are not understood in meetings.")
        begin, end = _times(fields[3], fields[4], where)
        turns.append(Turn(fields[0], fields[2], tuple(_plain(path, where, " ".join(words), reading)), begin, end))
    return turns


def _plain(path: Path, where: str, text: str, reading: Reading) -> list[str]:
    """Return the words of a transcript of stm, without NIST's marks."""
    text = words_alone(text).replace(_NOTHING, " ")
    if "{" in text or "}" in text:
        raise DataError(
            f"{where}: alternatives, as in {{ a / b }}, are not understood in meetings; leave one of them in the file."
        )
    words = text.split()
    if optional := sum(bool(_OPTIONAL.fullmatch(word)) for word in words):
        reading.note(
            path,
            "{} words in parentheses, as in (hm), which are never left out in meetings; --normalize no-punctuation "
            "takes the parentheses away",
            optional,
        )
    return words


def _read_seglst(path: Path, reading: Reading) -> list[Turn]:
    text = "".join(f"{line}\n" for _, line in reading.lines(path))
    try:
        segments = json.loads(text)
    except json.JSONDecodeError as fault:
        raise DataError(f"{path}, line {fault.lineno}: not JSON ({fault.msg}).") from None
    if not isinstance(segments, list):
        raise DataError(f"{path}: expected SegLST, a list of objects with session_id, speaker and words.")
    turns = []
    for number, segment in enumerate(segments, start=1):
        where = f"{path}, segment {number}"
        if not isinstance(segment, dict) or not {"session_id", "speaker", "words"} <= segment.keys():
            raise DataError(f"{where}: expected an object with session_id, speaker and words.")
        if not isinstance(segment["words"], str):
            raise DataError(f"{where}: words is {segment['words']!r}; expected text.")
        times: tuple[float | None, float | None] = None, None
        if segment.get("start_time") is not None or segment.get("end_time") is not None:
            times = _times(segment.get("start_time"), segment.get("end_time"), where)
        turns.append(Turn(str(segment["session_id"]), str(segment["speaker"]), tuple(segment["words"].split()), *times))
    return turns


def _times(begin: Any, end: Any, where: str) -> tuple[float, float]:
    try:
        seconds = float(begin), float(end)
    except (TypeError, ValueError):
        seconds = math.nan, math.nan
    if not (0 <= seconds[0] <= seconds[1] < math.inf):
        raise DataError(f"{where}: the times are {begin!r} to {end!r}; expected seconds, the end not before the begin.")
    return seconds


def in_order(turns: Sequence[Turn]) -> list[Turn]:
    """Sort turns by their begin where all have one, else keep their order."""
    return sorted(turns, key=lambda turn: turn.begin) if all(turn.begin is not None for turn in turns) else list(turns)


def word_spans(turn: Turn) -> np.ndarray:
    """Return begin and end of each word, (words, 2) seconds, as if characters took equally long."""
    lengths = np.array([0, *map(len, turn.words)], float)
    edges = turn.begin + (turn.end - turn.begin) / max(lengths.sum(), 1) * np.cumsum(lengths)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def word_points(turn: Turn, collar: float) -> np.ndarray:
    """Return (words, 2) the middle of each word, less and plus the collar in seconds."""
    middles = word_spans(turn).mean(axis=1, keepdims=True)
    return np.hstack([middles - collar, middles + collar])
