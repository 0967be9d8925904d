"""Transcripts in tables with a heading: csv, and tsv as Common Voice has it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from seqkd.errors import DataError
from seqkd.scoring.formats.reading import Reading
from seqkd.scoring.formats.transcripts import Transcripts

IDS = (
    "id", "utterance_id", "utt_id", "utt", "utterance", "uttid", "segment_id", "key", "file", "filename", "file_name",
    "path", "audio", "audio_path", "audio_filepath", "wav", "wav_filename",
)  # fmt: skip
REFERENCES = ("reference", "ref", "text", "transcript", "transcription", "sentence", "words", "wrd", "target")
HYPOTHESES = ("hypothesis", "hyp", "prediction", "pred_text", "predicted", "pred", "output")
SPEAKERS = ("speaker", "speaker_id", "spk", "spk_id", "client_id")
DURATIONS = ("duration", "length")


def heading(line: str) -> tuple[str, list[str]] | None:
    """The separator of a heading that names an id and a transcript, and its columns; None if it is none."""
    for separator in ("\t", ",", ";"):
        names = [name.strip().lower() for name in next(csv.reader([line], delimiter=separator), [])]
        if len(names) > 1 and set(names) & set(IDS) and set(names) & {*REFERENCES, *HYPOTHESES}:
            return separator, names
    return None


def read_columns(path: Path | str, reading: Reading | None = None, *, hypotheses: bool = False) -> Transcripts:
    """Read a table whose first line names its columns: an id and a transcript, and maybe speaker and duration.

    Which columns were taken is noted. Of a hypothesis' file, ``hypothesis`` or ``prediction`` is taken before ``text``.

    Raises:
        DataError: no such columns, a line of another number of fields, or an id given twice.
    """
    reading = reading or Reading()
    lines = list(reading.lines(path))
    found = heading(lines[0][1]) if lines else None
    if found is None:
        raise DataError(
            f"{path}, line 1: expected a heading with an id ({', '.join(IDS[:4])}, ...) and a transcript "
            f"({', '.join(REFERENCES[:4])}, ...), separated by tabs, commas or semicolons."
        )
    separator, names = found
    wanted = (*HYPOTHESES, *REFERENCES) if hypotheses else (*REFERENCES, *HYPOTHESES)
    own, text = _first(names, IDS), _first(names, wanted)
    speaker, duration = _first(names, SPEAKERS), _first(names, DURATIONS)
    reading.note(path, f"ids of column {names[own]}, transcripts of column {names[text]}")
    made = Transcripts({}, kind="tsv" if separator == "\t" else "csv")
    quoting = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    rows = csv.reader((line + "\n" for _, line in lines[1:]), delimiter=separator, quoting=quoting)
    for row in rows:
        where = f"{path}, line {rows.line_num + 1}"
        if not row:
            reading.depart(path, f"{where}: the line is blank.", "{} blank lines left out")
            continue
        if len(row) != len(names):
            raise DataError(f"{where}: {len(row)} fields; the heading has {len(names)}.")
        utterance = row[own].strip()
        if not utterance:
            raise DataError(f"{where}: the id is empty.")
        if utterance in made.texts:
            raise DataError(f"{where}: utterance {utterance} was already given.")
        made.texts[utterance] = " ".join(row[text].split())
        if speaker is not None and row[speaker].strip():
            made.speakers[utterance] = row[speaker].strip()
        if duration is not None and row[duration].strip():
            made.durations[utterance] = _duration(row[duration], where)
    if not made.texts:
        raise DataError(f"{path} holds no transcripts.")
    return made


def _first(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _duration(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise DataError(f"{where}: the duration is {text!r}; expected seconds.")
    return value
