"""Reading references and hypotheses of every format: who spoke, when, and how sure the recogniser was.

=========== ======================================================================================================
``*.trn``    sclite's ``words (id)``; references may hold ``{alternatives / like these}``
``*.stm``    NIST's ``file channel speaker begin end [<labels>] words``: references by time
``*.ctm``    NIST's ``file channel begin duration word [confidence]``: hypotheses by time, to go with ``stm``
``*.json``   SegLST: a list of ``{"session_id", "words", "speaker", "start_time", "end_time"}``
``*.jsonl``  a line an utterance, ``{"id", "text"}`` and maybe ``speaker``, ``duration``, ``confidences``, ``nbest``
all others   Kaldi's ``text``: ``id words``
=========== ======================================================================================================

A file without a dot in its name may be called by its format, such as ``stm`` in a Kaldi data directory.
"""

from __future__ import annotations

import itertools
import json
import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqkd.errors import DataError
from seqkd.scoring.formats import read_lines, read_text, read_trn

IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"


@dataclass
class Transcripts:
    """What a file holds; everything by utterance id.

    Attributes:
        texts: transcripts.
        speakers: who speaks, where the format says.
        durations: seconds, where the format says.
        confidences: the recogniser's probability that each word is right, where the format says.
        nbest: several hypotheses, best first, where the format says.
        markup: how references of this format are to be read; see `seqkd.scoring.lattice`.
    """

    texts: dict[str, str]
    speakers: dict[str, str] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    confidences: dict[str, list[float]] = field(default_factory=dict)
    nbest: dict[str, list[str]] = field(default_factory=dict)
    markup: str = "none"


@dataclass(frozen=True)
class Segment:
    """A line of an stm file."""

    file: str
    channel: str
    speaker: str
    begin: float
    end: float
    words: str

    @property
    def id(self) -> str:
        """What this utterance is called."""
        return f"{self.file}-{self.channel}-{self.begin:.2f}-{self.end:.2f}"


def kind(path: Path) -> str:
    """What comes after the last dot of a file's name, or the name of one without a dot, such as Kaldi's ``stm``."""
    return path.suffix.removeprefix(".") or path.name


def read_references(path: Path | str) -> tuple[Transcripts, list[Segment] | None]:
    """Read references; stm gives its segments, too."""
    path = Path(path)
    if kind(path) == "ctm":
        raise DataError(f"{path} is a ctm file, which gives words without utterances; references by time are stm.")
    if kind(path) == "stm":
        segments = read_stm(path)
        scored = [segment for segment in segments if segment.words != IGNORED]
        if not scored:
            raise DataError(f"{path} holds no segments to score.")
        return Transcripts(
            {segment.id: segment.words for segment in scored},
            {segment.id: segment.speaker for segment in scored},
            {segment.id: segment.end - segment.begin for segment in scored},
            markup="alternatives",
        ), segments
    return _read(path), None


def read_hypotheses(path: Path | str, segments: list[Segment] | None) -> Transcripts:
    """Read hypotheses; a ctm file needs the references' segments, and those need a ctm file."""
    path = Path(path)
    if kind(path) == "stm":
        raise DataError(f"{path} is an stm file, which is for references; hypotheses by time are ctm.")
    if kind(path) == "ctm":
        if segments is None:
            raise DataError(f"{path} is a ctm file and needs references by time (*.stm).")
        return read_ctm(path, segments)
    if segments is not None:
        raise DataError(f"{path}: references by time (*.stm) need hypotheses by time (*.ctm).")
    return _read(path)


def _read(path: Path) -> Transcripts:
    if kind(path) == "trn":
        return Transcripts(read_trn(path), markup="alternatives")
    if kind(path) == "jsonl":
        return read_jsonl(path)
    if kind(path) == "json":
        return read_seglst(path)
    return Transcripts(read_text(path))


