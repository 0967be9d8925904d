"""Recordings packed in tar archives, as WebDataset and many corpora have them: unpacked once, beside the sets."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from seqkd.corpora.own.tables import COLUMNS, Item
from seqkd.errors import DataError
from seqkd.files import atomic_directory, decode_line, unpack
from seqkd.uptodate import content_hash

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_AUDIO = (".flac", ".wav", ".mp3", ".ogg", ".opus")


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of a tar archive."""
    return path.name.lower().endswith(ARCHIVES)


def archives_of(path: Path) -> list[Path]:
    """The archives that a path names: itself, or those of a folder that holds nothing else to read."""
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
    for archive in archives:
        place = folder / content_hash(archive)
        if not place.is_dir():
            try:
                with atomic_directory(place) as temporary:
                    unpack(archive, temporary)
            except (tarfile.TarError, EOFError) as error:
                raise DataError(f"{archive} cannot be unpacked ({error}); get it again.") from error
        for audio in sorted(file for file in place.rglob("*") if file.suffix.lower() in _AUDIO):
            name = audio.relative_to(place)
            items.append(_sample(audio, f"{archive}, {name}"))
    if not items:
        raise DataError(f"{archives[0]} holds no audio; expected files named *{', *'.join(_AUDIO)}.")
    return items


def _sample(audio: Path, where: str) -> Item:
    text, about = audio.with_suffix(".txt"), audio.with_suffix(".json")
    found: dict[str, str] = {}
    if about.is_file():
        try:
            content = json.loads(about.read_bytes())
            found = {name: str(value) for name, value in content.items() if value is not None}
        except (ValueError, AttributeError) as error:
            raise DataError(f"{where}: {about.name} is no JSON object ({error}).") from error
    said = next((found[name] for name in COLUMNS["text"] if name in found), None)
    if said is None and text.is_file():
        said = decode_line(text.read_bytes(), f"{where}: {text.name}")
    speaker = next((found[name] for name in COLUMNS["speaker"] if name in found), None)
    return Item(where, audio, None if said is None else " ".join(said.split()), speaker)
