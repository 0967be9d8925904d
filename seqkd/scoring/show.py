"""A score as text: tables for the terminal, and utterances in aligned columns."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from seqkd.scoring import intervals
from seqkd.scoring.tables import pairs as aligned_pairs
from seqkd.scoring.words import DELETION, INSERTION, LEFT_OUT, MATCH, SUBSTITUTION
from seqkd.statistics.few import LEAST
from seqkd.statistics.mapsswe import FEW

if TYPE_CHECKING:
    from seqkd.scoring.evaluation import Evaluation
    from seqkd.scoring.wer import Utterances
    from seqkd.statistics.bootstrap import PairedResult

LETTERS = {MATCH: "", SUBSTITUTION: "S", DELETION: "D", INSERTION: "I", LEFT_OUT: "O"}
_SHOWN = 10  # rows of each detailed table
_PAIRS = 15  # of systems; of more only those with the best system are shown


def table(evaluation: Evaluation, *, details: bool = False) -> str:
    """Return a comparison of systems as the table that ``seqkd score`` prints."""
    systems, options = evaluation.json["systems"], evaluation.json["options"]
    rows = [["system", "WER %", "95 % interval", "sub", "del", "ins", "words", "CER %", "SER %"]]
    more = [
        (name, title, value)
        for name, title, value in (
            ("ter", "TER %", lambda system: _percent(system["ter"]["rate"])),
            ("oracle", "oracle %", lambda system: _percent(system["oracle"]["rate"])),
            ("calibration", "ECE %", lambda system: _percent(system["calibration"]["ece"])),
        )
        if any(name in system for system in systems.values())
    ]
    rows[0] += [title for _, title, _ in more]
    for name, system in systems.items():
        wer = system["wer"]
        rows.append(
            [
                name,
                _percent(wer["rate"]),
                _interval(wer["ci95"]),
                *(str(wer[kind]) for kind in ("substitutions", "deletions", "insertions", "words")),
                _percent(system["cer"]["rate"]),
                _percent(system["ser"]["rate"]),
                *(value(system) if key in system else "–" for key, _, value in more),
            ]
        )
    lines = _columns(rows)
    drawn = options["replicates"], options["seed"]
    methods = intervals.sentence(_methods(systems, "wer"), "utterances", *drawn)
    lines += ["", *([f"Intervals: {methods}."] if methods else [])]
    if any(system["wer"]["ci95"] is None for system in systems.values()):
        lines.append(f"Fewer than {LEAST} utterances are too few for an interval.")
    for name, system in systems.items():
        if "wer_ci95_speakers" in system:
            speakers = f"{len(system['per_speaker'])} speakers"
            how = intervals.sentence({name: system["intervals"]["speakers"]}, speakers, *drawn)
            lines.append(f"{name}, {how}: {_interval(system['wer_ci95_speakers'])}.")
    speakers = {len(system["per_speaker"]) for system in systems.values() if "per_speaker" in system}
    if speakers and max(speakers) < LEAST:
        lines.append(f"No interval over speakers: {max(speakers)} are too few, {LEAST} are needed.")
    lines.append(_missing(systems, options["missing"]))
    lines += _pair_lines(evaluation)
    lines.append(f"Signature: {options['signature']}")
    if details:
        for name, system in systems.items():
            lines += _details(name, system)
    return "\n".join(lines)


def one_line(evaluation: Evaluation) -> str:
    """Return a line a system as Kaldi's ``compute-wer`` writes it; its name follows where there are several.

    ``%WER 12.34 [ 56 / 454, 10 ins, 20 del, 26 sub ]``
    """
    lines = []
    for name, system in evaluation.json["systems"].items():
        wer = system["wer"]
        lines.append(
            f"%WER {100 * wer['rate']:.2f} [ {wer['errors']} / {wer['words']}, {wer['insertions']} ins, "
            f"{wer['deletions']} del, {wer['substitutions']} sub ]" + f" {name}" * (len(evaluation.scores) > 1)
        )
    return "\n".join(lines)


def _methods(systems: dict[str, Any], of: str) -> dict[str, str | None]:
    return {name: system["intervals"].get(of) for name, system in systems.items()}


def _missing(systems: dict[str, Any], policy: str) -> str:
    counts = ", ".join(f"{name} {system['missing']}" for name, system in systems.items())
    fate = {"error": "an error", "all": "scored as empty", "present": "left out"}[policy]
    return f"References without a hypothesis ({fate}, missing: {policy}): {counts}."


def _pair_lines(evaluation: Evaluation) -> list[str]:
    lines = []
    several = len(evaluation.pairs) > 1
    shown, systems = evaluation.pairs, evaluation.json["systems"]
    if len(shown) > _PAIRS and not evaluation.json["options"].get("baseline"):
        best = min(systems, key=lambda name: systems[name]["wer"]["rate"])
        shown = [pair for pair in shown if best in (pair.a, pair.b)]
        lines.append(
            f"{len(shown)} of {len(evaluation.pairs)} pairs are shown, those with {best}, the best; --json and --html "
            "hold all of them, --baseline NAME compares with one system alone."
        )
    for pair in shown:
        ends = "no interval"
        if pair.bootstrap.ci95 is not None:
            ends = "{:+.2f} to {:+.2f}".format(*(100 * end for end in pair.bootstrap.ci95))
        stars = [" *" if several and survives else "" for survives in (pair.survives_bootstrap, pair.survives_mapsswe)]
        line = (
            f"{pair.a} − {pair.b}: {100 * pair.bootstrap.delta:+.2f} points ({ends}), "
            f"{_p(pair.bootstrap.p_value)}{stars[0]} ({_test(pair.bootstrap)}), {_p(pair.mapsswe.p_value)}{stars[1]} "
            f"(MAPSSWE, Z = {pair.mapsswe.z:.3f}, {pair.mapsswe.segments} segments)"
        )
        if pair.speakers is not None:
            line += f", {_p(pair.speakers.p_value)} ({_test(pair.speakers)} over speakers)"
        lines.append(line)
        if 0 < pair.mapsswe.segments < FEW:
            lines.append(
                f"  MAPSSWE assumes a normal distribution, for which {pair.mapsswe.segments} segments are few."
            )
    if several:
        lines.append(
            f"p-values are two-sided and uncorrected for {len(evaluation.pairs)} comparisons; "
            "* marks those below .05 after Holm's correction."
        )
    return lines


def _details(name: str, system: dict[str, Any]) -> Iterator[str]:
    def rows(title: str, entries: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[str]:
        yield f"\n{name}: {title}"
        header = ["", "utterances", "words", "WER %", "sub", "del", "ins", "SER %"]
        yield from _columns(
            [
                header,
                *(
                    [
                        label, str(row["sentences"]), str(row["words"]), _percent(row["rate"]),
                        *(str(row[kind]) for kind in ("substitutions", "deletions", "insertions")),
                        _percent(row["wrong_sentences"] / row["sentences"]),
                    ]
                    for label, row in entries
                ),
            ]
        )  # fmt: skip

    if "per_speaker" in system:
        yield from rows("by speaker", list(system["per_speaker"].items()))
    for kind, groups in system.get("per_group", {}).items():
        yield from rows(f"by {kind}", list(groups.items()))
    yield from rows("by reference words", [(row["range"], row) for row in system["by_length"]])
    if "by_duration" in system:
        yield from rows("by seconds", [(row["range"], row) for row in system["by_duration"]])
    for kind, entries in system["confusions"].items():
        if entries:
            yield f"\n{name}: most frequent {kind}"
            for entry in entries[:_SHOWN]:
                words = entry.get("word") or f"{entry['reference']} → {entry['hypothesis']}"
                yield f"{entry['count']:>7}  {words}"


def aligned_columns(utterances: Utterances) -> Iterator[str]:
    """Yield each utterance: its id and counts, and reference, hypothesis and operations below one another."""
    reference, hypothesis, ops = aligned_pairs(utterances.alignments)
    offsets = utterances.alignments.alignments.offsets
    words = [*utterances.alignments.vocabulary, "*"]  # -1, the last one, is where there is no word
    for index, utterance in enumerate(utterances.ids):
        inside = slice(offsets[index], offsets[index + 1])
        rows = zip(reference[inside].tolist(), hypothesis[inside].tolist(), ops[inside].tolist(), strict=True)
        columns = [(words[one], words[other], LETTERS[op]) for one, other, op in rows]
        counts = utterances.words
        yield (
            f"{utterance}  (S {counts.substitutions[index]}, D {counts.deletions[index]}, "
            f"I {counts.insertions[index]} of {counts.length[index]} words)\n{align_text(columns)}"
        )


def align_text(columns: Sequence[tuple[str, str, str]]) -> str:
    """Return three lines: reference, hypothesis, operations, each column as wide as its widest word.

    Words of a right-to-left script are isolated, so that columns stay in the order of the utterance.
    """
    widths = [max(width(cell) for cell in column) for column in columns]
    lines = []
    for row, label in enumerate(("REF", "HYP", "   ")):
        cells = [
            _isolated(column[row]) + " " * (size - width(column[row]))
            for column, size in zip(columns, widths, strict=True)
        ]
        lines.append(f"{label}  {' '.join(cells)}".rstrip())
    return "\n".join(lines)


def width(text: str) -> int:
    """Columns a text takes in a terminal: none for marks, two for wide characters."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(char) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def _isolated(text: str) -> str:
    if not text.isascii() and any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in text):
        return f"\u2068{text}\u2069"
    return text


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0] + " " * (widths[0] - width(row[0])), *(
                " " * (size - width(cell)) + cell for cell, size in zip(row[1:], widths[1:], strict=True)
            )]
        )
        for row in rows
    ]  # fmt: skip
    lines.insert(1, "-" * max(map(width, lines)))
    return lines


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.2f}"


def _interval(ends: Sequence[float] | None) -> str:
    return "too few" if ends is None else f"{100 * ends[0]:.2f} – {100 * ends[1]:.2f}"


def _test(result: PairedResult) -> str:
    """Name the test whose p-value it is: too few units are not drawn from, but swapped in every way."""
    return "bootstrap" if result.units >= LEAST else "exact sign-flip test"


def _p(value: float) -> str:
    return "p < .0001" if value < 1e-4 else f"p = {value:.4f}"
