"""A user's audio, whatever it comes in: what kind it is, is found by looking at it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seqkd.corpora.own.archives import archives_of, read_archives, read_samples
from seqkd.corpora.own.layouts import SPLITS, is_ljspeech, read_cuts, read_layout, read_ljspeech
from seqkd.corpora.own.parquet import read_parquet, tables_of
from seqkd.corpora.own.tables import SUFFIXES, Item, read_table
from seqkd.data.kaldi import read_data_dir
from seqkd.data.sound import converted_by_ffmpeg, is_video
from seqkd.errors import DataError

AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".sph", ".w64", ".au", ".caf")
KALDI = "Kaldi data directory"
AUDIO_FOLDER = "folder of audio"
_TAR, _PARQUET = "tar archives", "Parquet tables"
_NOT = "is not what was expected"
METADATA = tuple(f"metadata{suffix}" for suffix in SUFFIXES)
_EXPECTED = (
    "a Kaldi data directory (wav.scp, text, utt2spk), a folder of audio with metadata.csv, .tsv or .jsonl, "
    "a folder with such folders train, dev and test, the layout of LibriSpeech, AISHELL, LJSpeech or Common Voice, or "
    "a table named *.csv, *.tsv, *.jsonl (NeMo's manifests and lhotse's cuts are such) or *.parquet"
)


@dataclass(frozen=True)
class Source:
    """What was found at a path.

    Attributes:
        path: Where.
        kind: What it is, in words.
        root: What its audio's names are told apart by.
        items: Its utterances, by split: the only one is called ``all`` if there are no splits.
        folders: Those of the splits, where each has one.
    """

    path: Path
    kind: str
    root: Path
    items: dict[str, list[Item]]
    folders: tuple[Path, ...] = ()


def read_source(
    path: Path,
    columns: Mapping[str, str | None],
    audio_root: Path | None = None,
    *,
    labelled: bool = True,
    unpacked: Path | None = None,
) -> Source:
    """Read what a path names.

    Args:
        path: A Kaldi data directory, an audio folder as the Hugging Face hub has them (with ``metadata.csv`` or
            ``.jsonl``), a folder with a folder of either form for each split, or a table.
        columns: See ``read_table``.
        audio_root: What a table's relative paths start from.
        unpacked: Where archives and Parquet tables are unpacked; None refuses them.
        labelled: Whether transcripts are needed; if not, a folder of audio files (and folders of them) will do.

    Raises:
        DataError: There is nothing there, it is none of these, or it is broken.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist{'' if path.is_absolute() else f' in {Path.cwd()}'}; mend the path.")
    archives = archives_of(path) if unpacked is not None else []
    tables = tables_of(path) if unpacked is not None else []
    own = None if path.is_file() and (archives or tables) else _read_own(path, columns, audio_root)
    if own is None and path.is_dir():
        own = _read_texts(path) if labelled else _read_audio(path)
    kinds = [f"{own.kind} ({next(iter(own.items.values()))[0].where})"] if own is not None else []
    kinds += [f"{kind} ({found[0].name})" for kind, found in ((_TAR, archives), (_PARQUET, tables)) if found]
    if len(kinds) > 1 and not (own is not None and own.kind == KALDI):  # which names the audio that it is of
        raise DataError(
            f"{path} holds {' and '.join(kinds)}, of which only one can be meant; name its file, or move the others "
            "elsewhere."
        )
    if own is not None:
        return own
    if archives:
        return Source(path, _TAR, unpacked, {"all": read_archives(archives, unpacked)})
    if tables:
        return Source(path, _PARQUET, unpacked, read_parquet(tables, columns, unpacked))
    audio = any(file.suffix.lower() in AUDIO for file in path.rglob("*"))
    said = "holds no audio" if not labelled else "holds audio, but no transcripts" if audio else _NOT
    if not labelled:
        raise DataError(f"{path} {said}; expected files named *{', *'.join(AUDIO)}.")
    raise DataError(f"{path} {said}; expected {_EXPECTED}.")


