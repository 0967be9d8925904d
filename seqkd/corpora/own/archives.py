"""Recordings packed in tar archives, as WebDataset and many corpora have them: unpacked once, beside the sets."""

from __future__ import annotations

import json
import shlex
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from seqkd.corpora.own.tables import COLUMNS, Item, as_text
from seqkd.errors import DataError
from seqkd.files import OURS, atomic_directory, clear_leftovers, decode_line, mark, unpack
from seqkd.uptodate import content_hash

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_AUDIO = (".flac", ".wav", ".mp3", ".ogg", ".opus")


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of a tar archive."""
    return path.name.lower().endswith(ARCHIVES)


def archives_of(path: Path) -> list[Path]:
    """The archives that a path names: itself, or those of a folder."""
    if path.is_file():
        return [path] if is_archive(path) else []
    return sorted(file for file in path.iterdir() if file.is_file() and is_archive(file))


def read_archives(archives: list[Path], folder: Path) -> list[Item]:
    """Read samples as WebDataset has them: files of one name but for their suffixes, audio and ``.txt`` or ``.json``.

    Args:
        archives: To be unpacked; what was unpacked of an archive of the same content is used again.
        folder: Where to: a folder of its content's hash for each.

    Raises:
        DataError: An archive is damaged, or unsafe; or a sample has no transcript.
    """
    items = []
    clear_leftovers(folder)  # of archives that have changed since, too
    for archive in archives:
        if archive.suffix.lower() == ".zst" and "zst" not in tarfile.TarFile.OPEN_METH:  # before Python 3.14
            to = archive.with_name(archive.name[: -len(".tar.zst")])
            raise DataError(
                f"{archive} is packed by Zstandard, which this Python does not read; unpack it with: mkdir -p "
                f"{shlex.quote(str(to))} && tar --zstd -xf {shlex.quote(str(archive))} -C {shlex.quote(str(to))}, and "
                f"name {to} in its place."
            )
        place = folder / content_hash(archive)
        if not (place / OURS).is_file():  # earlier versions wrote no mark, nor noticed all damage
            try:
                with atomic_directory(place) as temporary:
                    unpack(archive, temporary)
                    mark(temporary)
            except tarfile.TarError as error:
                raise DataError(f"{archive} cannot be unpacked ({error}); get it again.") from error
        for audio in sorted(file for file in place.rglob("*") if file.suffix.lower() in _AUDIO and file.is_file()):
            name = str(audio.relative_to(place))
            # Not of the archive's content, which changes when samples are added to it.
            items.append(replace(_sample(audio, f"{archive}, {name}"), name=name, apart=_stem(archive)))
    if not items:
        raise DataError(f"{archives[0]} holds no audio; expected files named *{', *'.join(_AUDIO)}.")
    return items


def read_samples(folder: Path) -> list[Item]:
    """Read such samples from a folder, into which someone has unpacked an archive; [] if no audio has a text beside it.

    Raises:
        DataError: What lies beside an audio file cannot be read.
    """
    audio = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _AUDIO and file.is_file())
    items = [_sample(file, str(file)) for file in audio]
    bare = [item for item in items if item.text is None]
    if bare and len(bare) < len(items):
        raise DataError(
            f"{bare[0].where} has no text beside it ({len(bare)} of {len(items)} have none); expected it in a file of "
            "that name with .txt or .json in place of its suffix: write it, or move the audio elsewhere."
        )
    return items if not bare else []


def _stem(archive: Path) -> str:
    """The name of an archive without its suffixes."""
    return archive.name[: archive.name.lower().rindex(".tar" if ".tar" in archive.name.lower() else ".tgz")]


def _sample(audio: Path, where: str) -> Item:
    text, about = audio.with_suffix(".txt"), audio.with_suffix(".json")
    found: dict[str, Any] = {}
    if about.is_file():
        try:
            content = json.loads(about.read_bytes())
            found = {name: value for name, value in content.items() if value is not None}
        except (ValueError, AttributeError) as error:
            raise DataError(f"{where}: {about.name} is no JSON object ({error}).") from error
    said, speaker = (
        next((as_text(found[name], name, f"{where}: {about.name}") for name in COLUMNS[column] if name in found), None)
        for column in ("text", "speaker")
    )
    if said is None and text.is_file():
        said = decode_line(text.read_bytes(), f"{where}: {text.name}")
    return Item(where, audio, None if said is None else " ".join(said.split()), speaker or None)
