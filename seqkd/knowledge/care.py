"""Looking after books: what is in one, whether it is whole, and several made one.

Letters: T frames.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seqkd.errors import ConfigError, DataError
from seqkd.knowledge.book import Book
from seqkd.knowledge.manifest import Manifest, read_manifest, write_manifest
from seqkd.knowledge.segments import (
    SEGMENT_NAME,
    IndexEntry,
    SegmentReader,
    check_size,
    file_sha256,
    quoted,
    read_segment_index,
    refused,
    salvage,
    segment_files,
    write_index,
)
from seqkd.knowledge.writer import check_belongs
from seqkd.stages import again


@dataclass(frozen=True)
class Info:
    """What is in a book.

    Attributes:
        manifest: of the book.
        content: hash of the manifest and every entry: the same for the same content, however it was written.
        utterances: how many.
        entries: how many, one an utterance and seed.
        frames: of all entries.
        segments: how many files hold them.
        bytes: their size.
        bits_per_frame: all bytes counted.
        retained_mass: mean probability a frame that is stored under its own class.
    """

    manifest: Manifest
    content: str
    utterances: int
    entries: int
    frames: int
    segments: int
    bytes: int
    bits_per_frame: float
    retained_mass: float

    def to_json(self) -> dict[str, Any]:
        """For ``seqkd book info --json``."""
        return {**asdict(self), "manifest": self.manifest.to_json()}


def info(directory: Path | str) -> Info:
    """Describe a book, from its index alone; DataError if there is no book or its index is damaged."""
    book = Book.open(directory)
    entries = book.entries()
    frames = sum(entry.frames for entry in entries)
    size = sum(segment.path.stat().st_size if segment.path.is_file() else 0 for segment in book.segments)
    return Info(
        manifest=book.manifest,
        content=content_hash(book.manifest, entries),
        utterances=len(book.utterances),
        entries=len(book),
        frames=frames,
        segments=len(book.segments),
        bytes=size,
        bits_per_frame=8 * size / max(frames, 1),
        retained_mass=math.fsum(entry.mass * entry.frames for entry in entries) / max(frames, 1),
    )


def content_hash(manifest: Manifest, entries: Sequence[IndexEntry]) -> str:
    """Hash of a manifest and of sorted entries, in whatever order, shards and segments they were written."""
    digest = hashlib.sha256(manifest.hash.encode())
    for entry in entries:
        digest.update(f"\0{entry.id}\0{entry.seed}\0{entry.digest}".encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Fault:
    """Something that is damaged.

    Attributes:
        path: the file.
        utterances: whose entries cannot be read, or none if only the index is damaged.
        sentence: what was found, and what to do.
    """

    path: Path
    utterances: tuple[str, ...]
    sentence: str


def verify(directory: Path | str, *, progress: bool = False) -> list[Fault]:
    """Read every byte of a book; returns all that is damaged, nothing if the book is whole.

    Raises:
        DataError: there is no book, or its manifest is damaged.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    paths = list(segment_files(directory))
    if progress:
        from seqkd.progress import ProgressBar

        paths = ProgressBar(paths, desc=f"verify {directory.name}", unit="segment")
    faults = [fault for path in paths for fault in _faults(path, manifest, directory)]
    faults += _gaps(directory)
    if not faults:
        try:
            Book.open(directory)  # the segments agree
        except DataError as error:
            faults.append(Fault(directory, (), str(error)))
    return faults


def _faults(path: Path, manifest: Manifest, directory: Path) -> Iterator[Fault]:
    try:
        segment = read_segment_index(path)
    except DataError as error:
        yield Fault(path, (), str(error))
        try:  # what it is the index of may be whole, and knows its utterances
            segment = salvage(path)
        except DataError:
            return
    names = tuple(dict.fromkeys(entry.id for entry in segment.entries))
    try:
        check_belongs(segment, manifest, directory)
        reader = SegmentReader(segment)
    except DataError as error:
        yield Fault(segment.path, names, str(error))
        return
    before, form = 0, manifest.form
    for entry in segment.entries:
        try:
            reader.read(entry, form.per_entry)
        except DataError as error:
            before += 1
            yield Fault(segment.path, (entry.id,), str(error))
    if not before and segment.sha256 is not None and file_sha256(segment.path) != segment.sha256:
        sentence = (
            f"{segment.path} is not the file that was written, although its entries are whole: its header differs"
        )
        yield Fault(segment.path, names, f"{sentence}; delete its index, which then is made again")


def _gaps(directory: Path) -> Iterator[Fault]:
    """Numbers are given without gaps: one that is missing was deleted with its index."""
    numbers: dict[str, set[int]] = {}
    for path in directory.glob("*/*"):
        if found := SEGMENT_NAME.fullmatch(path.relative_to(directory).as_posix()):
            numbers.setdefault(found[1], set()).add(int(found[2]))
    for shard, there in sorted(numbers.items()):
        for number in sorted(set(range(max(there))) - there):
            path = directory / shard / f"{number:06d}.safetensors"
            sentence = f"{path} and its index are missing; to make what is missing {again('book')}"
            yield Fault(path, (), sentence)


def merge(directory: Path | str, books: Sequence[Path | str]) -> Info:
    """Join books into a new one without copying an entry: its index points to their segments, by relative paths.

    Args:
        directory: of the joined book, which must be new or empty.
        books: directories whose manifests are the same, and which share no entry.

    Raises:
        ConfigError: manifests that differ (both sides are named), or a directory that is in use.
        DataError: an entry that is in two books, or a damaged index.
    """
    directory = Path(directory)
    if len(books) < 2:
        raise ConfigError(f"there are {len(books)} books to join; name at least two")
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(f"{directory} is not empty; name a new directory for the joined book")
    opened = [Book.open(book) for book in books]
    first = opened[0]
    owner: dict[tuple[str, int], Book] = {}
    for book in opened:
        here, there = f"the book {first.directory}", f"the book {book.directory}"
        first.manifest.require_same(book.manifest, here, there, exact=True)
        for entry in book.entries():
            there = owner.setdefault((entry.id, entry.seed), book)
            if there is not book:
                shared = [e.id for e in book.entries() if owner.get((e.id, e.seed), book) is not book]
                raise DataError(
                    f"the books {there.directory} and {book.directory} both have {quoted(shared)}; join books of "
                    "different utterances"
                )
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        # Beside the new book, so that relative paths hold after the rename.
        temporary = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".tmp-"))
        try:
            temporary.chmod(0o755)  # mkdtemp makes private directories
            write_manifest(temporary, first.manifest)
            for shard, book in enumerate(opened):
                for number, segment in enumerate(book.segments):
                    check_size(segment)
                    write_index(segment, temporary / f"{shard:05d}" / f"{number:06d}.jsonl")
            temporary.replace(directory)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise DataError(refused(error, directory, [])) from error
    return info(directory)
