"""Segments: the files of a book. Each appears whole, is never changed, and describes itself.

``<book>/<shard>/<number>.safetensors`` holds the entries of some utterances joined along time: one tensor a field,
(ΣT, ...) or (ΣE,). Its metadata hold the index of its entries, so that its one rename is the moment at which they are
written: whatever is killed before has written nothing, whatever is killed after has lost nothing. ``<number>.jsonl``
repeats the index for quick opening, in lines: the segment with its size and SHA-256, its entries, a seal over what
stands before. It may point to a segment elsewhere (a joined book), and be deleted, as it is made again.

Letters: T frames, E kept classes of all frames of an entry.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path, write_text
from seqkd.knowledge.forms import Fields
from seqkd.stages import again

SEGMENT_NAME = re.compile(r"(\d{5})/(\d{6})\.(safetensors|jsonl)")


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """Where an entry stands in its segment, and what it must be.

    Attributes:
        id: utterance.
        seed: augmentation seed.
        start: its first frame in fields with a row a frame.
        frames: T.
        first: its first row in fields with a row a kept class.
        entries: E; 0 if the form has no such fields.
        mass: mean probability that was kept.
        digest: of its fields, see :func:`entry_digest`.
        content: hash of what the teachers were given of the utterance; "" if that is not known.
    """

    id: str
    seed: int
    start: int
    frames: int
    first: int
    entries: int
    mass: float
    digest: str
    content: str = ""


@dataclass(frozen=True)
class BookSegment:
    """The index of one segment. ``sha256`` is None where it comes from the segment's own metadata."""

    path: Path
    manifest: str
    entries: tuple[IndexEntry, ...]
    bytes: int
    sha256: str | None = None


