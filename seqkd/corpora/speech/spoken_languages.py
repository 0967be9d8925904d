"""Recordings in twelve languages from Debian's packages, to show what a split by chance is worth: voices are learned.

Prompts of telephone exchanges, letters and syllables of a spelling game, and names of things of a drawing game, each
language from at least two sources. Under a random split the voices and rooms of the test set are those of training;
with a source of every language held out they are new.

Licences, from the packages' copyright files: asterisk-core-sounds and asterisk-prompt-it-menardi CC-BY-SA-3.0,
asterisk-prompt-es-co GPL-2, asterisk-prompt-fr-armelle its own (like BSD's), klettres-data and ktuberling-data GPL-2+.
They are fetched, never distributed with this. Some speakers have recorded several languages, such as the English and
the Mexican Spanish prompts.
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.corpora.class_sets import LabelledClip, update_class_dir, update_classes
from seqkd.corpora.corpus import Ledger, plain
from seqkd.corpora.debian import fetch, packages_of
from seqkd.corpora.speech.acoustics import trim
from seqkd.data.splits import check_shares
from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path, remove_own, write_json
from seqkd.settings import number, one_of
from seqkd.uptodate import content_hashes, fingerprint

LANGUAGES = ("da", "de", "en", "es", "fr", "it", "lt", "nds", "nl", "pt", "ru", "uk")
DEFAULT_SHARES = {"train": 0.7, "dev": 0.1, "test": 0.2}
PACKAGES = (
    *(f"asterisk-core-sounds-{language}-wav" for language in ("en", "es", "fr", "it", "ru")),
    "asterisk-prompt-es-co",
    "asterisk-prompt-fr-armelle",
    "asterisk-prompt-it-menardi-wav",
    "klettres-data",
    "ktuberling-data",
)

_VERSION = 1  # raise it when the same settings give other audio
_FOLDER = "spoken-languages"
_SUFFIXES = (".wav", ".gsm", ".ogg", ".opus")
# Where packages have their recordings: what follows is the folder of a source, whose name begins with its language.
_PLACES = {"asterisk": "asterisk/sounds", "klettres": "klettres", "ktuberling": "ktuberling/sounds"}
_LANGUAGE = re.compile(r"^([a-z]{2,3})(_[A-Z]{2}.*)?$")  # sr@latin and the like are the same recordings again
_NO_SPEECH = ("beep", "beeperr", "ascending-2tone", "descending-2tone", "tt-monkeys", "silence")
_SHORTEST = 0.4  # seconds of a file
_LEVEL_DB, _PEAK = -24.0, 0.98  # of a clip, re full scale: a source should not be known by how loud it is
_QUIET = 0.01  # of the peak: quieter samples at both ends are cut off
_GSM_BYTES, _GSM_RATE = 33, 8000  # of 20 ms


@dataclass(frozen=True)
class Recording:
    """A recording: its file, language, source (who recorded it for what), and its name in the source."""

    path: Path
    language: str
    source: str
    name: str


def find_recordings(folder: Path) -> list[Recording]:
    """Return what packages below a folder hold in any language, sorted by source and name; each once."""
    found: dict[tuple[str, str], Recording] = {}
    for kind, place in _PLACES.items():
        for root in sorted(folder.rglob(place)):
            for file in sorted(root.rglob("*")):
                inside = file.relative_to(root)
                match = _LANGUAGE.match(inside.parts[0])
                if file.suffix not in _SUFFIXES or match is None or len(inside.parts) < 2 or not file.is_file():
                    continue
                if set(_NO_SPEECH) & {file.stem, *inside.parts}:
                    continue
                source = f"{kind}-{inside.parts[0]}"
                name = re.sub(r"[^\w.+-]+", "_", "-".join(inside.with_suffix("").parts[1:]))
                found.setdefault((source, name), Recording(file, match.group(1), source, name))
    return [found[key] for key in sorted(found)]


def _missing(folder: Path) -> str | None:
    sources = defaultdict(set)
    for recording in find_recordings(folder):
        sources[recording.language].add(recording.source)
    lacking = [language for language in LANGUAGES if len(sources[language]) < 2]
    return f"it has fewer than two sources of {', '.join(lacking)}" if lacking else None


def _seconds(file: Path) -> float:
    """Return the duration of a recording by its header, or, without one, by its size; 0 if it cannot be read."""
    import soundfile

    if file.suffix == ".gsm":
        return file.stat().st_size / _GSM_BYTES * 0.02
    try:
        return float(soundfile.info(file).duration)
    except (soundfile.SoundFileError, OSError):
        return 0.0


def choose(
    recordings: Sequence[Recording], languages: Sequence[str], most: int, fewest: int, seed: int
) -> tuple[dict[str, dict[str, list[Recording]]], Counter[str]]:
    """Return up to ``most`` recordings of each source by language and source, and how many were left out for what.

    Recordings of the same content count once.

    Raises:
        DataError: A language has fewer than two sources with ``fewest`` recordings.
    """
    dropped: Counter[str] = Counter()
    wanted = [recording for recording in recordings if recording.language in languages]
    hashes = content_hashes(recording.path for recording in wanted)
    seen: set[str] = set()
    sources: dict[str, dict[str, list[Recording]]] = {language: defaultdict(list) for language in languages}
    for recording in wanted:
        if hashes[recording.path] in seen:
            dropped["of the same content as another"] += 1
        elif _seconds(recording.path) < _SHORTEST:
            dropped[f"shorter than {_SHORTEST:g} s"] += 1
        else:
            sources[recording.language][recording.source].append(recording)
        seen.add(hashes[recording.path])
    chosen: dict[str, dict[str, list[Recording]]] = {}
    for language, by_source in sources.items():
        chosen[language] = {}
        for source, found in sorted(by_source.items()):
            if len(found) < fewest:
                dropped[f"of sources with fewer than {fewest}"] += len(found)
                continue
            random.Random(f"{seed} {source}").shuffle(found)
            dropped[f"more than {most} of a source"] += max(len(found) - most, 0)
            chosen[language][source] = found[:most]
        if len(chosen[language]) < 2:
            had = ", ".join(f"{source} {len(found)}" for source, found in sorted(by_source.items())) or "none"
            raise DataError(
                f"Language {language!r} has fewer than two sources of {fewest} recordings ({had}); leave it out of "
                "corpus.languages, or set corpus.fewest lower."
            )
    return chosen, dropped


def hold_out(chosen: Mapping[str, Mapping[str, Sequence[Recording]]], seed: int) -> dict[str, str]:
    """Return a source of every language to test with: not its largest, which is needed to train with."""
    held = {}
    for language, sources in chosen.items():
        _, *others = sorted(sources, key=lambda source: (-len(sources[source]), source))
        held[language] = random.Random(f"{seed} {language}").choice(others)
    return held


def _split(
    chosen: Mapping[str, Mapping[str, Sequence[Recording]]], held: Mapping[str, str], shares: Mapping[str, float]
) -> dict[str, list[tuple[Recording, str]]]:
    """Return (recording, group) by set; recordings of one source are in random order already."""
    same = "test_same" if held else "test"
    sets: dict[str, list[tuple[Recording, str]]] = {name: [] for name in ("train", "dev", "test", same)}
    for language, sources in chosen.items():
        for source, recordings in sources.items():
            if source == held.get(language):
                sets["test"] += [(recording, source) for recording in recordings]
                continue
            # At least one for each, and what is rounded off goes to train.
            dev, test = (max(1, round(shares[part] * len(recordings))) for part in ("dev", "test"))
            for part, some in (
                ("dev", recordings[:dev]),
                (same, recordings[dev : dev + test]),
                ("train", recordings[dev + test :]),
            ):
                sets[part] += [(recording, f"{source}-{recording.name}") for recording in some]
    return sets


def _write(recording: Recording, target: Path, sample_rate: int, seconds: float) -> None:
    import soundfile
    import soxr

    raw = {"format": "RAW", "subtype": "GSM610", "samplerate": _GSM_RATE, "channels": 1}
    options: dict[str, Any] = raw if recording.path.suffix == ".gsm" else {}
    try:
        samples, rate = soundfile.read(recording.path, dtype="float32", always_2d=True, **options)
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{recording.path} cannot be read as audio ({error}); have it fetched again.") from error
    mono = soxr.resample(samples.mean(axis=1), rate, sample_rate)
    mono = trim(mono, _QUIET)[: round(seconds * sample_rate)]
    if not len(mono):
        raise DataError(f"{recording.path} is silent; have it fetched again, or delete it.")
    gain = 10 ** (_LEVEL_DB / 20) / np.sqrt(np.mean(np.square(mono)))
    mono = mono * min(gain, _PEAK / np.abs(mono).max())
    with atomic_path(target) as temporary:
        soundfile.write(temporary, np.round(mono * 32767).astype(np.int16), sample_rate, "PCM_16", format="FLAC")


def make_corpus(
    data_dir: Path | str,
    *,
    nj: int,
    seed: int = 0,
    held_out: str = "source",
    languages: Any = LANGUAGES,
    shares: Mapping[str, float] | None = None,
    most: int = 100,
    fewest: int = 10,
    sample_rate: int = 8000,
    clip_seconds: float = 2.0,
    downloads: Path | str | None = None,
) -> None:
    """Make the sets ``<data_dir>/{train,dev,test}`` (see ``class_sets``); ``sources.json`` says what is in them.

    With ``held_out="source"`` one source of every language is the test set, and ``test_same`` has recordings of the
    sources that are in train, so that one model shows both. With ``held_out="none"`` all are split at random.
    The speaker of a clip is its source; its group is its source in a test set that is held out, else the clip itself.

    Args:
        data_dir: Where to put it.
        nj: Files written at the same time; the result does not depend on it.
        seed: Decides which recordings are used, which sources are held out, and the random split.
        held_out: source or none.
        languages: Some of ``LANGUAGES``.
        shares: Of train, dev and test in a random split; train and dev get theirs of the sources that are not held out,
            ``test_same`` that of test. ``DEFAULT_SHARES`` if None.
        most: Recordings of a source that are used at most.
        fewest: Sources with fewer are left out.
        sample_rate: In Hz. Half of the recordings have 8,000: a higher one would give sources away.
        clip_seconds: Clips begin where something can be heard, and are cut off there if they are longer.
        downloads: Where the recordings are or will be; ``downloads`` beside ``data_dir`` if None.

    Raises:
        ConfigError: A setting is wrong.
        DataError: The recordings cannot be had, or a language has too few.
    """
    from seqkd.progress import ProgressBar

    data_dir, languages = Path(data_dir), plain(languages)
    one_of(("source", "none"), held_out=held_out)
    if not isinstance(languages, list) or len(languages) < 2 or set(languages) - set(LANGUAGES):
        raise ConfigError(f"languages is {languages!r}, expected at least two of {', '.join(LANGUAGES)}.")
    wanted = check_shares(plain(shares or DEFAULT_SHARES))
    if wanted.keys() != DEFAULT_SHARES.keys():
        raise ConfigError(f"shares are of {', '.join(wanted)}, expected {', '.join(DEFAULT_SHARES)}.")
    most = int(number("most", most, 3, 10_000))
    fewest = int(number("fewest", fewest, 3, most))
    number("sample_rate", sample_rate, 8000, 48000)
    number("clip_seconds", clip_seconds, 0.2, 20)
    sounds = fetch(
        Path(downloads) if downloads else data_dir.parent / "downloads",
        PACKAGES,
        _FOLDER,
        complete=_missing,
        what="recordings of languages",
        or_else="their unpacked folders",
    )
    chosen, dropped = choose(find_recordings(sounds), sorted(set(languages)), most, fewest, seed)
    held = hold_out(chosen, seed) if held_out == "source" else {}
    sets = _split(chosen, held, wanted)

    every = sorted({recording for items in sets.values() for recording, _ in items}, key=lambda r: (r.source, r.name))
    sizes = [[recording.source, recording.name, recording.path.stat().st_size] for recording in every]
    folder = Ledger(data_dir).begin_audio("all", fingerprint(_VERSION, sample_rate, clip_seconds, sizes))
    target = {recording: folder / f"{recording.source}-{recording.name}.flac" for recording in every}
    there = {file.name for file in folder.iterdir()}
    for leftover in there - {file.name for file in target.values()}:
        (folder / leftover).unlink()
    todo = [recording for recording in every if target[recording].name not in there]
    if todo:
        with (
            ThreadPoolExecutor(max(nj, 1)) as pool,
            ProgressBar(total=len(todo), desc="languages", unit="file") as bar,
        ):
            try:
                for _ in pool.map(lambda one: _write(one, target[one], sample_rate, clip_seconds), todo):
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    if not held:  # a part of another split, whose recordings may now be in train
        remove_own(data_dir / "test_same")
    for name, items in sets.items():
        clips = [LabelledClip(target[r].stem, target[r], r.language, group, r.source) for r, group in items]
        update_class_dir(data_dir / name, clips)
    update_classes(data_dir, chosen)
    _report(data_dir, sets, held, dropped, sounds)


def _report(
    data_dir: Path,
    sets: Mapping[str, Sequence[tuple[Recording, str]]],
    held: Mapping[str, str],
    dropped: Mapping[str, int],
    sounds: Path,
) -> None:
    """Write ``sources.json`` and print what was used."""
    counts = {name: Counter(recording.source for recording, _ in items) for name, items in sets.items()}
    languages = {recording.source: recording.language for items in sets.values() for recording, _ in items}
    table = [
        {"language": language, "source": source, "held_out": source in held.values()}
        | {name: counts[name][source] for name in sets}
        for source, language in sorted(languages.items(), key=lambda pair: (pair[1], pair[0]))
    ]
    left_out = {reason: count for reason, count in sorted(dropped.items()) if count}
    write_json(
        data_dir / "sources.json", {"sources": table, "left_out": left_out, "packages": packages_of(sounds / _FOLDER)}
    )
    for row in table:
        said = ", ".join(f"{row[name]} {name}" for name in sets if row[name])
        print(f"{row['language']}: {row['source']}: {said}", file=sys.stderr)
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    print(f"left out: {reasons or 'none'}", file=sys.stderr)
