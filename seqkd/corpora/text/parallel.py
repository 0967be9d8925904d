"""Parallel corpora: what all of them share, and the importer of a user's own sentence pairs."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqkd.corpora.corpus import check_apart, check_keys, plain
from seqkd.corpora.text.parallel_files import FoundPair, empty_sides, read_rows
from seqkd.corpora.text.parallel_split import split_groups
from seqkd.errors import ConfigError, DataError
from seqkd.files import check_ours, mark, write_json
from seqkd.translation.pairs import SentencePair, filter_pairs, pairs_fingerprint, read_pairs, write_pairs


def whole(what: str, value: Any) -> int:
    """Return ``value`` if it is a whole number from 1; else raise ConfigError about ``what``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{what} is {value!r}, expected a whole number from 1.")
    return value


def remove_repeats(sets: Mapping[str, list[SentencePair]]) -> tuple[dict[str, list[SentencePair]], dict[str, int]]:
    """Take pairs out of a set whose source (whatever its case) is also in a later one.

    Args:
        sets: Pairs by set name, the ones to be kept whole last: train, dev, test.

    Returns:
        The sets, and how many pairs each one lost.
    """
    kept: dict[str, list[SentencePair]] = {}
    seen: set[str] = set()
    for name in reversed(list(sets)):
        kept[name] = [pair for pair in sets[name] if pair.source.casefold() not in seen]
        seen |= {pair.source.casefold() for pair in sets[name]}
    return {name: kept[name] for name in sets}, {name: len(sets[name]) - len(kept[name]) for name in sets}


def write_corpus(data_dir: Path, sets: Mapping[str, list[SentencePair]], made_from: Mapping[str, Any]) -> None:
    """Write every set, then ``origin.json``: what they were made from, their sizes; prints a line a set.

    Raises:
        DataError: A set would be empty, or take the place of what seqkd did not write.
    """
    empty = [name for name, pairs in sets.items() if not pairs]
    if empty:
        raise DataError(
            f"Set {empty[0]!r} of {data_dir} would be empty: all of its pairs were filtered out or are also in "
            "another set; give it more text."
        )
    for name in sets:
        check_ours(data_dir / name)
    sizes = {}
    for name, pairs in sets.items():
        (data_dir / name).mkdir(parents=True, exist_ok=True)
        mark(data_dir / name)  # which stays when the set is written
        write_pairs(data_dir / name, pairs)
        source, target = (sum(words) for words in zip(*(pair.words for pair in pairs), strict=True))
        sizes[name] = {
            "pairs": len(pairs),
            "source_words": source,
            "target_words": target,
            "fingerprint": pairs_fingerprint(read_pairs(data_dir / name)),
        }
        print(f"{name}: {len(pairs)} pairs, {source} source words, {target} target words", file=sys.stderr)
    write_json(data_dir / "origin.json", {**made_from, "sets": sizes})