def read_stm(path: Path | str) -> list[Segment]:
    """Read an stm file, in the order of its lines.

    Raises:
        DataError: a malformed line, a time span that is none, or a segment that overlaps one before it.
    """
    segments: list[Segment] = []
    lines: dict[str, int] = {}
    for number, line in read_lines(path):
        if not line.strip() or line.startswith(";;"):
            continue
        fields = line.split()
        times = [_seconds(value) for value in fields[3:5]]
        if len(fields) < 5 or None in times:
            raise DataError(f"{path}, line {number}: expected file, channel, speaker, begin, end and words.")
        begin, end = times
        if not 0 <= begin < end:
            raise DataError(f"{path}, line {number}: the segment begins at {begin:g} s and ends at {end:g} s.")
        labelled = len(fields) > 5 and fields[5].startswith("<") and fields[5].endswith(">")
        segment = Segment(*fields[:3], begin, end, " ".join(fields[6 if labelled else 5 :]))
        if segment.id in lines:
            raise DataError(
                f"{path}, line {number}: the same time of the same channel was already given in line "
                f"{lines[segment.id]}."
            )
        lines[segment.id] = number
        segments.append(segment)
    if not segments:
        raise DataError(f"{path} holds no segments.")
    by_channel = _by_channel(segments)
    for inside in by_channel.values():
        for one, other in itertools.pairwise(inside):
            if other.begin < one.end - 1e-6:
                raise DataError(
                    f"{path}, line {lines[other.id]}: the segment begins before the one of line {lines[one.id]} ends; "
                    "overlapping speech of one channel cannot be scored by time."
                )
    return segments


def read_ctm(path: Path | str, segments: list[Segment]) -> Transcripts:
    """Read a ctm file into the utterances of an stm file.

    A word belongs to the first segment of its file and channel that ends after the word's middle, or else to the
    last one, as in sclite: what is recognised between segments counts as an insertion. A file or channel without
    any word is a missing hypothesis; see the ``missing`` policy.

    Raises:
        DataError: a malformed line, alternatives, or a word of a file and channel that the stm file lacks.
    """
    by_channel = _by_channel(segments)
    ends = {key: [segment.end for segment in inside] for key, inside in by_channel.items()}
    found: dict[str, list[tuple[float, str, float | None]]] = {}
    for number, line in read_lines(path):
        if not line.strip() or line.startswith(";;"):
            continue
        fields = line.split()
        if any(field.startswith("<ALT") for field in fields):
            raise DataError(f"{path}, line {number}: alternatives of a ctm file are not understood.")
        times = [_seconds(value) for value in fields[2:4]]
        confidence = _seconds(fields[5]) if len(fields) == 6 else None
        if not 5 <= len(fields) <= 6 or None in times or (len(fields) == 6 and confidence is None):
            raise DataError(f"{path}, line {number}: expected file, channel, begin, duration, word and confidence.")
        if confidence is not None and not 0 <= confidence <= 1:
            raise DataError(f"{path}, line {number}: the confidence is {confidence:g}; expected 0 to 1.")
        key = (fields[0], fields[1])
        if key not in by_channel:
            raise DataError(f"{path}, line {number}: file {key[0]}, channel {key[1]} does not occur in the references.")
        middle = times[0] + times[1] / 2
        inside = by_channel[key]
        segment = inside[min(bisect_right(ends[key], middle), len(inside) - 1)]
        if not found.keys() & {segment.id}:
            for other in inside:
                found.setdefault(other.id, [])
        found[segment.id].append((middle, fields[4], confidence))
    ignored = {segment.id for segment in segments if segment.words == IGNORED}
    words = {
        segment: sorted(inside, key=lambda word: word[0]) for segment, inside in found.items() if segment not in ignored
    }
    return Transcripts(
        {segment: " ".join(word for _, word, _ in inside) for segment, inside in words.items()},
        confidences={
            segment: [confidence for *_, confidence in inside]
            for segment, inside in words.items()
            if all(confidence is not None for *_, confidence in inside)
        },
    )


def read_seglst(path: Path | str) -> Transcripts:
    """Read SegLST.

    Utterances are named by ``utterance_id`` or ``segment_id`` where given. Otherwise all segments of a session and
    speaker, in order of time, are one utterance, ``session`` or ``session-speaker``: speakers must be named alike
    on both sides (for anonymous speakers use a tool that searches for the best assignment, such as meeteval).

    Raises:
        DataError: not such a list, an id given twice, or words that are no text.
    """
    segments = _json(Path(path), "".join(line + "\n" for _, line in read_lines(path)), 1)
    if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
        raise DataError(f"{path}: expected SegLST, a list of objects with session_id and words.")
    texts: dict[str, list[tuple[float, str]]] = {}
    made = Transcripts({})
    named: set[str] = set()
    for number, segment in enumerate(segments, start=1):
        where = f"{path}, segment {number}"
        if not isinstance(segment.get("words"), str):
            raise DataError(f"{where}: words is {segment.get('words')!r}; expected text.")
        own = segment.get("utterance_id", segment.get("segment_id"))
        session, speaker = segment.get("session_id"), segment.get("speaker")
        if own is None and session is None:
            raise DataError(f"{where}: it has no session_id, utterance_id or segment_id.")
        utterance = str(own) if own is not None else str(session) if speaker is None else f"{session}-{speaker}"
        if own is not None and utterance in named:
            raise DataError(f"{where}: utterance {utterance} was already given.")
        named.add(utterance)
        begin, end = (_time(segment.get(key), where, key) for key in ("start_time", "end_time"))
        texts.setdefault(utterance, []).append((begin or 0.0, segment["words"]))
        if speaker is not None:
            made.speakers[utterance] = str(speaker)
        if begin is not None and end is not None:
            made.durations[utterance] = made.durations.get(utterance, 0.0) + end - begin
    if not texts:
        raise DataError(f"{path} holds no segments.")
    made.texts = {
        utterance: " ".join(words for _, words in sorted(inside, key=lambda part: part[0]))
        for utterance, inside in texts.items()
    }
    return made


