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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqkd.data.tables import read_table
from seqkd.errors import DataError
from seqkd.stages import again

CLASSES = "classes.txt"
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
    """Read a set.

    Raises:
        DataError: a table is missing, malformed, or not of the same ids; a class name is empty.
    """
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
    for key, label in tables["label"].items():
        if len(label.split()) != 1:
            raise DataError(f"{directory / 'label'}: {key!r} has the class {label!r}; expected one word")
    return ClipSet(
        directory=directory,
        ids=ids,
        paths=tuple(directory / files[key] for key in ids),  # an absolute path stays as it is
        labels=tuple(tables["label"][key] for key in ids),
        groups=tuple(tables.get("group", {key: key for key in ids})[key] for key in ids),
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
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split()
        try:
            key, _, start, duration, name = fields[:5]
            phone = Phone(float(start), float(start) + float(duration), name)
        except ValueError:
            raise DataError(
                f"{path}, line {number}: {line!r}; expected '<id> 1 <start s> <duration s> <phone>'"
            ) from None
        if key not in found:
            raise DataError(f"{path}, line {number}: there is no clip {key!r} in this set")
        found[key].append(phone)
    empty = [key for key, phones in found.items() if not phones]
    if empty:
        raise DataError(f"{path} has no phone of {len(empty)} clips, such as {empty[0]!r}")
    return {key: tuple(phones) for key, phones in found.items()}


def read_classes(data: Path) -> tuple[str, ...]:
    """The names of the classes, in order. Raises DataError where there are fewer than two, or one twice."""
    path = data / CLASSES
    if not path.is_file():
        raise DataError(f"{path} is missing; {again('corpus')}")
    names = tuple(path.read_text(encoding="utf-8").split())
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


def check_parts(parts: Mapping[str, ClipSet]) -> None:
    """Raise DataError when a group, or a file, is in two parts of a split."""
    owners: dict[str, tuple[str, str]] = {}
    for name, part in parts.items():
        for key, group, path in zip(part.ids, part.groups, part.paths, strict=True):
            for what, value in (("group", group), ("file", str(path))):
                owner = owners.setdefault(f"{what} {value}", (name, key))
                if owner[0] != name:
                    raise DataError(
                        f"{what} {value!r} is in {owner[0]} ({owner[1]!r}) and in {name} ({key!r}): what is learned "
                        "would be tested on itself; split by group again"
                    )


def check_support(train: ClipSet, least: int = 2) -> None:
    """Raise DataError about a class of which training has fewer than ``least`` clips."""
    for label, count in sorted(Counter(train.labels).items()):
        if count < least:
            raise DataError(
                f"{train.directory}: class {label!r} has {count} clip; expected at least {least}. Add clips, or leave "
                "the class out"
            )
