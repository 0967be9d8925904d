"""A user's clips or images as they come: folders named by class, or a table with a path and a label a line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seqkd.corpora.own.sources import AUDIO, SPLITS
from seqkd.corpora.own.tables import SUFFIXES, as_text, read_rows
from seqkd.errors import ConfigError, DataError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MEDIA = (*AUDIO, *IMAGES)

# What a column may be called, the first of those that are there counting. A patient is to an image what a speaker is.
CLIP_COLUMNS = {
    "path": ("path", "file_name", "file", "filename", "audio", "image", "wav"),
    "label": ("label", "class", "category", "target"),
    "part": ("part", "split", "set", "subset"),
    "group": ("group", "group_id"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk", "patient", "patient_id", "subject", "person"),
    "recording": ("recording", "recording_id", "session", "video", "study"),
    "source": ("source", "site", "device", "scanner", "dataset"),
}
TOLD = ("group", "speaker", "recording", "source")
"""Keys that a table, or a pattern of names, may tell."""


@dataclass(frozen=True)
class OwnClip:
    """An item as it was found.

    Attributes:
        where: File and line, or file, that name it, for messages.
        path: Its file.
        name: Its path in its folder, which its id is made of.
        label: Its class, one word.
        told: Its speaker, recording and so on, where they are given.
    """

    where: str
    path: Path
    name: str
    label: str
    told: Mapping[str, str] = field(default_factory=dict)


def one_word(text: str) -> str:
    """Return a name with ``_`` in place of white space."""
    return re.sub(r"\s+", "_", text.strip())


def compile_pattern(pattern: str | None) -> re.Pattern[str] | None:
    """Return a regular expression whose named groups are some of ``TOLD``. Raises ConfigError if it is none."""
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"corpus.pattern is {pattern!r}, which is no regular expression ({error}).") from error
    if not compiled.groupindex or set(compiled.groupindex) - set(TOLD):
        raise ConfigError(
            f"corpus.pattern is {pattern!r}; expected named groups, some of {', '.join(TOLD)}, such as "
            "(?P<speaker>[^/_]+)_[^/]*$"
        )
    return compiled


def read_clips(path: Path, pattern: re.Pattern[str] | None = None) -> dict[str, list[OwnClip]]:
    """Read folders of classes or a table; returns items by part, the only one being ``all`` if no parts are given.

    Args:
        path: A folder with a folder for each class; one with such folders train, dev and test; or a table.
        pattern: What of ``TOLD`` a file's path in the folder tells.

    Raises:
        DataError: There is nothing of the kind, or a line or a folder of it is not what it should be.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist{'' if path.is_absolute() else f' in {Path.cwd()}'}; mend the path.")
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(f"{path} is not what was expected: a folder, or a table named *{', *'.join(SUFFIXES)}.")
        return _read_clip_table(path, pattern)
    names = {name: part for part, names in SPLITS.items() for name in names}
    folders = _folders(path)
    parts = {folder: names.get(folder.name.lower()) for folder in folders}
    if "train" in parts.values() and all(parts.values()):
        found: dict[str, list[OwnClip]] = {}
        for folder, part in parts.items():
            if part in found:
                twice = [other.name for other in folders if parts[other] == part]
                raise DataError(f"{path} has both {twice[0]} and {twice[1]}; keep one of them.")
            found[part] = _read_classes_of(folder, pattern)
        return found
    return {"all": _read_classes_of(path, pattern)}


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _media(folder: Path) -> list[Path]:
    """Return the audio and images of a folder and the folders in it, hidden ones apart."""
    files = (file for file in folder.rglob("*") if file.suffix.lower() in MEDIA and file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def _read_classes_of(path: Path, pattern: re.Pattern[str] | None) -> list[OwnClip]:
    folders = _folders(path)
    loose = sorted(file for file in path.iterdir() if file.suffix.lower() in MEDIA and file.is_file())
    if loose:
        raise DataError(f"{loose[0]} lies beside the folders of the classes; put it into the folder of its class.")
    if not folders:
        raise DataError(f"{path} has no folders; expected one for each class, with its audio or images.")
    found = []
    for folder in folders:
        files = _media(folder)
        if not files:
            others = [file.name for file in sorted(folder.rglob("*")) if file.is_file()]
            said = f"holds neither audio nor images ({others[0]}, say)" if others else "is empty"
            raise DataError(
                f"{folder} {said}; expected files of class {folder.name!r} named *{', *'.join(MEDIA)}. Put some there, "
                "or delete the folder."
            )
        for file in files:
            name = file.relative_to(path).as_posix()
            found.append(OwnClip(str(file), file, name, one_word(folder.name), _told_by(name, pattern)))
    return found


def _told_by(name: str, pattern: re.Pattern[str] | None) -> dict[str, str]:
    match = pattern.search(name) if pattern else None
    return {key: one_word(value) for key, value in match.groupdict().items() if value} if match else {}


def _read_clip_table(table: Path, pattern: re.Pattern[str] | None) -> dict[str, list[OwnClip]]:
    rows = read_rows(table)
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    columns = {
        column: there[0]
        for column, usual in CLIP_COLUMNS.items()
        if (there := [name for name in usual if name in names])
    }
    for column in ("path", "label"):
        if column not in columns:
            raise DataError(
                f"{table}, line 1: there is no column {column}; found {', '.join(names)}; expected a header with one "
                f"of {', '.join(CLIP_COLUMNS[column])}."
            )
    parts = {name: part for part, usual in SPLITS.items() for name in usual}
    found: dict[str, list[OwnClip]] = {}
    seen: dict[Path, int] = {}
    for line, row in rows:
        where = f"{table}, line {line}"
        value = {column: as_text(row.get(name), name, where).strip() for column, name in columns.items()}
        for column in ("path", "label"):
            if not value[column]:
                raise DataError(f"{where}: {columns[column]} is empty; expected {_EXPECTED[column]}.")
        file = table.parent / value["path"]
        if not file.is_file():
            raise DataError(f"{where}: the file {value['path']!r} is missing; looked for {file}.")
        if file.suffix.lower() not in MEDIA:
            raise DataError(f"{where}: {value['path']!r} is no audio and no image; expected one of {', '.join(MEDIA)}.")
        if file.resolve() in seen:
            raise DataError(f"{where}: {value['path']!r} is there already, on line {seen[file.resolve()]}.")
        seen[file.resolve()] = line
        part = "all"
        if "part" in columns:
            part = parts.get(value["part"].lower(), "")
            if not part:
                raise DataError(f"{where}: {columns['part']} is {value['part']!r}; expected train, dev or test.")
        told = _told_by(value["path"], pattern) | {key: one_word(value[key]) for key in TOLD if value.get(key)}
        found.setdefault(part, []).append(OwnClip(where, file, value["path"], one_word(value["label"]), told))
    return found


_EXPECTED = {"path": "an audio file or an image", "label": "the name of a class"}


def check_kind(clips: Sequence[OwnClip]) -> str:
    """Return ``wav`` if all clips are audio, ``image`` if all are images; raise DataError if there are both."""
    kinds = {("image" if clip.path.suffix.lower() in IMAGES else "wav"): clip for clip in reversed(clips)}
    if len(kinds) == 2:
        raise DataError(
            f"{kinds['image'].where} is an image, {kinds['wav'].where} is audio; expected either, not both: take one "
            "kind out."
        )
    return next(iter(kinds))


def check_names(clips: Sequence[OwnClip]) -> None:
    """Raise DataError if two classes differ in case alone."""
    seen: dict[str, OwnClip] = {}
    for clip in clips:
        other = seen.setdefault(clip.label.casefold(), clip)
        if other.label != clip.label:
            raise DataError(
                f"Classes {other.label!r} ({other.where}) and {clip.label!r} ({clip.where}) differ in case alone; "
                "write both alike if they are one class, else name one otherwise."
            )
