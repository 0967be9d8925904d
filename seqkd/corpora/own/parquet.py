"""Recordings in Parquet tables, as the Hugging Face hub has corpora: unpacked once, beside the sets."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from seqkd.corpora.own.convert import short_name
from seqkd.corpora.own.layouts import Splits, split_of
from seqkd.corpora.own.tables import Item, as_text, find_columns
from seqkd.disk import disk_fault
from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_directory, clear_leftovers
from seqkd.uptodate import content_hash

SUFFIX = ".parquet"
_ROWS = 64  # that are in memory at once
_SUFFIX = 8  # bytes of what can be one, as of .flac


def tables_of(path: Path) -> list[Path]:
    """The tables that a path names: itself, or those of a folder, or of its folder ``data``."""
    if path.is_file():
        return [path] if path.suffix.lower() == SUFFIX else []
    return sorted(path.glob(f"*{SUFFIX}")) or sorted((path / "data").glob(f"*{SUFFIX}"))


def read_parquet(tables: list[Path], columns: Mapping[str, str | None], folder: Path) -> Splits:
    """Read tables with a column of audio, ``struct<bytes: binary, path: string>``, and columns of text and speaker.

    Args:
        tables: ``train-00000-of-00002.parquet`` and the like: what the names begin with says the split.
        columns: The tables' own names of ``path`` (the audio), ``text``, ``speaker`` and ``id``; of those that are
            missing or None, the usual ones are looked for.
        folder: Where audio is unpacked to: a folder of its content's hash for each table. What was unpacked of a
            table of the same content is used again.

    Returns:
        Utterances by split; "all" where there are no splits.

    Raises:
        ConfigError: pyarrow is not installed.
        DataError: A table is damaged, has no such column of audio, or a row of it has no audio.
    """
    splits: Splits = {}
    clear_leftovers(folder)
    for table in tables:
        split = split_of(table.name) if len(tables) > 1 else None
        splits.setdefault(split or "all", []).extend(_read(table, columns, folder))
    if "train" in splits and "all" in splits:
        odd = splits["all"][0].where
        raise DataError(f"There are tables named train*, dev* or test*, and others ({odd}); name one kind.")
    return splits if "train" in splits else {"all": [item for items in splits.values() for item in items]}


def _read(table: Path, given: Mapping[str, str | None], folder: Path) -> list[Item]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError("pyarrow is not installed; install it with: pip install 'seqkd[parquet]'") from error
    place = folder / content_hash(table)
    try:
        with parquet.ParquetFile(table) as file:
            names = find_columns(table, file.schema_arrow.names, {**given, "path": _audio_column(file, table, given)})
            if not place.is_dir():
                with atomic_directory(place) as temporary:
                    for number, row in enumerate(_rows(file, [names["path"]])):
                        _write(row[names["path"]], temporary, number, f"{table}, row {number + 1}")
            audio = {int(one.name.partition("-")[0]): one for one in place.iterdir()}
            others = {column: name for column, name in names.items() if column != "path"}
            return [
                replace(
                    _item(f"{table}, row {number + 1}", audio[number], others, row),
                    name=audio[number].name.partition("-")[2],
                    apart=f"{table.stem}-{number}",
                )
                for number, row in enumerate(_rows(file, list(others.values())))
            ]
    except (arrow.ArrowException, OSError) as error:
        if disk_fault(error):  # it is not the table that is at fault
            raise
        raise DataError(f"{table} cannot be read as Parquet ({' '.join(str(error).split())}); get it again.") from error


def _audio_column(file: Any, table: Path, given: Mapping[str, str | None]) -> str:
    """The one with bytes; a path beside it, as in the hub's LibriSpeech, is one of another machine."""
    schema = file.schema_arrow
    kinds = {name: {field.name for field in schema.field(name).type} for name in _structs(schema)}
    found = [name for name, fields in kinds.items() if "bytes" in fields]
    named = given.get("path")
    if named in found or (named is None and len(found) == 1):
        return named or found[0]
    raise DataError(
        f"{table} has {len(found)} columns of audio ({', '.join(found) or 'its columns: ' + ', '.join(schema.names)}); "
        "expected one, struct<bytes, path>, or its name in corpus.columns.path."
    )


def _structs(schema: Any) -> list[str]:
    from pyarrow import types

    return [name for name in schema.names if types.is_struct(schema.field(name).type)]


def _rows(file: Any, names: list[str]) -> Any:
    """Rows as dictionaries; as many empty ones where no column is asked for."""
    if not names:
        yield from ({} for _ in range(file.metadata.num_rows))
        return
    for batch in file.iter_batches(_ROWS, columns=names):
        yield from batch.to_pylist()


def _write(audio: Mapping[str, Any] | None, folder: Path, number: int, where: str) -> None:
    import soundfile

    content = (audio or {}).get("bytes")
    if not content:
        raise DataError(f"{where} has no bytes of audio; expected the recording itself, not its path.")
    name = PurePosixPath((audio.get("path") or "").replace("\\", "/"))
    suffix = name.suffix
    if not 1 < len(suffix) <= _SUFFIX:
        try:
            with soundfile.SoundFile(io.BytesIO(content)) as sound:
                name, suffix = PurePosixPath(name.name), f".{sound.format.lower()}"
        except soundfile.SoundFileError as error:
            raise DataError(f"{where}: its audio cannot be read ({error}); get the table again.") from error
    # Where there is no name, the content is one: it stays when other rows come.
    stem = (name.name.removesuffix(suffix) or hashlib.sha256(content).hexdigest()[:12]).replace("\0", "")
    (folder / f"{number:08d}-{short_name(stem)}{suffix}").write_bytes(content)


def _item(where: str, audio: Path, names: Mapping[str, str], row: Mapping[str, Any]) -> Item:
    said = {column: as_text(row[name], name, where) for column, name in names.items()}
    text = " ".join(said["text"].split()) if "text" in names else None
    key = said["id"] if "id" in names and row[names["id"]] is not None else None
    if key is not None and (not key or " " in key):
        raise DataError(f"{where}: {names['id']} is {key!r}; expected one in every row, without spaces.")
    return Item(where, audio, text, said.get("speaker") or None, key)
