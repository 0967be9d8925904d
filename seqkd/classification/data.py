"""Sets of clips (or images) with a class each, in Kaldi's tables, sorted by id.

=============  ==============================================  =====================================
``wav.scp``    id and an audio file                            or ``image.scp``, of images
``label``      id and the name of a class, one word            required
``group``      id and what must stay in one part of a split    optional
``phones.ctm`` id, 1, start and duration (s), phone            optional: a class a frame
``fold``       id and a whole number from 0                    optional: for cross-validation
=============  ==============================================  =====================================

``classes.txt`` beside the sets has the names of the classes, one a line, in the order of their numbers.

Letters: N clips, T frames, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from seqkd.data.tables import number, read_table
from seqkd.errors import DataError
from seqkd.files import decode_line
from seqkd.stages import again

CLASSES = "classes.txt"
_TABLES = ("wav.scp", "image.scp", "label", "group", "fold", "phones.ctm")
SILENCE = "sil"  # where no phone is


@dataclass(frozen=True)
class Phone:
    """One phone of a clip: seconds from its start, and a name."""

    start: float
    end: float
    name: str


@dataclass(frozen=True)
class ClipSet:
    """A set of N clips.

    Attributes:
        directory: where it is.
        ids: N names, sorted.
        paths: N files.
        labels: N names of classes.
        groups: N names, by default the ids.
        folds: N numbers, or None where there are none.
        phones: of each clip, by id; empty where there are none.
        images: whether the files are images.
    """

    directory: Path
    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    folds: tuple[int, ...] | None
    phones: Mapping[str, tuple[Phone, ...]]
    images: bool

    def __len__(self) -> int:
        return len(self.ids)


def read_set(directory: Path) -> ClipSet:
    """Read a set; once a process, until one of its files changes.

    Raises:
        DataError: a table is missing, malformed, or not of the same ids; a class name is empty.
    """
    present = [path.stat() for name in _TABLES if (path := directory / name).is_file()]
    return _read_set(directory, tuple((entry.st_ino, entry.st_size, entry.st_mtime_ns) for entry in present))


@lru_cache(maxsize=8)
def _read_set(directory: Path, stamps: tuple[tuple[int, ...], ...]) -> ClipSet:
    kinds = [name for name in ("wav.scp", "image.scp") if (directory / name).is_file()]
    if not kinds:
        raise DataError(f"{directory} has no wav.scp and no image.scp; {again('corpus')}")
    if len(kinds) == 2:
        raise DataError(f"{directory} has a wav.scp and an image.scp; expected one of them: sounds, or images")
    files = _values(directory / kinds[0], "<id> <file>")
    tables = {"label": _values(directory / "label", "<id> <class>")}
    for name in ("group", "fold"):
        if (directory / name).is_file():
            tables[name] = _values(directory / name, f"<id> <{name}>")
    for name, table in tables.items():
        if table.keys() != files.keys():
            odd = sorted(table.keys() ^ files.keys())[0]
            place = kinds[0] if odd in files else name
            raise DataError(f"{directory}: {odd!r} is in {place} only; expected the same ids in {kinds[0]} and {name}")
    ids = tuple(files)
    groups = tables.get("group", {key: key for key in ids})
    for key, label in tables["label"].items():
        if len(label.split()) != 1:
            raise DataError(f"{directory / 'label'}: {key!r} has the class {label!r}; expected one word")
    return ClipSet(
        directory=directory,
        ids=ids,
        paths=tuple(directory / files[key] for key in ids),  # an absolute path stays as it is
        labels=tuple(tables["label"][key] for key in ids),
        groups=tuple(groups[key] for key in ids),
        folds=tuple(_fold(directory, key, tables["fold"][key]) for key in ids) if "fold" in tables else None,
        phones=read_phones(directory / "phones.ctm", ids) if (directory / "phones.ctm").is_file() else {},
        images=kinds[0] == "image.scp",
    )


def _values(path: Path, expected: str) -> dict[str, str]:
    return {key: entry.value for key, entry in read_table(path, expected).items()}


def _fold(directory: Path, key: str, text: str) -> int:
    if not text.isdecimal():
        raise DataError(f"{directory / 'fold'}: {key!r} has {text!r}; expected a whole number from 0")
    return int(text)


def read_phones(path: Path, ids: Sequence[str]) -> dict[str, tuple[Phone, ...]]:
    """Read the phones of each clip from a CTM. Raises DataError about a line that is none, or a clip without any."""
    found: dict[str, list[Phone]] = {key: [] for key in ids}
    for where, line in _lines(path):
        fields = line.split()
        start, duration = (number(text) for text in fields[2:4]) if len(fields) >= 5 else (np.nan, np.nan)
        if not (start >= 0 and duration >= 0):
            raise DataError(f"{where}: {line!r}; expected '<id> 1 <start s> <duration s> <phone>', times from 0")
        if fields[0] not in found:
            raise DataError(f"{where}: there is no clip {fields[0]!r} in this set")
        found[fields[0]].append(Phone(start, start + duration, fields[4]))
    empty = [key for key, phones in found.items() if not phones]
    if empty:
        raise DataError(f"{path} has no phone of {len(empty)} clips, such as {empty[0]!r}")
    return {key: tuple(phones) for key, phones in found.items()}


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines, each with where it is. Raises DataError about one that is not UTF-8."""
    for count, line in enumerate(path.read_bytes().splitlines(), 1):
        where = f"{path}, line {count}"
        yield where, decode_line(line, where)


