"""Words by time: NIST's stm for references and ctm for hypotheses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqkd.errors import DataError
from seqkd.scoring.formats.nist import is_ignored, words_alone
from seqkd.scoring.formats.reading import Reading
from seqkd.scoring.formats.transcripts import Segment, Transcripts, escape

OVERLAP = 0.05  # seconds; up to this, a lenient reading takes an overlap for one of rounding
_MARKS = ("<ALT_BEGIN>", "<ALT>", "<ALT_END>")


@dataclass(frozen=True)
class TimedWord:
    """A word of a ctm file, or alternatives, ``{ a / b }``: in which file and channel, until when, how sure."""

    file: str
    channel: str
    middle: float
    text: str
    confidence: float | None
    line: int = 0


def read_stm(path: Path | str, reading: Reading | None = None) -> list[Segment]:
    """Read an stm file, in the order of its lines.

    Raises:
        DataError: a malformed line, a time span that is none, or a segment that overlaps one before it.
    """
    reading = reading or Reading()
    segments: list[Segment] = []
    lines: dict[str, int] = {}
    for number, line in reading.lines(path):
        if not line.strip() or line.startswith(";;"):
            continue
        fields = line.split()
        where = f"{path}, line {number}"
        times = [_seconds(value) for value in fields[3:5]]
        if len(fields) < 5 or None in times:
            raise DataError(f"{where}: expected file, channel, speaker, begin, end and words.")
        begin, end = times
        if not 0 <= begin <= end:
            raise DataError(f"{where}: the segment begins at {begin:g} s and ends at {end:g} s.")
        if begin == end:
            reading.depart(
                path, f"{where}: the segment begins at {begin:g} s and ends at {end:g} s.",
                "{} segments that last no time",
            )  # fmt: skip
        labelled = len(fields) > 5 and fields[5].startswith("<") and fields[5].endswith(">")
        labels = fields[5] if labelled else ""
        segment = Segment(*fields[:3], begin, end, " ".join(fields[6 if labelled else 5 :]), labels)
        if segment.id in lines:
            raise DataError(
                f"{where}: the same time of the same channel was already given in line {lines[segment.id]}."
            )
        lines[segment.id] = number
        segments.append(segment)
    if not segments:
        raise DataError(f"{path} holds no segments.")
    for inside in by_channel(segments).values():
        for one, other in itertools.pairwise(inside):
            if other.begin >= one.end - 1e-6:
                continue
            fault = (
                f"{path}, line {lines[other.id]}: the segment begins before the one of line {lines[one.id]} ends; "
                "overlapping speech of one channel cannot be scored by time"
            )
            if one.end - other.begin > OVERLAP + 1e-6:
                raise DataError(f"{fault}: it needs the measures for meetings.")
            reading.depart(path, f"{fault}.", f"{{}} overlaps of at most {OVERLAP:g} s")
    return segments


def read_ctm(path: Path | str, segments: list[Segment] | None = None, reading: Reading | None = None,
             *, literal: bool = False, extra: str = "error") -> Transcripts:  # fmt: skip
    """Read a ctm file into the utterances of an stm file, or, without one, as one utterance a file and channel.

    A word belongs to the first segment of its file and channel that ends after the word's middle, or else to the
    last one, as in sclite: what is recognised between segments counts as an insertion. Alternatives belong where
    the latest of their words does. A file or channel without any word is a missing hypothesis; see the ``missing``
    policy.

    Args:
        path: of the ctm file: ``file channel begin duration word``, a confidence or ``NA``, and the columns
            that the Rich Transcription evaluations add, type and speaker; as in sclite, words of every type are scored.
        segments: of the references.
        reading: how strictly; a lenient one takes channel ``a`` for ``A``.
        literal: whether NIST's marks inside words are words (markup: none).
        extra: what to do about files and channels that the references lack: ``error``, or ``drop``.

    Raises:
        DataError: a malformed line, or a word of a file and channel that the stm file lacks.
    """
    reading = reading or Reading()
    entries = list(_entries(Path(path), reading, literal))
    if segments is None:
        found: dict[str, list[TimedWord]] = {}
        for entry in sorted(entries, key=lambda entry: entry.middle):
            found.setdefault(f"{entry.file}-{escape(entry.channel)}", []).append(entry)
        if not found:
            raise DataError(f"{path} holds no words.")
        return _transcripts(found, literal)
    channels = by_channel(segments)
    found = {}
    placed: dict[tuple[str, str], list[TimedWord]] = {}
    names = _Names(channels, reading)
    for entry in entries:
        key = names.find(path, entry)
        if key is None:
            if extra == "drop":
                reading.note(path, "{} words of files or channels that the references lack, left out (extra: drop)")
                continue
            raise DataError(_absent(path, entry))
        placed.setdefault(key, []).append(entry)
    for key, words in placed.items():
        inside = channels[key]
        for segment in inside:
            found[segment.id] = []
        at = 0
        # As sclite does: forward only, so that where segments overlap the earlier one takes what both span.
        for entry in sorted(words, key=lambda entry: entry.middle):
            while at < len(inside) - 1 and entry.middle >= inside[at].end:
                at += 1
            found[inside[at].id].append(entry)
    ignored = {segment.id for segment in segments if is_ignored(segment.words)}
    return _transcripts({segment: words for segment, words in found.items() if segment not in ignored}, literal)


class _Names:
    """Finds the file and channel of a hypothesis among those of the references."""

    def __init__(self, channels: Iterable[tuple[str, str]], reading: Reading):
        self._channels = set(channels)
        self._folded: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for file, channel in self._channels:
            self._folded.setdefault((file.casefold(), channel.casefold()), []).append((file, channel))
        self._reading = reading

    def find(self, path: Path | str, entry: TimedWord) -> tuple[str, str] | None:
        key = (entry.file, entry.channel)
        if key in self._channels:
            return key
        alike = self._folded.get((entry.file.casefold(), entry.channel.casefold()), [])
        if len(alike) != 1:
            return None
        self._reading.depart(
            path, _absent(path, entry), f"{{}} words of {' '.join(key)} taken for {' '.join(alike[0])}"
        )
        return alike[0]


def _absent(path: Path | str, entry: TimedWord) -> str:
    return f"{path}, line {entry.line}: file {entry.file}, channel {entry.channel} does not occur in the references."


def by_channel(segments: Iterable[Segment]) -> dict[tuple[str, str], list[Segment]]:
    """Return the segments by file and channel, in the order of time."""
    channels: dict[tuple[str, str], list[Segment]] = {}
    for segment in sorted(segments, key=lambda segment: segment.begin):
        channels.setdefault((segment.file, segment.channel), []).append(segment)
    return channels


def _entries(path: Path, reading: Reading, literal: bool) -> Iterable[TimedWord]:
    """Yield words and alternatives, in the order of the lines."""
    options: list[list[TimedWord]] | None = None
    opened = 0
    for number, line in reading.lines(path):
        if not line.strip() or line.startswith(";;"):
            continue
        where, fields = f"{path}, line {number}", line.split()
        mark = fields[4].upper() if len(fields) > 4 and fields[4][:4].upper() == "<ALT" else None
        if mark is not None:
            if mark not in _MARKS or (mark == "<ALT_BEGIN>") != (options is None):
                raise DataError(f"{where}: {fields[4]} where none may be; expected <ALT_BEGIN>, <ALT> and <ALT_END>.")
            reading.depart(path, f"{where}: alternatives in a ctm file.", "{} marks of alternatives understood")
            if mark == "<ALT_BEGIN>":
                options, opened = [[]], number
            elif mark == "<ALT>":
                options.append([])
            else:
                yield _alternatives(fields, options, opened)
                options = None
            continue
        entry = _entry(path, number, fields, reading)
        if options is None:
            yield entry
        else:
            options[-1].append(entry)
    if options is not None:
        raise DataError(f"{path}, line {opened}: <ALT_BEGIN> without <ALT_END> after it.")


def _alternatives(fields: Sequence[str], options: Sequence[Sequence[TimedWord]], line: int) -> TimedWord:
    every = [entry for option in options for entry in option]
    texts = [" ".join(entry.text for entry in option) or "@" for option in options]
    latest = max((entry.middle for entry in every), default=0.0)
    return TimedWord(fields[0], fields[1], latest, f"{{ {' / '.join(texts)} }}", None, line)


def _entry(path: Path, line: int, fields: Sequence[str], reading: Reading) -> TimedWord:
    where = f"{path}, line {line}"
    times = [_seconds(value) for value in fields[2:4]]
    if not 5 <= len(fields) <= 8 or None in times:
        raise DataError(f"{where}: expected file, channel, begin, duration, word and confidence.")
    confidence = _seconds(fields[5]) if len(fields) > 5 else None
    if len(fields) > 5 and confidence is None:
        if fields[5].upper() != "NA":
            raise DataError(f"{where}: expected file, channel, begin, duration, word and confidence.")
        reading.depart(
            path, f"{where}: the confidence is {fields[5]}; expected 0 to 1.", "{} words without confidence, NA"
        )
    if confidence is not None and not 0 <= confidence <= 1:
        raise DataError(f"{where}: the confidence is {confidence:g}; expected 0 to 1.")
    if len(fields) > 6:
        reading.depart(path, f"{where}: {len(fields)} columns; expected 5 or 6.", "{} lines with type and speaker")
        if fields[6].lower() not in ("lex", "na"):
            reading.note(path, f"{{}} words of type {fields[6]}, scored as all others are")
    return TimedWord(fields[0], fields[1], times[0] + times[1] / 2, fields[4], confidence, line)


def _transcripts(found: dict[str, list[TimedWord]], literal: bool) -> Transcripts:
    if not literal:
        # What stands for no word has no confidence, either.
        found = {utterance: [entry for entry in words if entry.text != "@"] for utterance, words in found.items()}
    texts = {utterance: " ".join(entry.text for entry in words) for utterance, words in found.items()}
    return Transcripts(
        texts if literal else {utterance: words_alone(text) for utterance, text in texts.items()},
        confidences={
            utterance: [entry.confidence for entry in words]
            for utterance, words in found.items()
            if all(entry.confidence is not None for entry in words)
        },
        markup="alternatives",
        kind="ctm",
    )


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
