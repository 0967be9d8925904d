"""Sequence-level distillation: the teacher's transcripts of all that students are trained on, and batches of them.

Letters: B utterances, N hypotheses, U units of the longest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqkd.data.batches import Corpus, frames_needed
from seqkd.data.subsampling import subsampled_length
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError
from seqkd.losses import Hypotheses
from seqkd.stages import again
from seqkd.teachers.aligned import contents_of, student_directories
from seqkd.teachers.ctc_book import Plan
from seqkd.teachers.external.audio import SequenceTeacher, hash_among
from seqkd.teachers.external.transcripts import TeacherTranscripts, write_transcripts

log = logging.getLogger("seqkd")


def transcripts_directory(cfg: DictConfig) -> Path:
    """Where the teacher's transcripts are."""
    return Path(cfg.book.directory) / "transcripts"


def search_settings(cfg: DictConfig) -> dict[str, Any]:
    """What of the settings decides a transcript."""
    return {"beam": cfg.book.beam, "language": cfg.teacher.language}


def missing_transcripts(cfg: DictConfig, plan: Plan, tokenizer: Tokenizer, teacher: SequenceTeacher) -> int:
    """How many utterances have none; ConfigError if those there were made with other settings."""
    sets, directory = plan.sets(cfg, tokenizer), transcripts_directory(cfg)
    ids = sets.corpus.transcripts
    if not (directory / "manifest.json").is_file():
        return len(ids)
    there = TeacherTranscripts.open(directory)
    there.require(teacher=hash_among(teacher, {there.hash}), contents=sets.contents())
    if (there.n, there.settings) != (cfg.book.hypotheses, search_settings(cfg)):
        raise ConfigError(f"{directory} has transcripts of n {there.n} and {dict(there.settings)}, others are wanted")
    return sum(one not in there.entries for one in ids)


def make_transcripts(
    cfg: DictConfig, plan: Plan, tokenizer: Tokenizer, teacher: SequenceTeacher, shard: int, shards: int
) -> None:
    """Write them, or this process' share."""
    sets, directory = plan.sets(cfg, tokenizer), transcripts_directory(cfg)
    made = write_transcripts(
        directory,
        teacher,
        sets.corpus.transcripts,
        lambda ids: sets.speech(ids, teacher.sample_rate),
        n=cfg.book.hypotheses,
        settings=search_settings(cfg),
        contents=sets.contents(),
        shard=shard,
        shards=shards,
    )
    print(f"{directory}: {made} utterances transcribed by {teacher.name}; {len(sets.corpus)} in all")


@dataclass
class TranscriptTargets:
    """The hypotheses of batches. ``kept`` are the utterances whose hypotheses agree enough to be learned from."""

    transcripts: TeacherTranscripts
    tokenizer: Tokenizer
    kept: frozenset[str]
    frames: Mapping[str, int]

    def __call__(self, ids: list[str], _: int) -> Hypotheses:
        """Those of an update; scores are -inf where there is none, or none that fits the utterance's frames."""
        found = self.transcripts.collate(ids, self.tokenizer)
        scores = found.scores.clone()
        for row, utterance in enumerate(ids):
            if utterance not in self.kept:
                scores[row] = -float("inf")
            for n, length in enumerate(found.lengths[row].tolist()):
                if frames_needed(found.hypotheses[row, n, :length].tolist()) > subsampled_length(
                    self.frames[utterance]
                ):
                    scores[row, n] = -float("inf")
        return Hypotheses(found.hypotheses, found.lengths, scores)


def learns_sequences(cfg: DictConfig) -> bool:
    """Whether the stage book wrote transcripts, since frames could not be taught or were not wanted."""
    return cfg.book.form == "sequence" or (transcripts_directory(cfg) / "manifest.json").is_file()


def open_transcripts(cfg: DictConfig, utterances: Sequence[str] = ()) -> TeacherTranscripts:
    """What the stage book wrote; ConfigError or DataError if it is not there or does not fit."""
    directory = transcripts_directory(cfg)
    if not (directory / "manifest.json").is_file():
        raise ConfigError(f"{directory}: no transcripts here; {again('book')}")
    contents = contents_of(student_directories(cfg)) if utterances else None
    return TeacherTranscripts.open(directory).require(utterances=utterances, contents=contents)


def transcripts_id(cfg: DictConfig) -> dict[str, Any]:
    """Of a run's description: whose transcripts, and how they were searched and chosen."""
    there = open_transcripts(cfg)
    return {"teacher": there.hash, "transcripts": {"n": there.n, **there.settings, "agreement": cfg.book.agreement}}


def targets_of(cfg: DictConfig, corpus: Corpus, tokenizer: Tokenizer) -> TranscriptTargets:
    """What gives the hypotheses of a run's batches; says how many utterances are left out."""
    transcripts = open_transcripts(cfg, list(corpus.transcripts))
    kept = frozenset(transcripts.keep(cfg.book.agreement, tokenizer))
    left = sum(one not in kept for one in corpus.transcripts)
    if left:
        log.warning("%d of %d utterances: hypotheses agree less than %g, and are not learned from",
                    left, len(corpus), cfg.book.agreement)  # fmt: skip
    return TranscriptTargets(transcripts, tokenizer, kept, corpus.store.frames)
