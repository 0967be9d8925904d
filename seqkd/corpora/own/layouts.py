"""Corpora in the layouts in which they are handed out: LibriSpeech, AISHELL, LJSpeech, Common Voice, lhotse's cuts.

Each reader gives the utterances by split ("all" where there are none), or None where a folder is of another layout.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from seqkd.corpora.own.tables import Item, as_text, read_lines_of, read_table
from seqkd.errors import DataError

SPLITS = {
    "train": ("train",),
    "dev": ("dev", "valid", "validation", "val"),
    "test": ("test",),
}
Splits = dict[str, list[Item]]


def split_of(name: str) -> str | None:
    """The split that a folder's or table's name begins with: train-clean-100 is of train."""
    return next((split for split, names in SPLITS.items() if name.lower().startswith(names)), None)


def read_layout(folder: Path, columns: Mapping[str, str | None]) -> tuple[str, Splits] | None:
    """Return the layout's name, and the utterances; None if the folder has none of these layouts.

    Raises:
        DataError: It has, and something in it is wrong.
    """
    if (folder / "clips").is_dir() and (folder / "train.tsv").is_file():
        names = {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv"}
        there = {split: folder / name for split, name in names.items() if (folder / name).is_file()}
        return "Common Voice", {split: read_table(table, columns, folder / "clips") for split, table in there.items()}
    if is_ljspeech(folder / "metadata.csv"):
        return "LJSpeech", {"all": read_ljspeech(folder / "metadata.csv")}
    if aishell := sorted((folder / "transcript").glob("aishell*transcript*.txt")):
        return "AISHELL", _aishell(folder, aishell[0])
    if transcripts := sorted(folder.rglob("*.trans.txt")):
        return "LibriSpeech", _librispeech(folder, transcripts)
    return None


def is_ljspeech(table: Path) -> bool:
    """Whether a table has no header, and bars between the name of a file of ``wavs``, its text and that normalised."""
    try:
        with table.open(encoding="utf-8") as file:
            first = file.readline().split("|")
    except (OSError, UnicodeDecodeError):
        return False
    return len(first) in (2, 3) and (table.parent / "wavs" / f"{first[0]}.wav").is_file()


def read_ljspeech(table: Path) -> list[Item]:
    """Read LJSpeech's ``metadata.csv``: the normalised text where there is one."""
    items = []
    lines = read_lines_of(table)
    for number, fields in enumerate(csv.reader(lines, delimiter="|", quoting=csv.QUOTE_NONE), start=1):
        where = f"{table}, line {number}"
        if len(fields) not in (2, 3):
            raise DataError(f"{where}: found {len(fields)} fields, expected a name, a text, and maybe that normalised.")
        audio = table.parent / "wavs" / f"{fields[0]}.wav"
        items.append(Item(where, _there(audio, where), " ".join(fields[-1].split()), None, fields[0]))
    return items


def _aishell(folder: Path, table: Path) -> Splits:
    """``transcript/aishell_transcript_*.txt`` and ``wav/{train,dev,test}/SPEAKER/ID.wav``; transcripts may be more."""
    texts: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(read_lines_of(table), start=1):
        key, _, text = line.strip().partition(" ")
        texts[key] = (f"{table}, line {number}", " ".join(text.split()))
    splits: Splits = {}
    for split in SPLITS:
        for audio in sorted((folder / "wav" / split).glob("*/*.wav")):
            if audio.stem in texts:  # AISHELL leaves some without a transcript
                where, text = texts[audio.stem]
                splits.setdefault(split, []).append(Item(where, audio, text, audio.parent.name, audio.stem))
    if "train" not in splits:
        raise DataError(f"{folder / 'wav' / 'train'} has no audio with a transcript in {table}; unpack its archives.")
    return splits


def _librispeech(folder: Path, tables: list[Path]) -> Splits:
    """``SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt`` beside ``SPEAKER-CHAPTER-NUMBER.flac``."""
    splits: Splits = {}
    for table in tables:
        parts = table.relative_to(folder).parts
        split = split_of(parts[0]) if len(parts) > 1 else None
        for number, line in enumerate(read_lines_of(table), start=1):
            where = f"{table}, line {number}"
            key, _, text = line.strip().partition(" ")
            audio = next(
                (one for one in (table.parent / f"{key}{end}" for end in (".flac", ".wav")) if one.is_file()), None
            )
            if audio is None:
                raise DataError(f"{where}: the audio file of {key!r} is missing; looked for {table.parent / key}.flac.")
            item = Item(where, audio, " ".join(text.split()), key.partition("-")[0], key)
            splits.setdefault(split or "all", []).append(item)
    if "all" in splits and len(splits) > 1:
        odd = splits["all"][0].where
        raise DataError(
            f"{folder} has transcripts in folders train*, dev* or test*, and others ({odd}); name one kind."
        )
    return splits if "train" in splits else {"all": [item for items in splits.values() for item in items]}


def read_cuts(table: Path, audio_root: Path | None) -> list[Item]:
    """Read lhotse's cuts, ``*.jsonl`` or ``*.jsonl.gz``: an utterance a supervision, with its times in the recording.

    Raises:
        DataError: It cannot be read, a cut has no supervision or several recordings, or its audio is no file.
    """
    from lhotse import CutSet
    from lhotse.cut import MonoCut, MultiCut

    root = audio_root or table.parent
    items = []
    try:
        cuts = list(CutSet.from_file(table))
    except Exception as error:  # what lhotse raises has no common ancestor
        raise DataError(f"{table} cannot be read as lhotse's cuts ({' '.join(str(error).split())}).") from error
    for number, cut in enumerate(cuts, start=1):
        where = f"{table}, line {number}"
        if not isinstance(cut, (MonoCut, MultiCut)) or not cut.has_recording:
            raise DataError(f"{where}: cut {cut.id!r} is no part of a single recording; expected a MonoCut.")
        source, *others = cut.recording.sources
        if source.type != "file" or others:
            raise DataError(
                f"{where}: the audio of {cut.id!r} is a {source.type}, or several files; expected one file, since "
                "nothing that a data file says is ever executed or fetched."
            )
        audio = _there(root / source.source, where)
        for supervision in cut.supervisions:
            start = max(cut.start, cut.start + supervision.start)
            end = min(cut.start + cut.duration, cut.start + supervision.start + supervision.duration)
            key = as_text(supervision.id if len(cut.supervisions) > 1 else cut.id, "id", where)
            text = " ".join(as_text(supervision.text, "text", where).split())
            speaker = as_text(supervision.speaker, "speaker", where) or None
            items.append(Item(where, audio, text, speaker, key, round(start, 6), round(end, 6)))
    if not items:
        raise DataError(f"{table} has no supervisions; expected cuts with transcripts.")
    return items


def _there(audio: Path, where: str) -> Path:
    if not audio.is_file():
        raise DataError(f"{where}: the audio file is missing; looked for {audio}.")
    return audio
