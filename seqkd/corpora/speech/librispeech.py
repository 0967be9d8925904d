"""LibriSpeech as Kaldi data directories: from where it lies, or downloaded.

A part (``train-clean-100``, ``dev-other``, ...) is a folder ``<speaker>/<chapter>/`` with one FLAC file an utterance,
``<speaker>-<chapter>-<number>.flac``, and ``<speaker>-<chapter>.trans.txt``: lines of an utterance id and upper-case
words (Panayotov et al. 2015). The FLAC files are used where they lie; nothing is converted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seqkd.corpora.corpus import check_sets, derive, plain
from seqkd.corpora.speech.audio_sets import read_headers, update_data_dir
from seqkd.corpora.speech.librispeech_download import PARTS, download
from seqkd.data.kaldi import Utterance
from seqkd.errors import ConfigError, DataError
from seqkd.files import decode_line

RATE = 16000  # Hz, of every file
_SET_KEYS = ("parts", "transcripts")


@dataclass(frozen=True)
class TranscriptLine:
    """A line of a ``.trans.txt``: what is said, and where it stands."""

    text: str
    file: Path
    line: int


def _read_transcripts(file: Path) -> dict[str, TranscriptLine]:
    """Return the transcripts of a chapter by utterance id."""
    chapter = file.name.removesuffix(".trans.txt")
    found: dict[str, TranscriptLine] = {}
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
    for number_, raw in enumerate(content.splitlines(), start=1):
        where = f"{file}, line {number_}"
        key, _, text = decode_line(raw, where).strip().partition(" ")
        if not key.startswith(f"{chapter}-"):
            raise DataError(f"{where}: found {key!r}, expected an utterance id that begins with {chapter}-.")
        if not text.strip():
            raise DataError(f"{where}: the transcript of {key} is empty; get the file again.")
        if key in found:
            raise DataError(f"{where}: {key} is there already, on line {found[key].line}; get the file again.")
        found[key] = TranscriptLine(" ".join(text.split()), file, number_)
    if not found:
        raise DataError(f"{file} is empty; expected an utterance id and its words on each line; get the file again.")
    return found


def read_part(folder: Path) -> list[Utterance]:
    """Return the utterances of a part, sorted by id; files are looked for, but not opened.

    Raises:
        DataError: The folder is not a part of LibriSpeech, a transcript lacks its audio or the reverse; the message
            names the file and line.
    """
    transcripts: dict[str, TranscriptLine] = {}
    for file in sorted(folder.glob("*/*/*.trans.txt")):
        expected = f"{file.parent.parent.name}-{file.parent.name}.trans.txt"
        if file.name != expected:
            raise DataError(f"{file} is in the wrong folder, or misnamed: expected {expected} there.")
        transcripts |= _read_transcripts(file)
    audio = {file.stem: file for file in sorted(folder.glob("*/*/*.flac"))}
    if not transcripts and not audio:
        raise DataError(
            f"{folder} holds nothing of the form <speaker>/<chapter>/<speaker>-<chapter>.trans.txt; "
            f"expected a part of LibriSpeech, unpacked."
        )
    missing = [key for key in transcripts if key not in audio]
    if missing:
        first = transcripts[missing[0]]
        raise DataError(
            f"{first.file}, line {first.line}: {first.file.parent / missing[0]}.flac is missing"
            f"{_in_all(missing)}; unpack or download {folder.name} again."
        )
    untold = [key for key in audio if key not in transcripts]
    if untold:
        file = audio[untold[0]]
        raise DataError(
            f"{file} has no transcript in {file.parent.parent.name}-{file.parent.name}.trans.txt beside it"
            f"{_in_all(untold)}; unpack or download {folder.name} again."
        )
    for key, file in audio.items():
        if file.parent != transcripts[key].file.parent:
            raise DataError(f"{file} is in the wrong folder; its transcript is in {transcripts[key].file}.")
    return [Utterance(key, audio[key], key.partition("-")[0], transcripts[key].text) for key in sorted(transcripts)]


def _in_all(found: list[str]) -> str:
    return f" ({len(found)} such files in all)" if len(found) > 1 else ""


def _check_audio(part: str, utterances: list[Utterance], nj: int) -> float:
    """Look into every file's header; returns the hours of a part. Raises DataError for the first fault."""
    again = f"unpack or download {part} again"
    headers = read_headers([utterance.audio for utterance in utterances], nj, part, again)
    for file, header in headers.items():
        if (header.sample_rate, header.channels) != (RATE, 1):
            raise DataError(
                f"{file} has {header.sample_rate} Hz and {header.channels} channels, but LibriSpeech has {RATE} Hz "
                f"and one; {again}."
            )
    return sum(header.seconds for header in headers.values()) / 3600


