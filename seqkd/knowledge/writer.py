"""Writing a book, by any number of processes, each its own shard, each carrying on where it was stopped.

Letters: T frames (or target positions, or seconds), C classes.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from torch import Tensor

from seqkd.errors import ConfigError, DataError
from seqkd.files import lock
from seqkd.knowledge.ensemble import Uncertainty
from seqkd.knowledge.manifest import Manifest, write_manifest
from seqkd.knowledge.posteriors import checked, regularised, uncertainty_fields
from seqkd.knowledge.segments import (
    BookSegment,
    Draft,
    check_contents,
    check_size,
    quoted,
    read_segment_index,
    refused,
    segment_files,
    write_index,
    write_segment,
)


@dataclass(frozen=True)
class TeacherOutput:
    """The outputs of the teachers for one utterance.

    Attributes:
        utterance: its id.
        log_probs: (T, C) at the manifest's temperature, of one teacher or of :func:`seqkd.knowledge.mix`.
        seed: of the augmentation of the teacher's input.
        targets: (T,) classes of the hard target, for a manifest with regularisation.
        uncertainty: (T,) each, for a manifest with uncertainty.
    """

    utterance: str
    log_probs: Tensor
    seed: int = 0
    targets: Tensor | Sequence[int] | None = None
    uncertainty: Uncertainty | None = None


class BookWriter:
    """Appends entries to one shard of a book; use it in a ``with`` block.

    Entries gather in memory and are written as a segment when they are ``segment_bytes`` in all, or the oldest
    is ``segment_seconds`` old, and at the end of the block, also when an error or Ctrl-C ends it. What a
    ``kill -9`` takes is what was not written yet; ``in`` tests what is written, by any shard.
    """

    def __init__(
        self,
        directory: Path | str,
        manifest: Manifest,
        *,
        shard: int = 0,
        shards: int = 1,
        segment_bytes: int = 64 << 20,
        segment_seconds: float = 60.0,
    ) -> None:
        """Describe the shard; nothing is touched before the ``with`` block begins.

        Args:
            directory: of the book.
            manifest: of the book; if there is one, it must be the same.
            shard: which process this is, such as the rank, from 0.
            shards: how many processes there are. A book may be carried on with another number.
            segment_bytes: size of a segment.
            segment_seconds: how much work a ``kill -9`` may cost.
        """
        if not 0 <= shard < shards:
            raise ConfigError(f"shard {shard} of {shards}; expected a number from 0 to {shards - 1}")
        self.directory, self.manifest = Path(directory), manifest
        self.shard, self.shards = shard, shards
        self.segment_bytes, self.segment_seconds = segment_bytes, segment_seconds
        self._drafts: list[Draft] = []
        self._size, self._since = 0, 0.0
        self._there: dict[tuple[str, int], str] = {}  # utterance and seed: content
        self._open = contextlib.ExitStack()

    def __enter__(self) -> BookWriter:
        """Take the shard, and find what is written.

        Raises:
            ConfigError: another manifest.
            DataError: a damaged segment, or a directory that must not be written.
            SeqkdError: another process has the shard.
        """
        own = self.directory / f"{self.shard:05d}"
        try:
            self.manifest = write_manifest(self.directory, self.manifest)
            self._open.enter_context(lock(own / ".lock", f"shard {self.shard} of the book {self.directory}"))
            for stale in own.glob(".tmp-*"):
                stale.unlink()
            for path in segment_files(self.directory):
                segment = read_segment_index(path)
                check_belongs(segment, self.manifest, self.directory)
                check_size(segment)
                if path.suffix != ".jsonl" and path.parent == own:  # killed before its index was written
                    write_index(segment)
                self._there.update(((entry.id, entry.seed), entry.content) for entry in segment.entries)
        except OSError as error:
            self._open.close()
            raise DataError(refused(error, self.directory, [])) from error
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left, and let go of the shard."""
        with self._open:
            self.flush()

    def __contains__(self, entry: str | tuple[str, int]) -> bool:
        """Whether an utterance (seed 0), or an utterance and a seed, is written or waits to be."""
        return (entry if isinstance(entry, tuple) else (entry, 0)) in self._there

    def todo(self, utterances: Iterable[str]) -> list[tuple[str, int]]:
        """The entries (utterance, seed) that this shard has to write: every ``shards``-th utterance less what is there.

        Args:
            utterances: of the whole book, the same in every process, in any order.
        """
        ids = sorted(utterances)
        for left, right in itertools.pairwise(ids):
            if left == right:
                raise DataError(f"utterance {left!r} is there twice; every id must be unique, remove or rename one")
        entries = (
            (utterance, seed) for utterance in ids[self.shard :: self.shards] for seed in range(self.manifest.seeds)
        )
        return [entry for entry in entries if entry not in self._there]

    def require(self, contents: Mapping[str, str]) -> None:
        """Raise ConfigError if an entry was made of something else than its utterance is now; see `write_book`."""
        known = ((utterance, content) for (utterance, _), content in self._there.items())
        check_contents(f"the book {self.directory}", known, contents)

    def add(
        self,
        utterance: str,
        log_probs: Tensor,
        *,
        seed: int = 0,
        targets: Tensor | Sequence[int] | None = None,
        uncertainty: Uncertainty | None = None,
        content: str = "",
    ) -> None:
        """Add an entry; see :class:`TeacherOutput` for the arguments, and `write_book` for ``content``.

        Raises:
            DataError: the entry is there already, or is no posterior of C classes.
        """
        where = f"utterance {utterance!r}"
        if (utterance, seed) in self._there:
            raise DataError(
                f"{where} with seed {seed} is in the book {self.directory} already; every entry is written once"
            )
        if not 0 <= seed < self.manifest.seeds:
            raise ConfigError(f"{where} has seed {seed} and the book {self.manifest.seeds} seeds; expected less")
        if not (utterance and utterance.isprintable()):
            raise DataError(f"{where} is no id; expected a name of printable characters")
        rows = checked(log_probs, self.manifest, where)
        if self.manifest.regularisation:
            rows = regularised(rows, targets, self.manifest.regularisation, where)
        elif targets is not None:
            raise ConfigError(f"{where} comes with targets, but the manifest's regularisation is 0; leave them out")
        fields, mass = self.manifest.form.encode(rows, f"{utterance}\0{seed}")
        fields |= uncertainty_fields(uncertainty, self.manifest, len(rows), where)
        draft = Draft(utterance, seed, fields, mass, content)
        self._since = self._since if self._drafts else time.monotonic()
        self._drafts.append(draft)
        self._there[utterance, seed] = content
        self._size += draft.size
        if self._size >= self.segment_bytes or time.monotonic() - self._since >= self.segment_seconds:
            self.flush()

    def flush(self) -> None:
        """Write all entries that wait as a segment.

        Raises:
            DataError: the system refused; these entries are not written.
        """
        drafts, self._drafts, self._size = self._drafts, [], 0
        if not drafts:
            return
        try:
            own = self.directory / f"{self.shard:05d}"
            used = {path.name[:6] for path in own.glob("*.*")}  # a number that was deleted as damaged is free again
            number = next(n for n in range(10**6) if f"{n:06d}" not in used)
            form = self.manifest.form
            write_segment(own / f"{number:06d}.safetensors", self.manifest.hash, drafts, form.per_entry)
        except BaseException:
            for draft in drafts:
                del self._there[draft.utterance, draft.seed]
            raise