def _read_own(path: Path, columns: Mapping[str, str | None], audio_root: Path | None) -> Source | None:
    """Read a table, or a folder with a table or a layout; None if a folder has none."""
    if path.is_file():
        if path.name.lower().endswith((".jsonl", ".jsonl.gz", ".json")) and _is_cuts(path):
            return Source(path, "lhotse cuts", audio_root or path.parent, {"all": read_cuts(path, audio_root)})
        if path.suffix.lower() not in (*SUFFIXES, ".json"):
            raise DataError(f"{path} {_NOT}: {_EXPECTED}.")
        if is_ljspeech(path):
            return Source(path, "LJSpeech", path.parent, {"all": read_ljspeech(path)})
        return Source(path, "table", audio_root or path.parent, {"all": read_table(path, columns, audio_root)})
    layout = read_layout(path, columns)
    if layout is not None:
        return Source(path, layout[0], path, layout[1])
    found = _read_folder(path, columns)
    if found is not None:
        kind, items = found
        return Source(path, kind, path, {"all": items})
    splits: dict[str, list[Item]] = {}
    kinds, read_from = set(), []
    for split, names in SPLITS.items():
        folders = [path / name for name in names if (path / name).is_dir()]
        if len(folders) > 1:
            raise DataError(f"{path} has both {folders[0].name} and {folders[1].name}; keep one of them.")
        read = _read_folder(folders[0], columns) if folders else None
        if read is not None:
            kinds.add(read[0])
            splits[split] = read[1]
            read_from.append(folders[0])
    if "train" in splits:
        kind = f"{' and '.join(sorted(kinds))} for each of {', '.join(splits)}"
        return Source(path, kind, path, splits, tuple(read_from))
    return None


def _read_texts(path: Path) -> Source | None:
    """Read a folder of audio with a text beside each file; None if none has one."""
    samples = read_samples(path)
    return Source(path, "folder of audio with texts", path, {"all": samples}) if samples else None


def _read_audio(path: Path) -> Source | None:
    """Find the audio files of a folder and the folders in it; None if there are none."""
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO and file.is_file())
    videos = sorted(file for file in path.rglob("*") if is_video(file) and file.is_file())
    if videos and not files:
        raise DataError(f"{videos[0]} {converted_by_ffmpeg(videos[0])}")
    if videos:
        print(
            f"{path}: {len(videos)} files are left out: {videos[0]} {converted_by_ffmpeg(videos[0])}",
            file=sys.stderr,
        )
    if not files:
        return None
    # Of files of one name, such as a.mp3 beside an older a.wav, the first has an id of that name alone.
    files.sort(key=lambda file: (file.with_suffix(""), AUDIO.index(file.suffix.lower())))
    return Source(path, AUDIO_FOLDER, path, {"all": [Item(str(file), file) for file in files]})


def _is_cuts(path: Path) -> bool:
    """Whether a file of JSON lines holds lhotse's cuts."""
    import gzip

    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            first = json.loads(file.readline())
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and ("supervisions" in first or "MonoCut" in str(first.get("type")))


def _read_folder(folder: Path, columns: Mapping[str, str | None]) -> tuple[str, list[Item]] | None:
    """Return kind and utterances of a Kaldi data directory or an audio folder; None if it is neither."""
    if (folder / "wav.scp").is_file():
        return KALDI, [
            Item(f"{folder / 'utt2spk'}, {u.id}", u.audio, u.text, u.speaker, u.id, u.start, u.end)
            for u in read_data_dir(folder, lenient=True)
        ]
    tables = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(tables) > 1:
        raise DataError(f"{folder} has both {tables[0].name} and {tables[1].name}; keep one of them.")
    if tables:
        return "audio folder", read_table(tables[0], columns, inside=True)
    return None
