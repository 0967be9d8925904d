"""Score files of one or several systems: read them, compare them, and write the table, score.json and the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqkd import files
from seqkd.errors import ConfigError, DataError
from seqkd.scoring import page, schema, show, tables
from seqkd.scoring.evaluation import Evaluation, Options
from seqkd.scoring.formats import Reading, Transcripts, read_hypotheses, read_nbest, read_references, read_table
from seqkd.scoring.formats.fit import fit_ids
from seqkd.scoring.normalize import Normalizer
from seqkd.scoring.pairs import compare_pairs
from seqkd.scoring.rates.beside import beside
from seqkd.scoring.rates.keywords import read_keywords, split_tags
from seqkd.scoring.wer import Utterances, score

PREFIX = "prefix"


def score_files(
    ref: Path | str,
    hyps: Mapping[str, Path | str],
    json: Path | str | None = None,
    html: Path | str | None = None,
    alignments: Path | str | None = None,
    *,
    options: Options = Options(),
    details: bool = False,
    brief: bool = False,
) -> str:
    """Score files and compare every pair of systems.

    Args:
        ref: references; see `seqkd.scoring.formats` for the formats.
        hyps: hypotheses by the name of the system, of any format.
        json: where to write the numbers, if anywhere.
        html: where to write a page with all of it, if anywhere.
        alignments: where to write every utterance in aligned columns, if anywhere.
        options: see `Options`.
        details: whether the table is to be followed by those of speakers, lengths and confusions.
        brief: whether a line a system, ``%WER ...``, is to be returned instead of the table.

    Returns:
        A table for the terminal.

    Raises:
        DataError: a file is malformed or ids do not match; the sentence names the file.
    """
    evaluation = evaluate(ref, hyps, options)
    if alignments is not None:
        with files.atomic_path(alignments) as temporary, temporary.open("w", encoding="utf-8") as out:
            for name, result in evaluation.scores.items():
                out.write(f"System {name}\n\n")
                out.writelines(f"{lines}\n\n" for lines in show.aligned_columns(result.utterances))
    if html is not None:
        page.write_page(html, evaluation)
    if json is not None:
        files.write_json(json, evaluation.json)
    if brief:
        return show.one_line(evaluation)
    return "\n".join([show.table(evaluation, details=details), *evaluation.notes])


def evaluate(ref: Path | str, hyps: Mapping[str, Path | str], options: Options = Options()) -> Evaluation:
    """Score files and compare every pair of systems; arguments and faults as in `score_files`."""
    if options.replicates < 1 or options.paired_replicates < 1:
        raise ConfigError("the bootstrap needs at least 1 replicate")
    if unknown := [name for name in options.formats if name not in ("", "ref", *hyps)]:
        raise ConfigError(f"--format {unknown[0]} is neither ref nor a system; known: {', '.join(['ref', *hyps])}")
    reading = Reading(options.reading == "strict", options.encoding)
    for_all = options.formats.get("")
    wanted, literal = options.formats.get("ref", for_all), options.markup == "none"
    references, segments = read_references(ref, reading, wanted=wanted, literal=literal)
    normalizer = Normalizer(options.normalize, options.glm, options.rules, reading)
    keywords = {name: read_keywords(path, reading) for name, path in options.keywords.items()}
    if options.tagged:
        references.texts, tagged = split_tags(references.texts)
        keywords |= {name: sorted(phrases) for name, phrases in tagged.items()}

    def derive(steps: str) -> Normalizer:
        steps = f"{options.normalize},{steps[1:]}" if steps.startswith("+") else steps
        return Normalizer(steps, options.glm, options.rules, Reading(options.reading == "strict", options.encoding))

    settings: dict[str, Any] = {
        "costs": options.costs,
        "normalizer": normalizer if normalizer.signature != "none" else None,
        "markup": references.markup if options.markup == "auto" else options.markup,
        "spaces": options.spaces,
        "tokenizer": _tokenizer(options.tokens) if options.tokens else None,
    }
    if options.baseline is not None and options.baseline not in hyps:
        raise ConfigError(f"--baseline {options.baseline} is none of the systems; known: {', '.join(hyps)}")
    speakers = _speakers(references, options.utt2spk, ref)
    durations = references.durations | _durations(options.utt2dur)
    groups = {name: _table(path, "group") for name, path in options.utt2group.items()}
    if unknown := [name for name in options.nbest if name not in hyps]:
        raise ConfigError(f"--nbest {unknown[0]} is none of the systems; known: {', '.join(hyps)}")
    scores, entries, read, further, unsure = {}, {}, [], {}, []
    for name, path in hyps.items():
        try:
            hypotheses = read_hypotheses(
                path, segments, reading, references=references.kind, wanted=options.formats.get(name, for_all),
                literal=literal, extra=options.extra,
            )  # fmt: skip
            hypotheses = fit_ids(hypotheses, references.texts, reading, path, extra=options.extra)
            by_system = {
                "missing": options.missing,
                "hypothesis_markup": hypotheses.markup if options.markup == "auto" else options.markup,
                "fragments": options.fragments,
            }
            result = score(
                references.texts,
                hypotheses.texts,
                blocks=speakers or None,
                replicates=options.replicates,
                seed=options.seed,
                **by_system,
                **settings,
            )
            without = {key: value for key, value in settings.items() if key not in ("tokenizer", "normalizer")}
            further[name] = beside(
                references.texts, hypotheses.texts, result.utterances, normalizer=normalizer, derive=derive,
                mixed=options.mixed, formatted=options.formatted, keywords=keywords, **by_system, **without,
            )  # fmt: skip
            scores[name] = result
            read.append(hypotheses)
            entries[name] = {
                "file": Path(path).name,
                "format": hypotheses.kind,
                **result.to_json(),
                "beside": further[name].to_json(),
                **_breakdown(result.utterances, speakers, groups, durations, options),
            }
            if hypotheses.confidences:
                calibration, left_out = _calibration(result.utterances, hypotheses, normalizer)
                if calibration is not None:
                    entries[name]["calibration"] = calibration
                if left_out:
                    unsure.append(
                        f"{name}: {left_out} of {len(result.utterances.ids)} utterances are left out of the "
                        "calibration; not every scored word of theirs has a confidence of its own."
                    )
            own = name not in options.nbest
            lists = hypotheses.nbest if own else read_nbest(options.nbest[name], reading)
            if lists:
                ids = result.utterances.ids
                inside = {key: value for key, value in (settings | by_system).items() if key != "tokenizer"}
                lists = tables.complete(lists, hypotheses.texts, ids, partly=own)
                entries[name]["oracle"] = tables.oracle(references.texts, lists, ids, **inside)
        except DataError as fault:
            known = (str(path), str(ref), str(options.nbest.get(name)), *map(str, options.utt2group.values()))
            named = str(fault).startswith(known)
            raise fault if named else DataError(f"{path} against {ref}: {fault}") from None
    pairs = compare_pairs(
        scores,
        blocks=speakers or None,
        baseline=options.baseline,
        replicates=options.paired_replicates,
        seed=options.seed,
    )
    about = next(iter(scores.values())).options
    about = {
        **about,
        "signature": schema.signature(about),
        "paired_replicates": options.paired_replicates,
        "confusions": options.confusions,
        "baseline": options.baseline,
        "reference": Path(ref).name,
        "reference_format": references.kind,
        "reading": options.reading,
        "extra": options.extra,
        "notes": reading.sentences(),
        "references": len(references.texts),
    }
    formats = {Path(ref).name: references, **dict(zip([Path(path).name for path in hyps.values()], read, strict=True))}
    notes = [
        *(f"{name}: {line}." for name, one in further.items() for line in one.lines()),
        *unsure,
        "Formats: " + "; ".join(f"{name} {one.kind} ({one.found})" for name, one in formats.items()) + ".",
        *(f"Read ({options.reading}): {sentence}." for sentence in reading.sentences()),
    ]
    return Evaluation(scores, pairs, schema.to_json(about, entries, pairs), durations, speakers, notes, further)


def _breakdown(
    utterances: Utterances,
    speakers: Mapping[str, str],
    groups: Mapping[str, Mapping[str, str]],
    durations: Mapping[str, float],
    options: Options,
) -> dict[str, Any]:
    resampling = {"replicates": options.replicates, "seed": options.seed}
    entry: dict[str, Any] = {}
    if speakers:
        entry["per_speaker"] = tables.by_group(utterances, speakers, **resampling)
    if groups:
        entry["per_group"] = {name: tables.by_group(utterances, group, **resampling) for name, group in groups.items()}
    entry["by_length"] = tables.by_length(utterances)
    if durations:
        entry["by_duration"] = tables.by_duration(utterances, durations)
    entry["confusions"] = tables.confusions(utterances.alignments, options.confusions)
    return entry


def _calibration(
    utterances: Utterances, hypotheses: Transcripts, normalizer: Normalizer
) -> tuple[dict[str, Any] | None, int]:
    """Calibration of the words' confidences, None where no word has one, and how many utterances were left out."""
    confidences = tables.scored_confidences(utterances, hypotheses.texts, hypotheses.confidences, normalizer)
    calibration, left_out = tables.calibrate(utterances, confidences)
    if not calibration.count:
        return None, left_out
    return {**calibration.summary().to_json(), "left_out": left_out, "diagram": calibration.diagram()}, left_out


