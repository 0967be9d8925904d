"""Meetings of one or several systems, from files to a table and a file of numbers.

The file, schema 1::

    {"schema", "measure", "collar", "normalizer", "reference", "systems": {NAME: {
      "file", "rate", "errors", "substitutions", "deletions", "insertions", "words",
      "missed_speakers", "extra_speakers",
      "sessions": {SESSION: the same but for "file", and "assignment": [[speaker, stream or null]]}
    }}}

Rates are fractions, null without words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from seqkd import files
from seqkd.errors import ConfigError, DataError
from seqkd.scoring.formats import Reading
from seqkd.scoring.meetings.rates import COLLAR, MeetingRate, SessionRate, meeting_rate
from seqkd.scoring.meetings.turns import Turn, read_turns
from seqkd.scoring.normalize import Normalizer

_COUNTS = ("errors", "substitutions", "deletions", "insertions", "words", "missed_speakers", "extra_speakers")
_NAMES = {"cp": "cpWER", "tcp": "tcpWER", "orc": "ORC-WER", "tcorc": "tcORC-WER"}


def score_meeting_files(
    ref: Path | str,
    hyps: Mapping[str, Path | str],
    measure: str,
    json: Path | str | None = None,
    *,
    collar: float = COLLAR,
    normalize: str = "",
    glm: Path | None = None,
) -> str:
    """Score SegLST or stm files; returns a table for the terminal, and what was noted of the files.

    Args:
        ref: reference turns.
        hyps: hypotheses by the name of the system.
        measure: see `meeting_rate`.
        json: where to write the numbers, if anywhere; the form is this module's.
        collar: seconds.
        normalize: steps of `seqkd.scoring.normalize`, of both sides.
        glm: a mapping file without alternatives, of both sides.

    Raises:
        DataError: a file is malformed or does not fit the references; the sentence names it.
        ConfigError: see `meeting_rate`; or the mapping has alternatives.
    """
    normalizer = Normalizer(normalize, glm)
    if normalizer.alternatives:
        raise ConfigError("alternatives of a mapping are not understood in meetings")
    reading = Reading()
    references = _normalized(read_turns(ref, reading), normalizer)
    rates = {}
    for name, path in hyps.items():
        hypotheses = _normalized(read_turns(path, reading), normalizer)
        try:
            rates[name] = meeting_rate(references, hypotheses, measure, collar=collar)
        except DataError as fault:
            raise DataError(f"{path} against {ref}: {fault}") from None
    if json is not None:
        systems = {name: {"file": Path(hyps[name]).name, **_entry(rate)} for name, rate in rates.items()}
        about = {"measure": measure, "collar": collar if measure.startswith("tc") else None}
        about |= {"normalizer": normalizer.signature, "reference": Path(ref).name}
        files.write_json(json, {"schema": 1, **about, "systems": systems})
    return "\n".join([_table(rates, measure, collar), *(f"Read: {sentence}." for sentence in reading.sentences())])


def _normalized(turns: Sequence[Turn], normalizer: Normalizer) -> list[Turn]:
    if normalizer.signature == "none":
        return list(turns)
    texts = normalizer([" ".join(turn.words) for turn in turns])
    return [replace(turn, words=tuple(text.split())) for turn, text in zip(turns, texts, strict=True)]


def _entry(rate: MeetingRate) -> dict[str, Any]:
    sessions = {name: {**_counts(one), "assignment": list(one.assignment)} for name, one in rate.sessions.items()}
    return {"rate": rate.rate, **{name: rate.total(name) for name in _COUNTS}, "sessions": sessions}


def _counts(session: SessionRate) -> dict[str, Any]:
    rate = session.errors / session.words if session.words else None
    return {"rate": rate, **{name: getattr(session, name) for name in _COUNTS}}


def _table(rates: Mapping[str, MeetingRate], measure: str, collar: float) -> str:
    rows = [["system", f"{_NAMES[measure]} %", "errors", "words", "sub", "del", "ins"]]
    speakers = measure.endswith("cp")
    rows[0] += ["speakers missed", "too many"] * speakers
    for name, rate in rates.items():
        counts = ["errors", "words", "substitutions", "deletions", "insertions"]
        counts += ["missed_speakers", "extra_speakers"] * speakers
        rows.append([name, f"{100 * rate.rate:.2f}", *(str(rate.total(one)) for one in counts)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(size) for cell, size in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    sessions = len(next(iter(rates.values())).sessions)
    about = f", collar {collar:g} s" if measure.startswith("tc") else ""
    return "\n".join([*lines, "", f"{sessions} session{'s' * (sessions != 1)}{about}."])
