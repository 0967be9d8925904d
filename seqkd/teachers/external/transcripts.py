"""Transcripts of a teacher on disk: written once, by any number of processes, read as targets of the student.

``manifest.json`` says whose they are; ``00000.jsonl`` and so on, one file a process, have a line an utterance: its id,
its N best hypotheses, how far they agree, and a digest of the line. Lines are appended and synced in batches; a last
line that breaks off was never written.

Letters: B utterances, N hypotheses, U labels of the longest hypothesis.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.files import lock, write_json
from seqkd.knowledge.segments import check_contents
from seqkd.stages import again
from seqkd.teachers.external.agreement import agreement
from seqkd.teachers.external.audio import SequenceTeacher, Speech, TeacherTranscript, hash_among
from seqkd.teachers.external.sequence import distinct, fitted
from seqkd.teachers.external.transcript_lines import (
    VERSION,
    TranscriptEntry,
    append,
    cut_off_unfinished,
    line_of,
    read_lines,
    read_manifest,
)


@dataclass(frozen=True)
class NBestList:
    """Targets for :func:`seqkd.losses.nbest_ctc_loss`.

    Attributes:
        hypotheses: (B, N, U) units of the student, padded with 0.
        lengths: (B, N).
        scores: (B, N) log-probabilities; -inf where an utterance has fewer than N hypotheses.
        left_out: hypotheses with characters that the student has no unit for, or with nothing in them.
    """

    hypotheses: Tensor
    lengths: Tensor
    scores: Tensor
    left_out: int


@dataclass(frozen=True)
class TeacherTranscripts:
    """What `write_transcripts` wrote, by utterance id."""

    directory: Path
    teacher: str
    hash: str
    n: int
    settings: Mapping[str, Any]
    entries: Mapping[str, TranscriptEntry]

    @classmethod
    def open(cls, directory: Path | str) -> TeacherTranscripts:
        """Read a directory.

        Raises:
            DataError: no transcripts there, or a line that is damaged (it is named).
        """
        directory = Path(directory)
        manifest = read_manifest(directory)
        entries: dict[str, TranscriptEntry] = {}
        for path in sorted(directory.glob("*.jsonl")):
            entries |= read_lines(path)
        name, teacher_hash = manifest["teacher"]["name"], manifest["teacher"]["hash"]
        return cls(directory, name, teacher_hash, manifest["n"], manifest["settings"], entries)

    def require(
        self,
        *,
        teacher: str | None = None,
        utterances: Iterable[str] | None = None,
        contents: Mapping[str, str] | None = None,
    ) -> TeacherTranscripts:
        """Return itself if it is of the teacher with this hash and has these utterances.

        ``contents`` has hashes of the audio as it is now, by utterance, as in `write_transcripts`.

        Raises:
            ConfigError: another teacher (both are named), or audio that has changed since.
            DataError: utterances that are missing.
        """
        if teacher is not None and teacher != self.hash:
            raise ConfigError(
                f"{self.directory} has transcripts of {self.teacher} ({self.hash}) and the teacher is {teacher}; "
                "make them again, or name the teacher that wrote them"
            )
        known = ((name, entry.content) for name, entry in self.entries.items())
        check_contents(str(self.directory), known, contents or {})
        missing = [one for one in utterances or () if one not in self.entries]
        if missing:
            raise DataError(
                f"{self.directory} has no transcripts of {len(missing)} utterances, such as {missing[0]!r}; to make "
                f"what is missing {again('book')}"
            )
        return self

    def of(self, utterance: str) -> list[TeacherTranscript]:
        """The hypotheses of an utterance, best first."""
        return list(self.require(utterances=[utterance]).entries[utterance].hypotheses)

    def agreement(self, utterance: str) -> float:
        """How far the hypotheses of an utterance agree, see :func:`seqkd.teachers.external.agreement.agreement`."""
        return self.require(utterances=[utterance]).entries[utterance].agreement

    def keep(self, threshold: float, student: Tokenizer | None = None) -> list[str]:
        """Utterances whose hypotheses agree at least to ``threshold``, from 0 (all) to 1.

        In the spelling of ``student``, if it is given: what differs in case and punctuation alone, as Whisper's
        hypotheses often do, is the same to a student that writes neither.
        """
        if not 0 <= threshold <= 1:
            raise ConfigError(f"the least agreement is {threshold}; expected a number from 0 to 1")

        def agreed(entry: TranscriptEntry) -> float:
            if student is None:
                return entry.agreement
            return agreement([fitted(one.text, student) for one in entry.hypotheses])

        return sorted(name for name, entry in self.entries.items() if threshold == 0 or agreed(entry) >= threshold)

    def collate(self, utterances: Sequence[str], student: Tokenizer) -> NBestList:
        """Hypotheses as units of the student, in its spelling (see :func:`seqkd.teachers.external.sequence.fitted`)."""
        rows: list[list[tuple[list[int], float]]] = []
        left_out = 0
        for name in utterances:
            spelt = distinct(TeacherTranscript(fitted(one.text, student), one.log_prob) for one in self.of(name))
            encoded = [(student.encode(one.text, unknown=True), one.log_prob) for one in spelt]
            rows.append([(units, score) for units, score in encoded if units and 1 not in units])
            left_out += len(encoded) - len(rows[-1])
        most = max([1, *map(len, rows)])
        longest = max([1, *(len(units) for row in rows for units, _ in row)])
        hypotheses = torch.zeros(len(rows), most, longest, dtype=torch.long)
        lengths = torch.zeros(len(rows), most, dtype=torch.long)
        scores = torch.full((len(rows), most), -torch.inf)
        for b, row in enumerate(rows):
            for n, (units, score) in enumerate(row):
                hypotheses[b, n, : len(units)] = torch.tensor(units)
                lengths[b, n], scores[b, n] = len(units), score
        return NBestList(hypotheses, lengths, scores, left_out)


def write_transcripts(
    directory: Path | str,
    teacher: SequenceTeacher,
    utterances: Iterable[str],
    speech_of: Callable[[list[str]], Iterable[Speech]],
    *,
    n: int,
    settings: Mapping[str, Any] | None = None,
    contents: Mapping[str, str] | None = None,
    shard: int = 0,
    shards: int = 1,
    batch: int = 16,
    label: str = "transcripts",
) -> int:
    """Write what this process's share still lacks, with progress and an estimate; return how many utterances.

    Args:
        directory: is made if it is not there; transcripts in it must be of the same teacher, n and settings.
        teacher: writes them.
        utterances: ids of the whole set, the same in every process.
        speech_of: given the ids that are missing, yields the speech of each in that order, such as
            ``lambda ids: read_speech("data/train", ids, teacher.sample_rate)``.
        n: at most so many hypotheses an utterance.
        settings: of the teacher's search, as JSON can hold them.
        contents: hashes of the audio, by utterance. They are kept, so that a transcript is not taken for that of
            audio that has changed since.
        shard: this process, from 0.
        shards: how many processes there are; another number may carry on.
        batch: utterances between two writes: what a ``kill -9`` may cost.
        label: of the progress bar.

    Raises:
        ConfigError: n or a shard that cannot be, transcripts of another teacher, n or settings, or audio that has
            changed since.
        DataError: speech that was not asked for or is missing, a log-probability that is none, a damaged line, or a
            system that refuses to write.
        SeqkdError: another process has the shard.
    """
    from seqkd.progress import ProgressBar

    directory = Path(directory)
    if n < 1 or batch < 1 or not 0 <= shard < shards:
        raise ConfigError(
            f"n {n}, batch {batch}, shard {shard} of {shards}; expected at least 1, and a shard below them"
        )
    manifest = {
        "version": VERSION,
        "teacher": {"name": teacher.name, "hash": teacher.hash},
        "n": n,
        "settings": dict(settings or {}),
    }
    path = directory / f"{shard:05d}.jsonl"
    with contextlib.ExitStack() as held:
        with _refusals_of(path):
            held.enter_context(lock(directory / f".lock-{shard:05d}", f"shard {shard} of the transcripts {directory}"))
            _take(directory, manifest, teacher)
            cut_off_unfinished(path)
        there = TeacherTranscripts.open(directory).require(contents=contents).entries
        todo = [one for one in sorted(utterances)[shard::shards] if one not in there]
        if not todo:
            return 0
        speech, expected = iter(speech_of(todo)), iter(todo)
        with ProgressBar(total=len(todo), desc=label, unit="utterance") as bar:
            while group := list(islice(speech, batch)):
                for one in group:
                    if one.id != next(expected, None):
                        raise DataError(
                            f"the speech of utterance {one.id!r} came out of turn; yield it in the order asked"
                        )
                answers = teacher.transcribe(group, n)
                contents_of = [(contents or {}).get(one.id, "") for one in group]
                lines = [
                    line_of(one.id, found, teacher.name, content)
                    for one, found, content in zip(group, answers, contents_of, strict=True)
                ]
                with _refusals_of(path):
                    append(path, lines)
                bar.update(len(group))
        missing = next(expected, None)
        if missing is not None:
            raise DataError(f"there is no speech of utterance {missing!r}; check the data directory")
    return len(todo)


@contextlib.contextmanager
def _refusals_of(path: Path) -> Iterator[None]:
    """Make what the system refuses one sentence."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}); make room or name another directory, and run again"
        ) from error


def _take(directory: Path, manifest: dict[str, Any], teacher: SequenceTeacher) -> None:
    """Write the manifest, or find that the one that is there is the same."""
    path = directory / "manifest.json"
    if not path.is_file():
        write_json(path, manifest)  # two processes at once write the same
    found = read_manifest(directory)
    manifest["teacher"]["hash"] = hash_among(teacher, {found["teacher"]["hash"]})
    for key, value in manifest.items():
        if found[key] != value:
            raise ConfigError(
                f"{directory} has transcripts with {key} {_said(found[key])}, and {_said(value)} is wanted; "
                "name another directory or delete this one"
            )


def _said(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value else "none"