def read_jsonl(path: Path | str) -> Transcripts:
    """Read a file with a JSON object a line.

    ``id`` and ``text`` are compulsory; ``speaker``, ``duration`` (seconds), ``confidences`` (a number from 0 to 1
    for each word of ``text``) and ``nbest`` (texts, best first) are read where given.

    Raises:
        DataError: a malformed line, or an id given twice.
    """
    made, lines = Transcripts({}), {}
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        if not line.strip():
            raise DataError(f"{where}: the line is blank; expected a JSON object with id and text.")
        entry = _json(Path(path), line, number)
        if not isinstance(entry, dict):
            raise DataError(f"{where}: expected a JSON object with id and text.")
        utterance, text = entry.get("id"), entry.get("text")
        if not isinstance(utterance, str) or not utterance.strip():
            raise DataError(f"{where}: id is {utterance!r}; expected text that is not empty.")
        if not isinstance(text, str):
            raise DataError(f"{where}: text is {text!r}; expected text.")
        if utterance in lines:
            raise DataError(f"{where}: utterance {utterance} was already given in line {lines[utterance]}.")
        lines[utterance], made.texts[utterance] = number, text
        if (speaker := entry.get("speaker")) is not None:
            made.speakers[utterance] = str(speaker)
        if (duration := _time(entry.get("duration"), where, "duration")) is not None:
            made.durations[utterance] = duration
        if (confidences := entry.get("confidences")) is not None:
            if not _are_confidences(confidences, len(text.split())):
                raise DataError(f"{where}: confidences must be a number from 0 to 1 for each word of text.")
            made.confidences[utterance] = [float(value) for value in confidences]
        if (nbest := entry.get("nbest")) is not None:
            if not isinstance(nbest, list) or not nbest or not all(isinstance(one, str) for one in nbest):
                raise DataError(f"{where}: nbest must be a list of texts, best first.")
            made.nbest[utterance] = nbest
    if not made.texts:
        raise DataError(f"{path} holds no transcripts.")
    return made


def read_nbest(path: Path | str) -> dict[str, list[str]]:
    """Read n-best lists: JSONL with ``nbest``, or Kaldi's ``text`` with ids that end in ``-1``, ``-2`` and so on.

    Raises:
        DataError: the file is malformed, or an id does not end so.
    """
    path = Path(path)
    if kind(path) == "jsonl":
        made = read_jsonl(path)
        return {utterance: made.nbest.get(utterance, [text]) for utterance, text in made.texts.items()}
    lists: dict[str, list[tuple[int, str]]] = {}
    for key, text in read_text(path).items():
        utterance, separator, rank = key.rpartition("-")
        if not separator or not rank.isdecimal() or not utterance:
            raise DataError(f"{path}: id {key} of an n-best list does not end in its rank, as in {key}-1.")
        lists.setdefault(utterance, []).append((int(rank), text))
    return {utterance: [text for _, text in sorted(inside)] for utterance, inside in lists.items()}


def _by_channel(segments: Iterable[Segment]) -> dict[tuple[str, str], list[Segment]]:
    by_channel: dict[tuple[str, str], list[Segment]] = {}
    for segment in sorted(segments, key=lambda segment: segment.begin):
        by_channel.setdefault((segment.file, segment.channel), []).append(segment)
    return by_channel


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _time(value: Any, where: str, name: str) -> float | None:
    if value is None:
        return None
    seconds = _seconds(value) if isinstance(value, str) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        raise DataError(f"{where}: {name} is {value!r}; expected seconds.")
    return float(seconds)


def _are_confidences(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(v, (int, float)) and not isinstance(v, bool) and 0 <= v <= 1 for v in values)
    )


def _json(path: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as fault:
        raise DataError(f"{path}, line {line + fault.lineno - 1}: not JSON ({fault.msg}).") from None
