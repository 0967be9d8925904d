"""A user's own clips or images, by class, as the sets train, dev and test that share no speaker, recording or source.

Licence: that of the user's files, which are used where they lie; audio is copied only where it must be converted.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqkd.corpora.class_sets import LabelledClip, update_class_dir, update_classes
from seqkd.corpora.corpus import check_apart, plain
from seqkd.corpora.own.clip_sources import (
    TOLD,
    OwnClip,
    check_kind,
    check_names,
    compile_pattern,
    one_word,
    read_clips,
)
from seqkd.corpora.own.convert import convert_audio
from seqkd.corpora.speech.audio_sets import Header
from seqkd.data.duplicates import (
    AUDIO_ALIKE,
    IMAGE_ALIKE,
    audio_fingerprint,
    check_contents,
    check_likeness,
    image_fingerprint,
    near_duplicates,
)
from seqkd.data.kaldi import Utterance
from seqkd.data.sound import CANCEL, DamagedSound, Mono, read_sound
from seqkd.data.splits import (
    ITEM,
    GroupKey,
    assert_no_overlap,
    best_key,
    check_shares,
    read_split,
    record_split,
    split_by_group,
)
from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path
from seqkd.parallel import in_parallel
from seqkd.settings import number
from seqkd.uptodate import CACHE, content_hashes

DEFAULT_SHARES = {"train": 0.7, "dev": 0.1, "test": 0.2}
_FINGERPRINTS = ".fingerprints.npz"
_FEWEST = 2  # items of a class to train with


@dataclass(frozen=True)
class _Look:
    """What a file is found to be: what is wrong with it, or its header (of audio) and its fingerprint."""

    fault: str = ""
    header: tuple[float, int, int] = (0.0, 0, 0)
    print: np.ndarray | None = None


def look_at_audio(path: Path) -> _Look:
    """Read all of an audio file and say what it is."""
    pieces: list[np.ndarray] = []
    mono, rate = Mono(), 1
    try:
        for block, rate, _ in read_sound(path):  # noqa: B007 - the last rate is that of all
            pieces.append(block)
            mono(block)
    except DamagedSound as fault:
        if fault.reason == "has no samples":
            return _Look("has no samples; take it out")
        return _Look(f"{fault.reason}; mend it, or take it out")
    if mono.cancels:
        return _Look(f"{CANCEL}; keep one of them, or take it out")
    samples = np.concatenate(pieces)
    return _Look("", (len(samples) / rate, rate, samples.shape[1]), audio_fingerprint(samples, rate))


def look_at_image(path: Path) -> _Look:
    """Decode an image and say what it is."""
    try:
        return _Look(print=image_fingerprint(path))
    except DataError as error:
        return _Look(str(error).removeprefix(f"{path} ").rstrip("."))


def _look_at(
    clips: Sequence[OwnClip], kind: str, hashes: Mapping[Path, str], cache: Path, nj: int
) -> dict[Path, _Look]:
    """Return what every file is; files that were read before are not read again. Raises DataError about a bad one."""
    known: dict[str, _Look] = {}
    try:
        with np.load(cache, allow_pickle=False) as stored:
            if str(stored["kind"]) == kind:
                for digest, header, print_ in zip(stored["hashes"], stored["headers"], stored["prints"], strict=True):
                    seconds, rate, channels = header
                    known[str(digest)] = _Look(
                        "", (float(seconds), int(rate), int(channels)), print_ if print_.any() else None
                    )
    except (OSError, ValueError, KeyError):  # none yet, or damaged
        pass
    todo = [clip for clip in clips if hashes[clip.path] not in known]
    function = look_at_audio if kind == "wav" else look_at_image
    fresh = list(in_parallel(function, [clip.path for clip in todo], nj, "reading"))
    faults = [(clip, look.fault) for clip, look in zip(todo, fresh, strict=True) if look.fault]
    known |= {hashes[clip.path]: look for clip, look in zip(todo, fresh, strict=True) if not look.fault}
    kept = {digest: known[digest] for digest in sorted(set(hashes.values())) if digest in known}
    if len(todo) > len(faults):  # kept although others have faults, so that it is not read again
        size = max((len(look.print) for look in kept.values() if look.print is not None), default=1)
        none = np.zeros(size, np.float32)
        with atomic_path(cache) as temporary:
            np.savez(
                temporary,
                kind=kind,
                hashes=np.array(list(kept)),
                headers=np.array([look.header for look in kept.values()]),
                prints=np.stack([none if look.print is None else look.print for look in kept.values()]),
            )
    if faults:
        (clip, fault), more = faults[0], f" ({len(faults)} files have faults in all.)" if len(faults) > 1 else ""
        said = "" if clip.where == str(clip.path) else f"{clip.where}: "
        raise DataError(f"{said}{clip.path} {fault}.{more}")
    return {clip.path: known[hashes[clip.path]] for clip in clips}


def _check_classes(parts: Mapping[str, Sequence[tuple[OwnClip, str]]], split_off: Sequence[str], key: GroupKey) -> None:
    """Raise DataError about classes that cannot be learned, or not be split."""
    by_class: dict[str, list[tuple[OwnClip, str]]] = {}
    for clip, group in parts["train"]:
        by_class.setdefault(clip.label, []).append((clip, group))
    if len(by_class) < 2:
        raise DataError(f"There is one class to train with ({', '.join(by_class)}); expected at least two.")
    for part, items in parts.items():
        for clip, _ in items:
            if clip.label not in by_class:
                raise DataError(
                    f"{clip.where}: class {clip.label!r} is in {part} only, so that no model could know it; add items "
                    f"of it to train, or take it out of {part}."
                )
    least = _FEWEST + ("test" in split_off)
    wanted = "two to train with and one to test with" if "test" in split_off else "to train with"
    for label, items in sorted(by_class.items()):
        if len(items) < least:
            has = f"one item ({items[0][0].where})" if len(items) == 1 else f"{len(items)} items"
            raise DataError(
                f"Class {label!r} has {has}; expected at least {least}, {wanted}: add some, or leave the class out."
            )
        groups = sorted({group for _, group in items})
        if "test" in split_off and len(groups) < 2:
            raise DataError(
                f"All {len(items)} items of class {label!r} have one {key.name} ({groups[0]!r}), so that test could "
                f"not have any; add items of another {key.name}, leave the class out, or set corpus.group_key to a "
                "weaker key."
            )


def _make_ids(parts: Mapping[str, Sequence[tuple[OwnClip, str]]]) -> dict[Path, str]:
    """Return an id of every file, made of its name; those that would be alike get a number."""
    ids: dict[Path, str] = {}
    count: Counter[str] = Counter()
    for items in parts.values():
        for clip, _ in items:
            key = (
                re.sub(r"[^\w.+-]+", "_", str(Path(clip.name).with_suffix("")).replace("/", "-")).strip("_.") or "clip"
            )
            count[key] += 1
            ids[clip.path] = key if count[key] == 1 else f"{key}~{count[key]}"
    return ids


def _read_given(
    folder: Path | str | None, csv: Path | str | None, test: Path | str | None, pattern: str | None
) -> dict[str, list[OwnClip]]:
    """Return the items of the parts that are given; ``train`` stands for what is to be split, too."""
    if (folder is None) == (csv is None):
        raise ConfigError(
            "Set one of corpus.folder (a folder with a folder for each class) and corpus.csv (a table with path,label)."
        )
    compiled = compile_pattern(pattern)
    given = read_clips(Path(folder or csv or ""), compiled)
    if "all" in given:
        given = {"train": given["all"]}
    if "train" not in given:
        raise DataError(f"{folder or csv} has no train; expected it beside {', '.join(given)}.")
    if test is not None:
        if "test" in given:
            raise ConfigError(f"corpus.test is {test}, but {folder or csv} has a test part itself; leave one out.")
        more = read_clips(Path(test), compiled)
        given["test"] = more["test"] if "test" in more else [clip for clips in more.values() for clip in clips]
    return {part: given[part] for part in ("train", "dev", "test") if part in given}


def make_corpus(
    data_dir: Path | str,
    *,
    nj: int,
    folder: Path | str | None = None,
    csv: Path | str | None = None,
    test: Path | str | None = None,
    shares: Mapping[str, float] | None = None,
    group_key: str = "best",
    pattern: str | None = None,
    seed: int = 0,
    sample_rate: int = 16000,
    allow_near_duplicates: bool = False,
) -> None:
    """Import clips or images as the sets ``<data_dir>/{train,dev,test}`` (see ``class_sets``) and ``split.json``.

    The split is kept: when files are added, groups that are in it stay in their part. Delete ``split.json`` to have it
    drawn anew; other shares, seed or key do so, too.

    Args:
        data_dir: Where to put the sets. Files are used where they lie; audio that is not mono at ``sample_rate`` is
            copied.
        nj: Processes that read files.
        folder: A folder with a folder for each class; or one with such folders train, dev and test.
        csv: In place of it a table (``*.csv``, ``*.tsv``, ``*.jsonl``) with columns path and label, and maybe group,
            speaker (or patient), recording (or session), source (or site, device) and part (train, dev, test). Paths
            start from its folder.
        test: A test set of its own, in one of these forms.
        shares: What part of every class train, dev and test get; those that are given get none. ``DEFAULT_SHARES`` if
            None.
        group_key: What may not be in two parts: group, speaker, recording, source or stem (the name of the file,
            without marks of copies); item for nothing, which is a random split and says little; best for the first of
            these that all files have.
        pattern: A regular expression, searched for in every file's path in its folder, whose named groups tell
            speaker, recording or source, such as ``(?P<speaker>[^/_]+)_[^/]*$``.
        seed: Decides who is in which part.
        sample_rate: Of audio, in Hz.
        allow_near_duplicates: Accept nearly the same sounds or images in two parts, and note how many there are.

    Raises:
        ConfigError: A setting is wrong.
        DataError: A file, a line or a class is not what it should be, or two parts are not apart.
    """
    data_dir = Path(data_dir)
    number("corpus.sample_rate", sample_rate, 1000, 192000)
    wanted = check_shares(plain(shares or DEFAULT_SHARES), "corpus.shares")
    given = _read_given(folder, csv, test, pattern)
    every = [clip for clips in given.values() for clip in clips]
    named = [Path(one) for one in (folder, csv, test) if one]
    check_apart([*named, *(clip.path for clip in every)], data_dir, ("train", "dev", "test"))
    for one in named:  # a folder in it is a class, and so would be those that the import makes
        if one.is_dir() and data_dir.resolve().is_relative_to(one.resolve()):
            raise DataError(f"The data directory {data_dir} lies in {one}; name another one by --data.")
    kind = check_kind(every)
    check_names(every)
    split_off = [part for part in wanted if part not in given]
    shares = {part: share for part, share in wanted.items() if part == "train" or part in split_off}
    shares = {part: share / sum(shares.values()) for part, share in shares.items()}
    known = {name: [clip.told.get(name) for clip in every] for name in TOLD}
    key = best_key(known, [clip.path for clip in every], group_key, least=len(given) + len(split_off))
    group_of = dict(zip((clip.path for clip in every), map(one_word, key.groups), strict=True))
    parts = {part: [(clip, group_of[clip.path]) for clip in clips] for part, clips in given.items()}
    _check_classes(parts, split_off, key)
    hashes = content_hashes((clip.path for clip in every), data_dir / CACHE)
    looks = _look_at(every, kind, hashes, data_dir / _FINGERPRINTS, nj)

    if split_off:
        before = read_split(data_dir)
        kept = before is not None and (before.key, before.seed, before.shares) == (key.name, seed, shares)
        items = parts["train"]
        parts |= split_by_group(
            items,
            [clip.label for clip, _ in items],
            [group for _, group in items],
            shares,
            seed,
            fixed=before.part_of if before is not None and kept else None,
        )
    parts = {part: parts[part] for part in ("train", "dev", "test") if part in parts}
    counts = Counter(clip.label for clip, _ in parts["train"])
    for label in sorted({clip.label for clip in every}):
        if counts[label] < _FEWEST:
            raise DataError(
                f"Class {label!r} would have {counts[label]} items to train with, since {key.name} must not be in two "
                f"parts; add items of another {key.name}, leave the class out, or delete {data_dir / 'split.json'}."
            )
    if key.name not in ("stem", ITEM):  # files of one name in parts that the user made are no sign of anything
        assert_no_overlap({part: [group for _, group in items] for part, items in parts.items()}, key.name)
    files = {part: [clip.path for clip, _ in items] for part, items in parts.items()}
    repeated = check_contents(files, {clip.path: clip.label for clip in every}, data_dir / CACHE)
    alike = near_duplicates(
        {part: [(path, looks[path].print) for path in paths] for part, paths in files.items()},
        AUDIO_ALIKE if kind == "wav" else IMAGE_ALIKE,
    )
    if not allow_near_duplicates:
        part_of = {path: part for part, paths in files.items() for path in paths}
        check_likeness(alike, part_of, "corpus.allow_near_duplicates")

    sets = _make_sets(parts, kind, looks, data_dir, sample_rate, nj)
    for part, clips in sets.items():
        update_class_dir(data_dir / part, clips, kind)
    update_classes(data_dir, counts)
    notes: dict[str, Any] = {
        "kind": "audio" if kind == "wav" else "images",
        "copies_within_a_part": [[str(one), str(other)] for one, other in repeated],
        "near_duplicates_accepted": [[str(pair.one), str(pair.other), pair.likeness] for pair in alike],
        "given": [part for part in given if part != "train"],
    }
    record = record_split(
        key,
        {part: [(clip.label, group) for clip, group in items] for part, items in parts.items()},
        shares,
        seed,
        notes,
    )
    record.write(data_dir)
    print(record.describe(), file=sys.stderr)
    for name, found in (("the same content within a part", repeated), ("near duplicates across parts", alike)):
        if found:
            print(f"{len(found)} pairs of {name}; see {data_dir / 'split.json'}", file=sys.stderr)


def _make_sets(
    parts: Mapping[str, Sequence[tuple[OwnClip, str]]],
    kind: str,
    looks: Mapping[Path, _Look],
    data_dir: Path,
    sample_rate: int,
    nj: int,
) -> dict[str, list[LabelledClip]]:
    """Return the clips of every part, audio converted where it must be."""
    ids = _make_ids(parts)
    files = {clip.path: clip.path for items in parts.values() for clip, _ in items}
    if kind == "wav":
        headers = {path: Header(*look.header) for path, look in looks.items()}
        utterances = {
            part: [Utterance(ids[clip.path], clip.path, group, None) for clip, group in items]
            for part, items in parts.items()
        }
        converted = convert_audio(utterances, headers, data_dir / "audio", sample_rate, nj)
        for part, made in converted.items():
            files |= {old.audio: new.audio for old, new in zip(utterances[part], made, strict=True)}
    speakers = all("speaker" in clip.told for items in parts.values() for clip, _ in items)
    return {
        part: [
            LabelledClip(
                ids[clip.path],
                files[clip.path],
                clip.label,
                group,
                clip.told["speaker"] if speakers else None,
            )
            for clip, group in items
        ]
        for part, items in parts.items()
    }
