"""Transcripts as text, JSON lines, NIST ctm and SubRip subtitles."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from seqkd.deploy.transcribe import Transcript
from seqkd.deploy.words import Word
from seqkd.errors import ConfigError

PAUSE, CUE_SECONDS, CUE_CHARACTERS = 0.7, 6.0, 80  # what ends a subtitle: a pause, or what can be read at a glance


def text(transcript: Transcript, several: bool) -> str:
    """Only the words; after the file's name and a tab if there are several files."""
    return (f"{transcript.file}\t" if several else "") + transcript.text + "\n"


def json_line(transcript: Transcript, several: bool) -> str:
    """One object a file: file, seconds, text, and words with start, end (seconds) and confidence."""
    words = list(map(word_object, transcript.words))
    entry = {"file": transcript.file, "seconds": round(transcript.seconds, 3), "text": transcript.text, "words": words}
    return json.dumps(entry, ensure_ascii=False) + "\n"


def ctm(transcript: Transcript, several: bool) -> str:
    """Recording (the file's name without its suffix), channel 1, start, duration, word, confidence: a line a word."""
    return ctm_lines(recording(transcript.file), transcript.words)


def srt(transcript: Transcript, several: bool) -> str:
    """Numbered subtitles."""
    return "".join(
        f"{number}\n{clock(cue[0].start)} --> {clock(cue[-1].end)}\n{' '.join(w.text for w in cue)}\n\n"
        for number, cue in enumerate(cues(transcript.words), start=1)
    )


def word_object(word: Word) -> dict[str, str | float]:
    """A word as JSON has it."""
    start, end, confidence = round(word.start, 3), round(word.end, 3), round(word.confidence, 4)
    return {"word": word.text, "start": start, "end": end, "confidence": confidence}


def ctm_lines(name: str, words: Sequence[Word]) -> str:
    """Lines of a ctm, of the recording ``name``."""
    return "".join(f"{name} 1 {w.start:.3f} {w.end - w.start:.3f} {w.text} {w.confidence:.4f}\n" for w in words)


FORMATS: dict[str, Callable[[Transcript, bool], str]] = {"text": text, "json": json_line, "ctm": ctm, "srt": srt}


def check_files(format: str, files: Sequence[Path]) -> None:
    """Raise ConfigError when a format cannot hold these files together."""
    if format == "srt" and len(files) > 1:
        raise ConfigError(f"srt holds one recording, but {len(files)} files were named; give one at a time")
    if format == "ctm":
        seen: dict[str, Path] = {}
        for file in files:
            other = seen.setdefault(recording(str(file)), file)
            if other is not file:
                raise ConfigError(
                    f"{other} and {file} would both be {recording(str(file))!r} in the ctm; "
                    "rename one or transcribe them apart"
                )


def recording(file: str) -> str:
    """The name of a recording in a ctm, whose fields are separated by spaces."""
    return "_".join(Path(file).stem.split()) or "_"


def cues(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Group words into subtitles."""
    cue: list[Word] = []
    for word in words:
        if cue and (
            word.start - cue[-1].end > PAUSE
            or word.end - cue[0].start > CUE_SECONDS
            or sum(len(w.text) + 1 for w in cue) + len(word.text) > CUE_CHARACTERS
        ):
            yield cue
            cue = []
        cue.append(word)
    if cue:
        yield cue


def clock(seconds: float) -> str:
    """As in ``01:02:03,450``."""
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"