def entry_digest(utterance: str, seed: int, fields: Fields) -> str:
    """Hash of an entry's key and content, the same wherever the entry stands."""
    digest = hashlib.sha256(f"{utterance}\0{seed}".encode())
    for name in sorted(fields):
        value = np.ascontiguousarray(fields[name])
        digest.update(f"\0{name}\0{value.dtype.str}\0{value.shape}\0".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Draft:
    """An entry that is to be written."""

    utterance: str
    seed: int
    fields: Fields
    mass: float
    content: str = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(value.nbytes for value in self.fields.values())


def write_segment(path: Path, manifest: str, drafts: Sequence[Draft], per_entry: Sequence[str]) -> BookSegment:
    """Write entries as one segment and its index. ``per_entry`` names the fields with a row a kept class.

    Raises:
        DataError: the system refused: no space, no permission. Nothing is left of the segment then.
    """
    from safetensors.numpy import save

    entries, start, first = [], 0, 0
    for draft in drafts:
        frames = len(next(value for name, value in draft.fields.items() if name not in per_entry))
        kept = len(draft.fields[per_entry[0]]) if per_entry else 0
        digest = entry_digest(draft.utterance, draft.seed, draft.fields)
        entries.append(
            IndexEntry(
                draft.utterance, draft.seed, start, frames, first, kept, round(draft.mass, 9), digest, draft.content
            )
        )
        start, first = start + frames, first + kept
    joined = {name: np.concatenate([draft.fields[name] for draft in drafts]) for name in drafts[0].fields}
    index = "".join(_entry_lines(entries))
    content = save(joined, {"manifest": manifest, "index": index, "seal": _seal((manifest + index).encode())})
    segment = BookSegment(path, manifest, tuple(entries), len(content), hashlib.sha256(content).hexdigest())
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # some file systems say only here that there is no space
        write_index(segment)
    except OSError as error:
        raise DataError(refused(error, path, [draft.utterance for draft in drafts])) from error
    return segment


def write_index(segment: BookSegment, at: Path | None = None) -> None:
    """Write the JSONL index of a segment beside it, or elsewhere, pointing to it."""
    at = at or segment.path.with_suffix(".jsonl")
    head = {
        "segment": os.path.relpath(segment.path.resolve(), at.parent.resolve()),
        "bytes": segment.bytes,
        "sha256": segment.sha256 or file_sha256(segment.path),
        "manifest": segment.manifest,
    }
    text = "".join([json.dumps(head) + "\n", *_entry_lines(segment.entries)])
    write_text(at, text + json.dumps({"seal": _seal(text.encode())}) + "\n")


def read_index(path: Path) -> BookSegment:
    """Read a JSONL index, which must be as it was written.

    Raises:
        DataError: a line that is damaged (it is named), or lines that are missing or changed.
    """
    remedy = f"delete {path}: it is made again from its segment" if path.with_suffix(".safetensors").is_file() else (
        "join the books again"
    )  # fmt: skip
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(json.loads(line))
            if not isinstance(values[-1], dict):
                raise ValueError("no mapping")
        except ValueError as error:
            raise DataError(f"{path}, line {number}: damaged, expected a JSON object; {remedy}") from error
    if len(values) < 2 or "seal" not in values[-1]:
        raise DataError(f"{path}, line {len(values)}: breaks off, expected a seal as its last line; {remedy}")
    if values[-1]["seal"] != _seal(b"".join(lines[:-1])):
        raise DataError(f"{path}: is not as it was written (its seal is broken); {remedy}")
    head = values[0]
    entries = tuple(IndexEntry(**value) for value in values[1:-1])
    beside = path.with_suffix(".safetensors")
    target = beside if beside.is_file() else path.parent / head["segment"]
    return BookSegment(target, head["manifest"], entries, head["bytes"], head["sha256"])


def read_metadata(path: Path) -> BookSegment:
    """Read the index that a segment holds itself, also of one that breaks off later.

    Raises:
        DataError: its header cannot be read, or is not as it was written.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, path.stat().st_size)))
        metadata = header.pop("__metadata__")
        length = 8 + size + max(tensor["data_offsets"][1] for tensor in header.values())
        index, manifest = metadata["index"], metadata["manifest"]
        if metadata["seal"] != _seal((manifest + index).encode()):
            raise ValueError("its seal is broken")
        return BookSegment(
            path, manifest, tuple(IndexEntry(**json.loads(line)) for line in index.split("\n")[:-1]), length
        )
    except (KeyError, ValueError, TypeError, OSError) as error:
        remedy = remedy_for(path.name)
        raise DataError(f"{path} is damaged: its header cannot be read ({_reason(error)}); {remedy}") from error


def salvage(path: Path) -> BookSegment:
    """The segment behind an index that is damaged, from its own metadata; DataError if that cannot be had either."""
    target = path.with_suffix(".safetensors")
    if not target.is_file():
        with contextlib.suppress(ValueError, KeyError, TypeError, IndexError, OSError):
            target = path.parent / json.loads(path.read_bytes().splitlines()[0])["segment"]
    return read_metadata(target)


def segment_files(directory: Path) -> Iterator[Path]:
    """The index of every segment of a book in order, or the segment where it has none (yet)."""
    found: dict[str, Path] = {}
    for path in sorted(directory.glob("*/*")):
        if SEGMENT_NAME.fullmatch(path.relative_to(directory).as_posix()):
            found.setdefault(path.with_suffix("").as_posix(), path)  # .jsonl sorts before .safetensors
    yield from found.values()


def read_segment_index(path: Path) -> BookSegment:
    """Of what :func:`segment_files` gives."""
    return read_index(path) if path.suffix == ".jsonl" else read_metadata(path)


class SegmentReader:
    """The entries of one segment, read through a memory map."""

    def __init__(self, segment: BookSegment) -> None:
        """Open the segment.

        Raises:
            DataError: it is missing, truncated or damaged; its utterances are named.
        """
        from safetensors import SafetensorError, safe_open

        self.segment = segment
        check_size(segment)
        try:
            self._tensors = safe_open(segment.path, "np")
            self._names = sorted(self._tensors.keys())
        except (SafetensorError, OSError) as error:
            raise DataError(damaged(self.segment, _reason(error))) from error

    def read(self, entry: IndexEntry, per_entry: Sequence[str]) -> Fields:
        """The fields of an entry, checked.

        Raises:
            DataError: the entry is not as it was written.
        """
        from safetensors import SafetensorError

        check_size(self.segment)  # a map that reaches past the end of its file would kill the process
        frames = slice(entry.start, entry.start + entry.frames)
        kept = slice(entry.first, entry.first + entry.entries)
        try:
            fields = {
                name: self._tensors.get_slice(name)[kept if name in per_entry else frames] for name in self._names
            }
        except (SafetensorError, OSError) as error:
            raise DataError(damaged(self.segment, _reason(error))) from error
        if entry_digest(entry.id, entry.seed, fields) != entry.digest:
            raise DataError(
                f"{self.segment.path}: utterance {entry.id!r} is damaged (its checksum is not that with which it was "
                f"written); {remedy_for(self.segment.path.name)}"
            )
        return fields


def check_size(segment: BookSegment) -> None:
    """Raise DataError unless the segment is there, and as long as it was written."""
    try:
        size = segment.path.stat().st_size
    except OSError as error:
        raise DataError(damaged(segment, "it is missing or cannot be opened")) from error
    if segment.bytes != size:
        raise DataError(damaged(segment, f"it has {size} bytes and was written with {segment.bytes}"))


def damaged(segment: BookSegment, how: str) -> str:
    """One sentence about a segment that is damaged as a whole."""
    names = quoted([entry.id for entry in segment.entries])
    return f"{segment.path} is damaged: {how}; it holds {names}; {remedy_for(segment.path.name)}"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def quoted(utterances: Iterable[str], most: int = 3) -> str:
    """Names for a sentence: utterances 'a', 'b', 'c' and 12 more."""
    names = list(dict.fromkeys(utterances))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"utterance{'s' if len(names) > 1 else ''} " + ", ".join(map(repr, names[:most])) + more


def check_contents(what: str, known: Iterable[tuple[str, str]], contents: Mapping[str, str]) -> None:
    """Raise ConfigError if outputs were made of something else than their utterances are now.

    Args:
        what: the book, for the message.
        known: utterance and content of each output; "" is not known, and accepted.
        contents: of utterances as they are now.
    """
    changed = sorted({name for name, content in known if content and contents.get(name, content) != content})
    if changed:
        raise ConfigError(
            f"the audio or text of {quoted(changed)} has changed since {what} was written; to make it anew "
            f"{again('book')}"
        )


def refused(error: OSError, path: Path, utterances: Sequence[str]) -> str:
    """One sentence about a write that the system refused."""
    lost = f"; {quoted(utterances)} {'is' if len(utterances) == 1 else 'are'} not written" if utterances else ""
    again = "what was written before is kept, and running again carries on"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{path}: there is no space left ({error.strerror}){lost}; make room; {again}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path}: must not be written ({error.strerror}){lost}; name a directory that may be written; {again}"
    return f"{path}: cannot be written ({error.strerror or error}){lost}; {again}"


def _entry_lines(entries: Iterable[IndexEntry]) -> Iterator[str]:
    for entry in entries:
        # Without a content an entry is what it was before there were any.
        stated = {name: value for name, value in asdict(entry).items() if name != "content" or value}
        yield json.dumps(stated, ensure_ascii=False) + "\n"


def _seal(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def remedy_for(name: str) -> str:
    """What to do about a damaged file of a book."""
    return f"delete {name} and its index, and to make what is missing {again('book')}"