def read_classes(data: Path) -> tuple[str, ...]:
    """The names of the classes, in order. Raises DataError where a line is none, one is there twice, or only one is."""
    path = data / CLASSES
    if not path.is_file():
        raise DataError(f"{path} is missing; {again('corpus')}")
    lines = list(_lines(path))
    for where, line in lines:
        if len(line.split()) != 1:
            raise DataError(f"{where}: {line!r}; expected the name of a class, one word")
    names = tuple(line.strip() for _, line in lines)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"{path} has the class {repeated[0]!r} twice")
    folded = Counter(name.casefold() for name in names)
    for name in names:
        if folded[name.casefold()] > 1:
            raise DataError(f"{path} has classes that differ in case alone: {name!r}; give one of them another name")
    if len(names) < 2:
        raise DataError(f"{path} has {len(names)} classes; expected at least 2")
    return names


def phones_of(train: ClipSet) -> tuple[str, ...]:
    """The phones of a training set, sorted, silence among them."""
    if not train.phones:
        raise DataError(f"{train.directory} has no phones.ctm, and target=frame needs the phone of each frame")
    return tuple(sorted({SILENCE, *(phone.name for phones in train.phones.values() for phone in phones)}))


def numbers_of(clips: ClipSet, classes: Sequence[str]) -> np.ndarray:
    """(N,) the number of each clip's class. Raises DataError about a class that the training set lacks."""
    known = {name: number for number, name in enumerate(classes)}
    for key, label in zip(clips.ids, clips.labels, strict=True):
        if label not in known:
            raise DataError(
                f"{clips.directory / 'label'}: {key!r} is of class {label!r}, which {CLASSES} does not name; "
                f"the classes are {', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''}"
            )
    return np.array([known[label] for label in clips.labels], np.int64)


def frame_numbers(clips: ClipSet, phones: Sequence[str], frames: int, shift: float) -> np.ndarray:
    """(N, T) the number of the phone in the middle of each frame of ``shift`` seconds.

    Raises:
        DataError: a phone that the training set lacks.
    """
    known = {name: number for number, name in enumerate(phones)}
    found = np.full((len(clips), frames), known[SILENCE], np.int64)
    middles = (np.arange(frames) + 0.5) * shift
    for row, key in enumerate(clips.ids):
        for phone in clips.phones[key]:
            if phone.name not in known:
                raise DataError(f"{clips.directory}: {key!r} has the phone {phone.name!r}, which no training clip has")
            found[row, (middles >= phone.start) & (middles < phone.end)] = known[phone.name]
    return found


def check_parts(train: ClipSet, dev: ClipSet, tests: Sequence[ClipSet]) -> None:
    """Raise DataError when a group, or a file, is in two parts of a split; test sets may share them."""
    owners: dict[str, tuple[str, str]] = {}
    for role, part in (("train", train), ("dev", dev), *(("test", test) for test in tests)):
        for key, group, path in zip(part.ids, part.groups, part.paths, strict=True):
            for what, value in (("group", group), ("file", str(path))):
                owner = owners.setdefault(f"{what} {value}", (role, f"{part.directory.name}: {key!r}"))
                if owner[0] != role:
                    raise DataError(
                        f"{what} {value!r} is in {owner[1]} and in {part.directory.name}: {key!r}, so that what is "
                        "learned would be tested on itself; split by group again"
                    )


def check_support(train: ClipSet, classes: Sequence[str], least: int = 2) -> None:
    """Raise DataError about a class of which training has fewer than ``least`` clips."""
    counts = Counter(train.labels)
    for label in classes:
        if counts[label] < least:
            clips = "1 clip" if counts[label] == 1 else "no clip"
            raise DataError(
                f"{train.directory}: class {label!r} has {clips}; expected at least {least}. Add clips, or leave the "
                f"class out, of {CLASSES}, too"
            )
