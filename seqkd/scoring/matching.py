"""Which hypothesis belongs to which reference: by id, or in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seqkd.errors import DataError

TextsById = Mapping[str, str] | Sequence[str]


def match(
    references: TextsById, hypotheses: TextsById, missing: str
) -> tuple[list[str], list[str], list[str], list[str]]:
    """Pair references with hypotheses; returns ids, both sides, and the ids of references without a hypothesis.

    Raises:
        DataError: ids do not match; ``missing`` decides whether references may lack a hypothesis.
    """
    if not isinstance(references, Mapping) and not isinstance(hypotheses, Mapping):
        if len(references) != len(hypotheses):
            raise DataError(
                f"There are {len(references)} references and {len(hypotheses)} hypotheses; expected as many."
            )
        if not references:
            raise DataError("There are no references to score against.")
        return [*map(str, range(1, len(references) + 1))], list(references), list(hypotheses), []
    if not isinstance(references, Mapping) or not isinstance(hypotheses, Mapping):
        raise DataError("References and hypotheses must both be by utterance id, or both lists.")
    if not references:
        raise DataError("There are no references to score against.")
    if any(not utterance.strip() for texts in (references, hypotheses) for utterance in texts):
        raise DataError("An utterance id is empty.")
    if extra := [utterance for utterance in hypotheses if utterance not in references]:
        raise DataError(f"{_some(extra)} without a reference.")
    absent = [utterance for utterance in references if utterance not in hypotheses]
    if absent and missing == "error":
        raise DataError(
            f"{_some(absent)} without a hypothesis; decode them, score them as empty (missing: all) "
            "or leave them out (missing: present)."
        )
    ids = [utterance for utterance in references if utterance in hypotheses or missing == "all"]
    return ids, [references[u] for u in ids], [hypotheses.get(u, "") for u in ids], absent


def _some(ids: Sequence[str], shown: int = 3) -> str:
    """Name the first few ids: ``2 utterances (a, b) are``."""
    listed = ", ".join(ids[:shown]) + (", ..." if len(ids) > shown else "")
    return f"{len(ids)} utterance{'s' * (len(ids) > 1)} ({listed}) {'are' if len(ids) > 1 else 'is'}"