def _speakers(references: Transcripts, path: Path | str | None, ref: Path | str) -> dict[str, str]:
    """Return the speaker of every reference by utterance; nothing unless all are known."""
    if path is None:
        speakers = references.speakers
        return speakers if len(speakers) == len(references.texts) else {}
    if str(path) == PREFIX:
        found = {utterance: _before_separator(utterance) for utterance in references.texts}
        if lacking := [utterance for utterance, speaker in found.items() if speaker is None]:
            raise DataError(f"{ref}: utterance {lacking[0]} holds neither - nor _, before which its speaker would be.")
        return found
    speakers = _table(path, "speaker")
    if lacking := [utterance for utterance in references.texts if utterance not in speakers]:
        raise DataError(f"{path} has no speaker for utterance {lacking[0]} of {ref}.")
    return speakers


def _before_separator(utterance: str) -> str | None:
    ends = [at for at in (utterance.find("-"), utterance.find("_")) if at > 0]
    return utterance[: min(ends)] if ends else None


def _table(path: Path | str, what: str) -> dict[str, str]:
    return read_table(path, expected=f"an utterance id and its {what}")


def _durations(path: Path | str | None) -> dict[str, float]:
    durations = {}
    for utterance, text in _table(path, "duration in seconds").items() if path else ():
        try:
            durations[utterance] = float(text)
        except ValueError:
            durations[utterance] = -1.0
        if not 0 <= durations[utterance] < float("inf"):
            raise DataError(f"{path}: the duration of utterance {utterance} is {text!r}; expected seconds.")
    return durations


def _tokenizer(path: Path) -> Callable[[str], Sequence[int]]:
    try:
        import sentencepiece
    except ImportError:
        raise ConfigError("--tokens needs sentencepiece, which is not installed: pip install sentencepiece") from None
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file.")
    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError):
        raise DataError(f"{path} is not a sentencepiece model.") from None
    return model.encode
