"""Drafts into files, the format by the file's name; all files of a song appear, or none does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path
from seqkd.shots.editing import export_otio, export_text, storyboard
from seqkd.shots.editing.timeline import Timeline

TOGETHER = ("json", "html")  # formats that hold all drafts in one file
SINGLE: dict[str, Callable[[Timeline, Path], str]] = {
    "csv": lambda cut, folder: export_text.to_csv(cut),
    "srt": lambda cut, folder: export_text.to_srt(cut),
    "edl": lambda cut, folder: export_text.to_edl(cut),
    "otio": lambda cut, folder: export_otio.to_otio(cut),
    "fcpxml": export_otio.to_fcpxml,
}
FORMATS = ("otio", "fcpxml", "edl", "csv", "srt", "json", "html")


def format_of(path: Path) -> str:
    """The format that a file's name asks for; ConfigError for one that is not known."""
    name = path.suffix.lower().removeprefix(".")
    if name not in FORMATS:
        raise ConfigError(
            f"-o {path}: {path.suffix or 'a name without an ending'} is no format of a cut; expected one of "
            f"{', '.join('.' + known for known in FORMATS)}."
        )
    return name


def check_libraries(formats: Sequence[str]) -> None:
    """Raise ConfigError, with the way to get it, where a format's library is missing."""
    if "otio" in formats:
        export_otio.require_otio()
    if "fcpxml" in formats:
        export_otio.require_fcpxml()


def check_place(path: Path) -> None:
    """Raise ConfigError where a file cannot be written, before any work is done."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if path.is_dir():
        raise ConfigError(f"-o {path} is a directory, expected a file; name another.")
    if not folder.is_dir():
        raise ConfigError(f"-o {path} cannot be written: {folder} is not a directory; name another place.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"-o {path} cannot be written: {folder} is not writable; name another place.")


def file_names(path: Path, drafts: int) -> list[Path]:
    """Where the drafts go: ``cut.edl``, ``cut-draft1.edl``, ...; formats that hold all need one file."""
    if format_of(path) in TOGETHER:
        return [path]
    return [path, *(path.with_name(f"{path.stem}-draft{number}{path.suffix}") for number in range(1, drafts))]


def write_drafts(paths: Sequence[Path], drafts: Sequence[Timeline]) -> list[Path]:
    """Write the drafts of a song to each of ``paths``; return every file written.

    All is written beside its place first and then moved there, so that a full disk leaves no half of a set.

    Raises:
        DataError: A file cannot be written, or the song cannot be read again for its waveform.
    """
    written = []
    waveform: list[int] | None = None
    try:
        with contextlib.ExitStack() as stack:
            for path in paths:
                name, folder = format_of(path), path.parent
                if name == "html":
                    if waveform is None:
                        waveform = storyboard.peaks(drafts[0].audio, drafts[0].duration)
                    texts = [storyboard.to_html(drafts, waveform, folder)]
                elif name == "json":
                    texts = [export_text.to_json(drafts, folder)]
                else:
                    texts = [SINGLE[name](cut, folder) for cut in drafts]
                for place, text in zip(file_names(path, len(drafts)), texts, strict=True):
                    temporary = stack.enter_context(atomic_path(place))
                    temporary.write_text(text, encoding="utf-8", newline="\n")
                    written.append(place)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; name another place with -o.") from error
    return written
