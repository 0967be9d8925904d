"""Hypotheses' ids made to fit the references': letters of another case, and utterances that have no reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from seqkd.errors import ConfigError
from seqkd.scoring.formats.reading import Reading
from seqkd.scoring.formats.transcripts import Transcripts

EXTRA = ("error", "drop")


def fit_ids(
    hypotheses: Transcripts, references: Iterable[str], reading: Reading, path: Path | str, *, extra: str = "error"
) -> Transcripts:
    """Return the hypotheses under the references' ids.

    Args:
        hypotheses: what a file holds.
        references: ids of the references.
        reading: a lenient one takes ids that differ in the case of letters for the same, where only one does.
        path: of the hypotheses.
        extra: what to do about hypotheses without a reference: ``error`` leaves them to the score, ``drop`` removes
            them; how many is noted.

    Raises:
        ConfigError: ``extra`` is none of these.
    """
    if extra not in EXTRA:
        raise ConfigError(f"extra is {extra!r}; expected one of {', '.join(EXTRA)}.")
    known = references if isinstance(references, (Mapping, set)) else set(references)
    if all(utterance in known for utterance in hypotheses.texts):
        return hypotheses
    names = {utterance: utterance for utterance in hypotheses.texts}
    if not reading.strict:
        folded: dict[str, list[str]] = {}
        for utterance in known:
            folded.setdefault(utterance.casefold(), []).append(utterance)
        for utterance in hypotheses.texts:
            alike = folded.get(utterance.casefold(), [])
            if utterance not in known and len(alike) == 1 and alike[0] not in hypotheses.texts:
                names[utterance] = alike[0]
        taken = list(names.values())
        if len(set(taken)) < len(taken):  # two of them are alike: which is meant cannot be decided
            names = {utterance: utterance for utterance in hypotheses.texts}
        elif changed := sum(one != other for one, other in names.items()):
            reading.note(path, "{} ids in other letters (upper, lower) than the references'", changed)
    if extra == "drop":
        kept = {utterance: name for utterance, name in names.items() if name in known}
        if dropped := len(names) - len(kept):
            reading.note(path, "{} hypotheses without a reference left out (extra: drop)", dropped)
        names = kept
    fields = ("texts", "speakers", "durations", "confidences", "nbest")
    return replace(
        hypotheses,
        **{
            field: {names[key]: value for key, value in getattr(hypotheses, field).items() if key in names}
            for field in fields
        },
    )
