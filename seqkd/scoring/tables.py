"""Score files of one or several systems: a table for the terminal, and score.json."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from seqkd import files
from seqkd.errors import DataError
from seqkd.scoring.bootstrap import PairedResult, holm, paired_bootstrap
from seqkd.scoring.formats import read_transcripts
from seqkd.scoring.wer import Score, score

SCHEMA = 1


def score_files(
    ref: Path,
    hyps: Mapping[str, Path],
    json: Path | None = None,
    *,
    missing: str = "error",
    replicates: int = 1000,
    seed: int = 0,
) -> str:
    """Score files and compare every pair of systems.

    Args:
        ref: references, Kaldi ``text`` or ``*.trn``.
        hyps: hypotheses by the name of the system, either format.
        json: where to write the numbers, if anywhere.
        missing: references without a hypothesis: ``error``, ``all`` or ``present`` (see `score`).
        replicates: bootstrap replicates of the intervals.
        seed: of all resampling.

    Returns:
        A table for the terminal.

    Raises:
        DataError: a file is malformed or ids do not match; the sentence names the file.
    """
    references = read_transcripts(ref)
    scores = {}
    for name, path in hyps.items():
        try:
            scores[name] = score(references, read_transcripts(path), missing=missing, replicates=replicates, seed=seed)
        except DataError as fault:
            raise fault if str(path) in str(fault) else DataError(f"{path} against {ref}: {fault}") from None
    pairs = compare_pairs(scores, seed=seed)
    if json is not None:
        options = {"missing": missing, "unicode": "NFC", "replicates": replicates, "seed": seed}
        files.write_json(json, to_json(scores, pairs, options))
    return _table(scores, pairs, replicates, seed)


def compare_pairs(scores: Mapping[str, Score], *, seed: int = 0) -> dict[tuple[str, str], PairedResult]:
    """Compare the word errors of every pair of systems that were scored on the same utterances."""
    pairs = {}
    for a, b in combinations(scores, 2):
        one, other = scores[a].utterances, scores[b].utterances
        if one.ids != other.ids:
            raise DataError(
                f"{a} and {b} were scored on different utterances and cannot be compared; use missing: all."
            )
        pairs[a, b] = paired_bootstrap(one.words.errors, other.words.errors, one.words.length, seed=seed)
    return pairs


def to_json(
    scores: Mapping[str, Score], pairs: Mapping[tuple[str, str], PairedResult], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of score.json (schema 1); every rate and difference is a fraction."""
    return {
        "schema": SCHEMA,
        "options": dict(options),
        "systems": {name: result.to_json() for name, result in scores.items()},
        "pairs": [
            {"a": a, "b": b, "delta": pair.delta, "ci95": list(pair.ci95), "p_bootstrap": pair.p_value}
            for (a, b), pair in pairs.items()
        ],
    }


def _table(
    scores: Mapping[str, Score],
    pairs: Mapping[tuple[str, str], PairedResult],
    replicates: int,
    seed: int,
) -> str:
    rows = [["system", "WER %", "95 % interval", "sub", "del", "ins", "words", "CER %", "SER %"]]
    for name, result in scores.items():
        wer = result.wer
        rows.append(
            [
                name,
                f"{100 * wer.rate:.2f}",
                f"{100 * wer.ci95[0]:.2f} – {100 * wer.ci95[1]:.2f}",
                *map(str, (wer.substitutions, wer.deletions, wer.insertions, wer.words)),
                f"{100 * result.cer.rate:.2f}",
                f"{100 * result.ser.rate:.2f}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    lines += ["", f"Intervals: bootstrap over utterances, {replicates} replicates, seed {seed}."]
    for name, result in scores.items():
        if missing := result.utterances.missing:
            fate = "scored as empty" if missing[0] in result.utterances.ids else "left out"
            lines.append(f"{name}: references without a hypothesis, {fate}: {len(missing)}.")
    survives = holm([pair.p_value for pair in pairs.values()])
    for ((a, b), pair), significant in zip(pairs.items(), survives, strict=True):
        low, high = (100 * end for end in pair.ci95)
        lines.append(
            f"{a} − {b}: {100 * pair.delta:+.2f} points ({low:+.2f} to {high:+.2f}), "
            f"p = {pair.p_value:.4f}{' *' if significant and len(pairs) > 1 else ''}"
        )
    if len(pairs) > 1:
        lines.append(
            f"p by paired bootstrap, uncorrected for {len(pairs)} comparisons; "
            "* marks those below .05 after Holm's correction."
        )
    return "\n".join(lines)
