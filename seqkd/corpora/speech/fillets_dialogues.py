"""Acted, recorded speech without an account: the dialogues of the game Fish Fillets NG in Czech and Dutch (GPL-2).

Some three hours, short lines of two fish and whom they meet, with the reverberation and noises of the game. Lines are
split by level, in both languages alike; a text that occurs in several splits is in training alone.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.corpora.corpus import (
    Ledger,
    check_keys,
    check_sets,
    derive,
    fingerprint,
    number,
    plain,
)
from seqkd.corpora.speech.fillets_lines import LANGUAGES, Line, fetch_game, read_lines
from seqkd.data.kaldi import Utterance
from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path

DEFAULT_SHARES = {"train": 0.8, "dev": 0.08, "test": 0.12}
_SET_KEYS = ("split", "languages", "transcripts")
_VERSION = 1  # of how audio is written


def split_lines(lines: list[Line], shares: Mapping[str, float], seed: int) -> dict[str, list[Line]]:
    """Split by level, so that every split gets about its share of the seconds; each split sorted by id.

    A text (of one language) that would be in several splits goes to the one with the largest share, with all its
    lines. The same lines, shares and seed always give the same splits.

    Raises:
        DataError: A split gets nothing.
    """
    seconds: dict[str, float] = {}
    for line in lines:
        seconds[line.level] = seconds.get(line.level, 0.0) + line.seconds
    levels = sorted(seconds)
    random.Random(f"{seed} splits").shuffle(levels)
    total, taken = sum(seconds.values()), dict.fromkeys(shares, 0.0)
    split_of: dict[str, str] = {}
    for level in levels:
        split = max(shares, key=lambda name: shares[name] - taken[name] / total)
        split_of[level] = split
        taken[split] += seconds[level]
    where: dict[tuple[str, str], set[str]] = {}
    for line in lines:
        where.setdefault((line.language, line.text), set()).add(split_of[line.level])
    largest = max(shares, key=lambda name: shares[name])
    splits: dict[str, list[Line]] = {name: [] for name in shares}
    for line in sorted(lines, key=lambda line: line.id):
        again = len(where[line.language, line.text]) > 1
        splits[largest if again else split_of[line.level]].append(line)
    if empty := [name for name, chosen in splits.items() if not chosen]:
        raise DataError(f"Split {empty[0]!r} gets none of the {len(levels)} levels; give it a larger share.")
    return splits


def _check_base_set(name: str, settings: dict[str, Any], shares: Mapping[str, float]) -> dict[str, Any]:
    """Return the settings of a set with all defaults filled in."""
    if settings.get("split") not in shares:
        raise ConfigError(f"Set {name!r}: split is {settings.get('split')!r}, expected one of {', '.join(shares)}.")
    languages = settings.get("languages", [*LANGUAGES])
    if not isinstance(languages, list) or not languages or set(languages) - set(LANGUAGES):
        raise ConfigError(f"Set {name!r}: languages are {languages!r}, expected some of {', '.join(LANGUAGES)}.")
    return {"split": settings["split"], "languages": languages}


def _write(line: Line, path: Path, sample_rate: int) -> None:
    import soundfile
    import soxr

    samples, rate = soundfile.read(line.audio, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(1), rate, sample_rate)
    with atomic_path(path) as temporary:
        soundfile.write(
            temporary, np.round(np.clip(mono, -1, 1) * 32767).astype(np.int16), sample_rate, "PCM_16", format="FLAC"
        )


def make_corpus(
    data_dir: Path | str,
    *,
    nj: int,
    seed: int,
    sets: Mapping[str, Any],
    sample_rate: int = 16000,
    shares: Mapping[str, float] | None = None,
    max_seconds: float = 20.0,
    downloads: Path | str | None = None,
) -> None:
    """Make the corpus: audio in ``<data_dir>/audio/<language>/``, data directories in ``<data_dir>/<set>/``.

    What is there and was made from the same settings is kept.

    Args:
        data_dir: Where to put it.
        nj: Files written at the same time; the result does not depend on it.
        seed: Decides which level is in which split, and which lines are in a subset.
        sets: Settings by set name. A set is either ``split`` (train, dev or test) and ``languages`` (some of cs, nl;
            all if not given), or it is derived, with ``subset_of`` (a set), ``without`` (a set whose lines are left
            out) and ``utterances`` (how many lines); each may have ``transcripts`` (false: no ``text``).
        sample_rate: In Hz; most recordings have 22050.
        shares: What part of the seconds every split gets; ``DEFAULT_SHARES`` if None.
        max_seconds: Longer recordings are left out.
        downloads: Where the game's data are or will be; ``downloads`` beside ``data_dir`` if None.

    Raises:
        ConfigError: A setting is wrong; the message names it and what was expected.
        DataError: The recordings cannot be had, or are not what they should be.
    """
    from seqkd.progress import ProgressBar

    data_dir, sets = Path(data_dir), plain(sets)
    order = check_sets(sets, _SET_KEYS)
    shares = plain(shares or DEFAULT_SHARES)
    check_keys("The shares", shares, DEFAULT_SHARES)
    sizes = {split: number(f"The share of {split!r}", share, 0.001, 1) for split, share in shares.items()}
    number("sample_rate", sample_rate, 8000, 48000)
    number("max_seconds", max_seconds, 0.1, 3600)
    base = {name: _check_base_set(name, sets[name], sizes) for name in order if "subset_of" not in sets[name]}

    lines, dropped = read_lines(
        fetch_game(Path(downloads) if downloads else data_dir.parent / "downloads"), max_seconds
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
    print(f"{len(lines)} lines; left out: {reasons or 'none'}", file=sys.stderr)
    splits = split_lines(lines, sizes, seed)

    ledger = Ledger(data_dir)
    wanted: dict[Path, Line] = {}
    utterances: dict[str, Utterance] = {}
    for language in sorted({language for one in base.values() for language in one["languages"]}):
        spoken = [line for line in lines if line.language == language]
        mark = fingerprint(_VERSION, sample_rate, [[line.id, line.audio.stat().st_size] for line in spoken])
        folder = ledger.begin_audio(language, mark)
        paths = {line.id: folder / f"{line.id}.flac" for line in spoken}
        there = set(folder.iterdir())
        for leftover in there - set(paths.values()):
            leftover.unlink()
        wanted |= {paths[line.id]: line for line in spoken if paths[line.id] not in there}
        utterances |= {line.id: Utterance(line.id, paths[line.id], line.speaker, line.text) for line in spoken}
    if wanted:
        with (
            ThreadPoolExecutor(max(nj, 1)) as pool,
            ProgressBar(total=len(wanted), desc="lines", unit="utt") as bar,
        ):
            try:
                for _ in pool.map(lambda path: _write(wanted[path], path, sample_rate), wanted):
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    made: dict[str, list[Utterance]] = {}
    for name in order:
        if name in base:
            chosen, languages = splits[base[name]["split"]], base[name]["languages"]
            made[name] = [utterances[line.id] for line in chosen if line.language in languages]
        else:
            made[name] = derive(name, sets[name], made, seed)
        ledger.write_set(name, made[name], bool(sets[name].get("transcripts", True)))
