"""Transcripts in JSON: SegLST, a line an utterance, and NeMo's manifests."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from seqkd.errors import DataError
from seqkd.scoring.formats.reading import Reading, read_lines
from seqkd.scoring.formats.text import read_text
from seqkd.scoring.formats.transcripts import Transcripts, session_speaker


def read_seglst(path: Path | str, reading: Reading | None = None) -> Transcripts:
    """Read SegLST.

    Utterances are named by ``utterance_id`` or ``segment_id`` where given. Otherwise all segments of a session and
    speaker, in order of time, are one utterance, `session_speaker`: speakers must be named alike
    on both sides (for anonymous speakers use a tool that searches for the best assignment, such as meeteval).

    Raises:
        DataError: not such a list, an id given twice, or words that are no text.
    """
    segments = _json(Path(path), "".join(line + "\n" for _, line in read_lines(path, reading)), 1)
    if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
        raise DataError(f"{path}: expected SegLST, a list of objects with session_id and words.")
    texts: dict[str, list[tuple[float, str]]] = {}
    made = Transcripts({}, kind="seglst")
    named: dict[str, bool] = {}
    for number, segment in enumerate(segments, start=1):
        where = f"{path}, segment {number}"
        if not isinstance(segment.get("words"), str):
            raise DataError(f"{where}: words is {segment.get('words')!r}; expected text.")
        own = segment.get("utterance_id", segment.get("segment_id"))
        session, speaker = segment.get("session_id"), segment.get("speaker")
        if own is None and session is None:
            raise DataError(f"{where}: it has no session_id, utterance_id or segment_id.")
        if own is not None:
            utterance = str(own)
        else:
            utterance = session_speaker(str(session), None if speaker is None else str(speaker))
        if utterance in named and (own is not None or named[utterance]):
            raise DataError(f"{where}: utterance {utterance} was already given.")
        named[utterance] = own is not None
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


def read_jsonl(path: Path | str, reading: Reading | None = None) -> Transcripts:
    """Read a file with a JSON object a line.

    ``id`` and ``text`` are compulsory; ``speaker``, ``duration`` (seconds), ``confidences`` (a number from 0 to 1
    for each word of ``text``) and ``nbest`` (texts, best first) are read where given.

    Raises:
        DataError: a malformed line, or an id given twice.
    """
    made, lines = Transcripts({}, kind="jsonl"), {}
    for number, line in read_lines(path, reading):
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


def read_nemo(path: Path | str, reading: Reading | None = None, *, hypotheses: bool = False) -> Transcripts:
    """Read a manifest of NVIDIA NeMo: an object a line with ``audio_filepath``, ``text``, and maybe ``duration``.

    An utterance is called by its ``audio_filepath``, with ``@offset`` after it where it is cut out of a longer file.

    Args:
        path: of the manifest.
        reading: how strictly.
        hypotheses: whether ``pred_text``, which NeMo writes when it transcribes, is wanted where it is given.

    Raises:
        DataError: a malformed line, or the same audio given twice.
    """
    made, lines = Transcripts({}, kind="nemo"), {}
    for number, line in read_lines(path, reading):
        where = f"{path}, line {number}"
        if not line.strip():
            (reading or Reading()).depart(
                path, f"{where}: the line is blank; expected a JSON object with audio_filepath and text.",
                "{} blank lines left out",
            )  # fmt: skip
            continue
        entry = _json(Path(path), line, number)
        if not isinstance(entry, dict) or not isinstance(entry.get("audio_filepath"), str):
            raise DataError(f"{where}: expected a JSON object with audio_filepath and text.")
        key = "pred_text" if hypotheses and "pred_text" in entry else "text"
        if not isinstance(entry.get(key), str):
            raise DataError(f"{where}: {key} is {entry.get(key)!r}; expected text.")
        utterance = entry["audio_filepath"]
        offset = _time(entry.get("offset"), where, "offset")
        if offset:
            utterance = f"{utterance}@{offset!r}"
        if utterance in lines:
            raise DataError(f"{where}: {utterance} was already given in line {lines[utterance]}.")
        lines[utterance], made.texts[utterance] = number, entry[key]
        if (speaker := entry.get("speaker")) is not None:
            made.speakers[utterance] = str(speaker)
        if (duration := _time(entry.get("duration"), where, "duration")) is not None:
            made.durations[utterance] = duration
    if not made.texts:
        raise DataError(f"{path} holds no transcripts.")
    return made


def read_nbest(path: Path | str, reading: Reading | None = None) -> dict[str, list[str]]:
    """Read n-best lists: JSON lines with ``nbest``, or Kaldi's ``text`` with ids that end in ``-1``, ``-2`` and so on.

    Raises:
        DataError: the file is malformed, or an id does not end so.
    """
    path, reading = Path(path), reading or Reading()
    if _is_json(path, reading):
        made = read_jsonl(path, reading)
        return {utterance: made.nbest.get(utterance, [text]) for utterance, text in made.texts.items()}
    lists: dict[str, list[tuple[int, str]]] = {}
    for key, text in read_text(path, reading).items():
        utterance, separator, rank = key.rpartition("-")
        if not separator or not rank.isdecimal() or not utterance:
            raise DataError(f"{path}: id {key} of an n-best list does not end in its rank, as in {key}-1.")
        lists.setdefault(utterance, []).append((int(rank), text))
    return {utterance: [text for _, text in sorted(inside)] for utterance, inside in lists.items()}


def _is_json(path: Path, reading: Reading) -> bool:
    return reading.content(path).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


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