def find_root(root: Path | str | None) -> Path | None:
    """Return the folder that holds the parts: ``root``, else the environment's LIBRISPEECH, or LibriSpeech/ in it.

    Raises:
        DataError: The one that is named is not there, or holds no part.
    """
    said = "corpus.root" if root else "LIBRISPEECH (the environment, or local/db.sh)"
    named = str(root or os.environ.get("LIBRISPEECH", ""))
    if not named:
        return None
    for folder in (Path(named), Path(named) / "LibriSpeech"):
        if any((folder / part).is_dir() for part in PARTS):
            return folder
    state = "holds no part of LibriSpeech" if Path(named).is_dir() else "is not a directory"
    raise DataError(
        f"{said} is {named}, which {state}; expected a directory with dev-clean and others, as unpacked, or leave "
        "it empty to have them downloaded."
    )


def make_corpus(
    data_dir: Path | str,
    *,
    nj: int,
    sets: Mapping[str, Any],
    root: Path | str | None = None,
    downloads: Path | str | None = None,
    seed: int = 0,
) -> None:
    """Make a data directory ``<data_dir>/<set>/`` of each set. What is there and unchanged is kept.

    Args:
        data_dir: Where to put them.
        nj: Audio files looked into at the same time.
        sets: Settings by set name. A set is made of ``parts`` (as in ``[train-clean-100]``), maybe without
            ``transcripts`` (false: unlabelled); or it is derived, with ``subset_of`` (a set), ``without`` (a set whose
            utterances are left out), ``utterances`` (how many) and ``transcripts``.
        root: Where the corpus lies; None: where the environment's LIBRISPEECH says (``local/db.sh`` sets it), and if
            that is empty, parts are downloaded.
        downloads: Where to; ``downloads`` beside ``data_dir`` if None.
        seed: Decides which utterances a subset has.

    Raises:
        ConfigError: A setting is wrong.
        DataError: A part is missing or damaged, or cannot be downloaded.
    """
    data_dir, sets = Path(data_dir), plain(sets)
    order = check_sets(sets, _SET_KEYS)
    base = {name: _parts_of(name, sets[name]) for name in order if "subset_of" not in sets[name]}
    wanted = [part for part in PARTS if any(part in parts for parts in base.values())]
    place = find_root(root)
    if place is None:
        place = download(wanted, Path(downloads) if downloads else data_dir.parent / "downloads")
    for part in wanted:
        if not (place / part).is_dir():
            raise DataError(
                f"{place} has no {part}; unpack it there, or leave corpus.root and LIBRISPEECH empty to have "
                "all parts downloaded."
            )
    found: dict[str, list[Utterance]] = {}
    for part in wanted:
        found[part] = read_part(place / part)
        hours = _check_audio(part, found[part], nj)
        note = "" if len(found[part]) == PARTS[part] else f"; the whole part has {PARTS[part]}"
        print(f"{part}: {len(found[part])} utterances, {hours:.1f} h{note}", file=sys.stderr)

    made: dict[str, list[Utterance]] = {}
    for name in order:
        if name in base:
            made[name] = [utterance for part in base[name] for utterance in found[part]]
        else:
            made[name] = derive(name, sets[name], made, seed)
        labelled = sets[name].get("transcripts", True)
        utterances = made[name] if labelled else [replace(utterance, text=None) for utterance in made[name]]
        update_data_dir(data_dir / name, utterances)


def _parts_of(name: str, settings: Mapping[str, Any]) -> list[str]:
    parts = settings.get("parts")
    if not isinstance(parts, list) or not parts or set(parts) - set(PARTS) or len(set(parts)) < len(parts):
        raise ConfigError(f"Set {name!r}: parts is {parts!r}, expected a list of different ones of {', '.join(PARTS)}.")
    return parts