def is_made(data_dir: Path, print_: str) -> bool:
    """Whether ``data_dir`` holds, unchanged, the sets that were made from settings with this fingerprint."""
    try:
        known = json.loads((data_dir / "origin.json").read_text(encoding="utf-8"))
        return known["settings"] == print_ and all(
            pairs_fingerprint(read_pairs(data_dir / name)) == entry["fingerprint"]
            for name, entry in known["sets"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):  # none yet, or not ours
        return False


def _read_source(what: str, source: Any, target: Any, group: str | None, drop_empty: bool) -> list[FoundPair]:
    """Return the rows of one source; lines without text are an error unless they will be dropped."""
    if not isinstance(source, str | Path) or not str(source):
        raise ConfigError(
            f"{what} is {source!r}, expected a text file or a table named *.tsv; "
            "for instance corpus.source=train.en corpus.target=train.de."
        )
    left, right = Path(source), Path(target) if target else None
    for file in (left, right):
        if file is not None and not file.exists():
            raise DataError(f"{file} does not exist{'' if file.is_absolute() else f' in {Path.cwd()}'}; mend the path.")
    rows = read_rows(left, right, group)
    empty = empty_sides(rows, left, right)
    if empty and not drop_empty:
        raise DataError(
            f"There are lines without text ({empty}); mend or remove these pairs, "
            "or leave them out by the setting corpus.drop_empty=true."
        )
    return rows


def make_corpus(
    data_dir: Path | str,
    *,
    nj: int,
    source: Path | str,
    target: Path | str | None = None,
    dev: int | Mapping[str, Any] = 1000,
    test: int | Mapping[str, Any] = 1000,
    seed: int = 1,
    group: str | None = None,
    max_words: int = 200,
    max_ratio: float | None = None,
    drop_empty: bool = False,
) -> None:
    """Import a user's parallel text as the sets train, dev and test.

    Lines of one group stay in one set, and so do lines with the same source where there are no groups. The
    split is kept in ``<data_dir>/split.json``: more data, imported later, go to train. Pairs of train whose
    source is also in dev or test are taken out, and pairs of dev whose source is in test.

    Args:
        data_dir: Where to put the sets.
        nj: Not used: reading is quick.
        source: Text file, one sentence a line; or a table named ``*.tsv`` (see ``parallel_files.read_rows``).
        target: Text file with the translation of every line; None for a table.
        dev: How many pairs to set aside; or ``{source: ..., target: ...}``, files of their own.
        test: Likewise.
        seed: Decides which pairs these are.
        group: Text file with the group (a document, say) of every line, or the table's column that names it.
        max_words: Pairs with more words on a side are left out.
        max_ratio: Pairs where one side has more than so many times the words of the other are left out; None: none.
        drop_empty: Leave out pairs without text on a side; otherwise they are an error.

    Raises:
        ConfigError: A setting is wrong.
        DataError: A file is missing or broken, or a set would be empty; the message names file and line.
    """
    data_dir = Path(data_dir)
    given = {"train": {"source": source, "target": target, "group": group}}
    sizes: dict[str, int] = {}
    for name, wanted in (("test", plain(test)), ("dev", plain(dev))):
        if isinstance(wanted, dict):
            check_keys(name, wanted, ("source", "target"))
            given[name] = {"source": wanted.get("source"), "target": wanted.get("target"), "group": None}
        else:
            sizes[name] = whole(name, wanted)

    sets: dict[str, list[SentencePair]] = {"train": [], "dev": [], "test": []}
    found = {
        name: _read_source(
            "corpus.source" if name == "train" else f"corpus.{name}.source",
            files["source"], files["target"], files["group"], drop_empty,
        )
        for name, files in given.items()
    }  # fmt: skip
    # The group of a table is a column, and no file.
    named = [file for one in given.values() for key, file in one.items() if file and (key != "group" or one["target"])]
    check_apart(map(Path, named), data_dir, sets)
    dropped: dict[str, str] = {}
    for name, files in given.items():
        rows = found[name]
        pairs = [SentencePair(row.id or f"{row.line:07d}", row.source, row.target) for row in rows]
        kept, lost = filter_pairs(pairs, max_words=max_words, max_ratio=max_ratio)
        if not kept:
            raise DataError(f"{files['source']}: none of its {len(pairs)} pairs is usable; left out: {lost}.")
        print(f"{files['source']}: {len(kept)} of {len(pairs)} pairs; left out: {lost}", file=sys.stderr)
        dropped[str(files["source"])] = str(lost)
        places = [name] * len(kept)
        if name == "train" and sizes:
            group_of = {pair.id: row.group or _digest(row.source) for pair, row in zip(pairs, rows, strict=True)}
            places = split_groups([group_of[pair.id] for pair in kept], sizes, seed, data_dir / "split.json")
        for pair, place in zip(kept, places, strict=True):
            sets[place].append(pair)
    sets, repeats = remove_repeats(sets)
    for name, count in repeats.items():
        if count:
            print(f"{name}: {count} pairs taken out whose source is also in dev or test", file=sys.stderr)
    sources = {name: {key: str(file) for key, file in files.items() if file} for name, files in given.items()}
    write_corpus(data_dir, sets, {"sources": sources, "dropped": dropped, "repeats": repeats, "seed": seed})


def _digest(text: str) -> str:
    return hashlib.sha256(text.casefold().encode()).hexdigest()[:16]
