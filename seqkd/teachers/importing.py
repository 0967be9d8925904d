"""Teachers that are not trained in the recipe, in its experiment directory: measured and decoded like a run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from seqkd.data.features import finished_features
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.confidence import token_confidences, word_confidences
from seqkd.decoding.greedy import greedy_decode
from seqkd.decoding.run import DecodedSpeech, write_decoded
from seqkd.files import write_json
from seqkd.layout import is_done, plain, run_directory, working_in
from seqkd.progress import ProgressBar
from seqkd.teachers.aligned import AlignedTeacher, ExternalTeacher, Sets
from seqkd.teachers.check import all_answers, measure, transcripts_wer
from seqkd.teachers.external.audio import SequenceTeacher, TeacherTranscript
from seqkd.teachers.external.sequence import fitted
from seqkd.teachers.making import teachers_of
from seqkd.teachers.own import weights_of
from seqkd.uptodate import is_current

log = logging.getLogger("seqkd")

LATER = ("weights", "rate_rule", "beam")  # what earlier versions did not state of results of imported teachers


def import_teacher(cfg: DictConfig) -> Path:
    """Measure ``teacher.import_from`` on dev and leave ``exp/teacher/seed0`` as training would, but for the model.

    Raises ConfigError or DataError for a teacher that is not there, damaged, or does not fit the students.
    """
    directory, tokenizer = run_directory(cfg, "teacher", 0), Tokenizer.load(Path(cfg.tokens.directory))
    teaching = teachers_of(cfg, tokenizer)
    description = {
        "system": "teacher",
        "imported": hashes(teaching),
        "weights": list(weights_of(cfg, hashes(teaching))),
        "tokenizer": tokenizer.hash,
        "features": plain(cfg.features),
        "data": {cfg.sets.dev: finished_features(Path(cfg.data) / cfg.sets.dev)["data"]},
        **read_by(cfg, teaching),
    }
    if any(is_done(directory, description | {"imported": one}, LATER) for one in known_hashes(teaching)):
        log.info("%s is done", directory)
        return directory
    sets = Sets.of(Path(cfg.data), [cfg.sets.dev], tokenizer)
    if isinstance(teaching, SequenceTeacher):
        wer, members = transcripts_wer(teaching, sets, tokenizer), [teaching]
    else:
        answers = list(all_answers(teaching, sets, weights_of(cfg, hashes(teaching))).values())[-1]
        wer, members = measure(answers, None, sets, tokenizer).wer, [one.teacher for one in teaching]
    with working_in(directory, description):
        row = {"step": 0, "seconds": 0.0, "dev_wer": wer, "lr": 0.0, "train": {}}
        write_json(directory / "history.json", {"rows": [row]})
        summary = {
            "system": "teacher",
            "seed": 0,
            "parameters": sum(getattr(one, "parameter_count", 0) for one in members),
            "steps": 0,
            "passes": 1,
            "train_seconds": 0.0,
            "device": "imported",
            "labelled_hours": 0.0,
            "unlabelled_hours": 0.0,
            "dropped": 0,
            "teacher_off_by_one": 0,
            "weights": "imported",
            "best_dev_wer": wer,
            "dev_wer": {"imported": wer},
        }
        write_json(directory / "summary.json", summary)
    print(f"{' and '.join(hashes(teaching))}: dev WER {100 * wer:.2f} %")
    return directory


def decode_imported(cfg: DictConfig, name: str) -> None:
    """What the imported teachers say of a test set, as ``decode_run`` writes it of a trained model."""
    run, tokenizer = run_directory(cfg, "teacher", 0), Tokenizer.load(Path(cfg.tokens.directory))
    teaching = teachers_of(cfg, tokenizer)
    made_by = {"imported": hashes(teaching), "features": finished_features(Path(cfg.data) / name)}
    made_by |= {"weights": list(weights_of(cfg, hashes(teaching))), **read_by(cfg, teaching)}
    output = run / f"decode_{name}"
    stamp, text = output / "decode.json", output / "text"
    if any(is_current(stamp, made_by | {"imported": one}, text, later=LATER) for one in known_hashes(teaching)):
        return
    sets = Sets.of(Path(cfg.data), [], tokenizer, [name])
    if isinstance(teaching, SequenceTeacher):
        found = written(teaching, sets, tokenizer)
    else:
        answers = list(all_answers(teaching, sets, weights_of(cfg, hashes(teaching))).values())[-1]
        found = {utterance: spoken(log_probs, tokenizer) for utterance, log_probs in answers.items()}
    write_decoded(run / f"decode_{name}", found, made_by)


def spoken(log_probs: Tensor, tokenizer: Tokenizer) -> DecodedSpeech:
    """Greedy decoding of a teacher's answer (T', C)."""
    tokens = greedy_decode(log_probs[None], torch.tensor([len(log_probs)]))[0]
    sure = token_confidences(log_probs, tokens, blank=tokenizer.blank)
    return DecodedSpeech(tokenizer.decode(tokens), word_confidences(tokens, sure, tokenizer.decode))


def written(teacher: SequenceTeacher, sets: Sets, tokenizer: Tokenizer) -> dict[str, DecodedSpeech]:
    """The best transcripts, in the student's spelling; with confidences, where the teacher gives its words any."""
    ids = list(sets.corpus.transcripts)
    speech = ProgressBar(sets.speech(ids, teacher.sample_rate), total=len(ids), desc=teacher.name, unit="utt")
    best = {one.id: teacher.transcribe([one], 1)[0] for one in speech}
    return {u: in_spelling(found[0], tokenizer) if found else DecodedSpeech("", []) for u, found in best.items()}


def in_spelling(found: TeacherTranscript, tokenizer: Tokenizer) -> DecodedSpeech:
    """A transcript as the student spells; a word that becomes two, "check-in", gives both its confidence."""
    text = fitted(found.text, tokenizer)
    sure = [word.confidence for word in found.words for _ in fitted(word.text, tokenizer).split()]
    return DecodedSpeech(text, sure if len(sure) == len(text.split()) else [])


def read_by(cfg: DictConfig, teaching: list[AlignedTeacher] | SequenceTeacher) -> dict[str, Any]:
    """The settings by which teachers from elsewhere are read, for what says how their results were made."""
    if isinstance(teaching, SequenceTeacher):
        return {"beam": cfg.book.beam}
    return {"rate_rule": cfg.teacher.rate_rule} if any(isinstance(one, ExternalTeacher) for one in teaching) else {}


def known_hashes(teaching: list[AlignedTeacher] | SequenceTeacher) -> list[dict[str, str]]:
    """The hashes of all teachers, and those by which earlier versions knew them."""
    members = [teaching] if isinstance(teaching, SequenceTeacher) else teaching
    earlier = {one.name: getattr(one, "earlier_hash", None) or one.hash for one in members}
    return [hashes(teaching), earlier]


def hashes(teaching: list[AlignedTeacher] | SequenceTeacher) -> dict[str, str]:
    """Of all teachers, by name."""
    return {one.name: one.hash for one in ([teaching] if isinstance(teaching, SequenceTeacher) else teaching)}