def write_book(
    directory: Path | str,
    manifest: Manifest,
    utterances: Iterable[str],
    outputs: Callable[[list[tuple[str, int]]], Iterable[TeacherOutput]],
    *,
    contents: Mapping[str, str] | None = None,
    shard: int = 0,
    shards: int = 1,
    segment_bytes: int = 64 << 20,
    segment_seconds: float = 60.0,
    label: str = "book",
) -> int:
    """Write what this process's share of a book still lacks, with progress and an estimate; return how many entries.

    Args:
        directory: of the book.
        manifest: of the book.
        utterances: ids of the whole book, the same in every process.
        outputs: asks the teachers: given the entries (utterance, seed) that are missing, yields a
            :class:`TeacherOutput` for each, in any order, such as that of batches by length.
        contents: hashes of what the teachers are given of each utterance, such as its audio. They are kept, so that
            outputs are not taken for those of an utterance that has changed since.
        shard: this process, from 0.
        shards: how many processes there are.
        segment_bytes: size of a segment.
        segment_seconds: how much work a ``kill -9`` may cost.
        label: of the progress bar.

    Raises:
        ConfigError: another manifest, or entries of an utterance that has changed.
        DataError: an output that was not asked for, one that is missing, or no posterior.
    """
    from seqkd.progress import ProgressBar

    limits = {"segment_bytes": segment_bytes, "segment_seconds": segment_seconds}
    with BookWriter(directory, manifest, shard=shard, shards=shards, **limits) as writer:
        writer.require(contents or {})
        todo = writer.todo(utterances)
        missing = set(todo)
        if not todo:
            return 0
        label = label if shards == 1 else f"{label}, shard {shard} of {shards}"
        for found in ProgressBar(outputs(todo), total=len(todo), desc=label, unit="entry"):
            entry = (found.utterance, found.seed)
            if entry not in missing:
                raise DataError(f"utterance {found.utterance!r} with seed {found.seed} was not asked for")
            writer.add(
                found.utterance,
                found.log_probs,
                seed=found.seed,
                targets=found.targets,
                uncertainty=found.uncertainty,
                content=(contents or {}).get(found.utterance, ""),
            )
            missing.discard(entry)
        if missing:
            raise DataError(
                f"the teachers gave no answer for {quoted(sorted(u for u, _ in missing))}; nothing can be read"
            )
    return len(todo)


def check_belongs(segment: BookSegment, manifest: Manifest, directory: Path) -> None:
    """Raise DataError unless a segment was written for this book."""
    if segment.manifest != manifest.hash:
        raise DataError(
            f"{segment.path} belongs to a book with the manifest {segment.manifest} and {directory} has "
            f"{manifest.hash}; move the segment back to where it was written"
        )
