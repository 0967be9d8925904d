"""Stage 5: what the teachers of a recipe know, written down for its students: frame by frame, or as transcripts."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig

from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError
from seqkd.layout import put_aside
from seqkd.teachers.aligned import AlignedTeacher, aligned_teachers, transcriber
from seqkd.teachers.ctc_book import FRAMES, Plan, book_directory, make_book, missing_entries, plans
from seqkd.teachers.external.audio import SequenceTeacher
from seqkd.teachers.external.vocabulary import CannotMap
from seqkd.teachers.transcript_targets import make_transcripts, missing_transcripts, transcripts_directory

FORMS = (*FRAMES, "sequence", "live")

log = logging.getLogger("seqkd")


def entries_to_make(cfg: DictConfig, systems: Sequence[DictConfig]) -> int:
    """How many entries or transcripts are still to be written for the students of ``systems`` (settings).

    What was made with other settings, which may have taken long, is moved aside.
    """
    wanted, tokenizer = plans(systems), Tokenizer.load(Path(cfg.tokens.directory))
    if not wanted:
        return 0
    teaching = teachers_of(cfg, tokenizer)
    if isinstance(teaching, SequenceTeacher):
        for kind in (("student", False), ("student", True), ("clean", False)):
            _aside(book_directory(cfg, *kind))
        for plan in wanted:
            _aside(plan.directory(cfg))
        return _fresh(lambda: missing_transcripts(cfg, widest(wanted), tokenizer, teaching), transcripts_directory(cfg))
    _aside(transcripts_directory(cfg))
    return sum(
        _fresh(lambda plan=plan: missing_entries(cfg, plan, tokenizer, teaching), plan.directory(cfg))
        for plan in wanted
    )


def make(cfg: DictConfig, systems: Sequence[DictConfig], shard: int = 0, shards: int = 1) -> None:
    """Write all of it, or this process' share."""
    wanted, tokenizer = plans(systems), Tokenizer.load(Path(cfg.tokens.directory))
    if not wanted:
        return
    if shards > 1 and "SLURM_JOB_ID" not in os.environ:  # the shards share this machine's cores
        torch.set_num_threads(1)
    teaching = teachers_of(cfg, tokenizer)
    if isinstance(teaching, SequenceTeacher):
        make_transcripts(cfg, widest(wanted), tokenizer, teaching, shard, shards)
        return
    for plan in wanted:
        make_book(cfg, plan, tokenizer, teaching, shard, shards)


def teachers_of(cfg: DictConfig, tokenizer: Tokenizer) -> list[AlignedTeacher] | SequenceTeacher:
    """The teachers of the settings; one that writes, if frames cannot be taught or book=sequence asks for it."""
    if cfg.book.form not in FORMS:
        raise ConfigError(f"book.form is {cfg.book.form!r}; expected one of {', '.join(FORMS)}")
    if cfg.book.form == "sequence":
        return transcriber(cfg, tokenizer)
    try:
        return aligned_teachers(cfg, tokenizer)
    except CannotMap as reason:
        log.warning("%s; its transcripts are written down instead, and systems with a teacher learn from them", reason)
        return transcriber(cfg, tokenizer)


def widest(wanted: Sequence[Plan]) -> Plan:
    """One plan for all the audio that is needed."""
    return Plan("clean", None, any(plan.unlabelled for plan in wanted))


def _fresh(count: Callable[[], int], directory: Path) -> int:
    """What ``count()`` says is missing, after moving aside what was made with other settings."""
    try:
        return count()
    except ConfigError as different:
        _aside(directory, f"{different}: ")
        return count()


def _aside(directory: Path, why: str = "") -> None:
    """Move a book or transcripts aside, if there are any, and say so."""
    if directory.exists():
        log.info("%s%s is kept as %s ('seqkd clean' removes such)", why, directory, put_aside(directory))
