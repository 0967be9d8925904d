"""References and hypotheses of every format, each as the other one asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from seqkd.errors import DataError
from seqkd.scoring.formats.columns import read_columns
from seqkd.scoring.formats.detect import BY_CONTENT, by_name, certain, detect, sample
from seqkd.scoring.formats.nist import is_ignored, words_alone
from seqkd.scoring.formats.objects import read_jsonl, read_nemo, read_seglst
from seqkd.scoring.formats.reading import Reading
from seqkd.scoring.formats.text import read_plain, read_text, read_trn
from seqkd.scoring.formats.timed import read_ctm, read_stm
from seqkd.scoring.formats.transcripts import Segment, Transcripts


def read_references(
    path: Path | str, reading: Reading | None = None, *, wanted: str | None = None, literal: bool = False
) -> tuple[Transcripts, list[Segment] | None]:
    """Read references; stm gives its segments, too.

    Args:
        path: of the file; ``-`` is standard input.
        reading: how strictly; by default, as little as may be is taken for granted.
        wanted: one of `seqkd.scoring.formats.detect.FORMATS`; by default the content decides.
        literal: whether NIST's marks inside words, such as ``;tag``, are words.
    """
    path, reading = Path(path), reading or Reading()
    kind, found = detect(path, reading, wanted)
    if kind == "stm":
        segments = read_stm(path, reading)
        scored = [segment for segment in segments if not is_ignored(segment.words)]
        if not scored:
            raise DataError(f"{path} holds no segments to score.")
        clean: Callable[[str], str] = str if literal else words_alone
        return Transcripts(
            {segment.id: clean(segment.words) for segment in scored},
            {segment.id: segment.speaker for segment in scored},
            {segment.id: segment.end - segment.begin for segment in scored},
            markup="alternatives",
            kind=kind,
            found=found,
        ), segments
    return _read(path, kind, found, reading, literal, hypotheses=False), None


def read_hypotheses(
    path: Path | str,
    segments: list[Segment] | None,
    reading: Reading | None = None,
    *,
    references: str = "",
    wanted: str | None = None,
    literal: bool = False,
    extra: str = "error",
) -> Transcripts:
    """Read hypotheses; those by time need the references' segments, and these need a ctm file.

    Args:
        path: of the file.
        segments: of stm references.
        reading: how strictly.
        references: their format: where the content leaves two, the one that fits.
        wanted: the format.
        literal: whether NIST's marks inside words are words.
        extra: what to do about words of files that the references lack; see `read_ctm`.
    """
    path, reading = Path(path), reading or Reading()
    if wanted is None and segments is not None and _is_empty(path, reading):
        kind, found = "ctm", BY_CONTENT  # a recogniser that found no word at all
    elif wanted is None and segments is not None and by_name(path) is None:
        kind, found = certain(sample(path, reading)) or "text", BY_CONTENT
    elif wanted is None and segments is None and references not in ("", "ctm") and by_name(path) is None:
        kind, found = _as_references(path, reading, references)
    else:
        kind, found = detect(path, reading, wanted)
    if kind == "stm":
        raise DataError(f"{path} is an stm file, which is for references; hypotheses by time are ctm.")
    if kind == "ctm" and segments is None and references != "ctm":
        raise DataError(f"{path} is a ctm file and needs references by time (*.stm).")
    if kind == "ctm":
        made = read_ctm(path, segments, reading, literal=literal, extra=extra)
        made.found = found
        return made
    if segments is not None:
        raise DataError(f"{path}: references by time (*.stm) need hypotheses by time (*.ctm).")
    return _read(path, kind, found, reading, literal, hypotheses=True)


def _as_references(path: Path, reading: Reading, references: str) -> tuple[str, str]:
    """Lines that are nothing else have ids where the references have them, and none where they have none."""
    if reading.content(path).lstrip()[:1] in (b"[", b"{"):
        return detect(path, reading)
    seen = certain(sample(path, reading))
    if seen is not None:
        return seen, BY_CONTENT
    return ("lines" if references == "lines" else "text"), "as the references"


def _is_empty(path: Path, reading: Reading) -> bool:
    return not reading.content(path).strip()


def _read(path: Path, kind: str, found: str, reading: Reading, literal: bool, *, hypotheses: bool) -> Transcripts:
    if kind == "trn":
        texts = read_trn(path, reading)
        if not literal:
            texts = {utterance: words_alone(text) for utterance, text in texts.items()}
        made = Transcripts(texts, markup="alternatives")
    elif kind == "jsonl":
        made = read_jsonl(path, reading)
    elif kind == "nemo":
        made = read_nemo(path, reading, hypotheses=hypotheses)
    elif kind == "seglst":
        made = read_seglst(path, reading)
    elif kind == "csv":
        made = read_columns(path, reading, hypotheses=hypotheses)
    elif kind == "ctm":
        made = read_ctm(path, None, reading, literal=literal)
    elif kind == "lines":
        made = Transcripts(read_plain(path, reading))
    else:
        made = Transcripts(read_text(path, reading))
    made.kind, made.found = made.kind or kind, found
    return made
