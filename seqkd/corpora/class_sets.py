"""Data directories of classification: recordings or images, each with a class and the group that it belongs to.

A set is a directory with these tables, one entry a line, sorted by id as ``LC_ALL=C sort`` does:

==============  ====================================================  =============================
``wav.scp``     id and an audio file; ``image.scp`` for images        one of them
``label``       id and the name of its class                          required
``group``       id and what it may not be parted from in a split      required
``utt2spk``     id and speaker                                        where speakers are known
``fold``        id and number of its fold, from 0                     for cross-validation
``phones.ctm``  id, 1, start (s), duration (s), phone; by start       where phones are known
==============  ====================================================  =============================

Paths are relative to the directory, so that it can be moved together with its files. ``classes.txt`` beside the sets
names the classes, one a line, sorted.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqkd.corpora.corpus import number
from seqkd.data.kaldi import Utterance, check_names
from seqkd.errors import ConfigError, DataError
from seqkd.files import own_directory, write_text

CLASSES = "classes.txt"
DERIVED_KEYS = ("subset_of", "without", "clips")
"""Settings of a set that is a part of another."""


@dataclass(frozen=True)
class LabelledClip:
    """A recording or an image, its class and what is known of it.

    Attributes:
        id: Unique in its set, without spaces.
        path: Its file.
        label: Its class, without spaces.
        group: What it may not be parted from in a split.
        speaker: Who speaks; None where that is not known.
        fold: Of a cross-validation, from 0.
        phones: (start, end, phone), in seconds, in order; None where they are not known.
    """

    id: str
    path: Path
    label: str
    group: str
    speaker: str | None = None
    fold: int | None = None
    phones: tuple[tuple[float, float, str], ...] | None = None


def _tables(directory: Path, clips: Sequence[LabelledClip], kind: str) -> dict[str, str]:
    """Return the content of every table of a set, by file name."""
    clips = sorted(clips, key=lambda clip: clip.id)
    if not clips:
        raise DataError(f"Set {directory.name!r} would be empty: nothing to write to {directory}.")
    for left, right in itertools.pairwise(clips):
        if left.id == right.id:
            raise DataError(f"{directory} would have the id {left.id!r} twice ({left.path} and {right.path}).")
    for clip in clips:
        for what, value in (("id", clip.id), ("class", clip.label), ("group", clip.group), ("speaker", clip.speaker)):
            if value is not None and len(value.split()) != 1:
                raise DataError(f"{clip.path}: its {what} is {value!r}, expected one word without spaces.")
    check_names(directory, (Utterance(clip.id, clip.path, clip.group, None) for clip in clips))
    rows = {
        f"{kind}.scp": [f"{clip.id} {os.path.relpath(clip.path, directory)}" for clip in clips],
        "label": [f"{clip.id} {clip.label}" for clip in clips],
        "group": [f"{clip.id} {clip.group}" for clip in clips],
        "utt2spk": [f"{clip.id} {clip.speaker}" for clip in clips if clip.speaker is not None],
        "fold": [f"{clip.id} {clip.fold}" for clip in clips if clip.fold is not None],
        "phones.ctm": [
            f"{clip.id} 1 {start:.4f} {end - start:.4f} {phone}"
            for clip in clips
            for start, end, phone in clip.phones or ()
        ],
    }
    for name in ("utt2spk", "fold"):
        if rows[name] and len(rows[name]) < len(clips):
            raise DataError(f"Set {directory.name!r}: {len(rows[name])} of {len(clips)} have a line for {name}.")
    return {name: "".join(f"{line}\n" for line in lines) for name, lines in rows.items() if lines}


def update_class_dir(directory: Path, clips: Iterable[LabelledClip], kind: str = "wav") -> bool:
    """Write a set unless it is there already, word for word; returns whether it was written.

    Args:
        directory: Where; it appears whole, in place of an older one that was written so, too.
        clips: In any order.
        kind: ``wav`` or ``image``.

    Raises:
        DataError: No clips, an id twice, a name with spaces, or speakers or folds for some only; or what is there was
            not written by seqkd.
    """
    directory = directory.resolve()
    tables = _tables(directory, list(clips), kind)
    known = (f"{other}.scp" for other in ("wav", "image"))
    tables_there = {*known, "label", "group", "utt2spk", "fold", "phones.ctm"}
    there = {name: directory / name for name in tables_there if (directory / name).is_file()}
    if there.keys() == tables.keys() and all(
        file.read_text(encoding="utf-8", errors="replace") == tables[name] for name, file in there.items()
    ):
        return False
    with own_directory(directory) as temporary:
        for name, content in tables.items():
            (temporary / name).write_text(content, encoding="utf-8")
    return True


def update_classes(data_dir: Path, labels: Iterable[str]) -> tuple[str, ...]:
    """Write the names of the classes to ``classes.txt`` unless it names just these; returns them, sorted."""
    classes = tuple(sorted(set(labels)))
    content = "".join(f"{name}\n" for name in classes)
    file = data_dir / CLASSES
    if not file.is_file() or file.read_text(encoding="utf-8", errors="replace") != content:
        write_text(file, content)
    return classes


def derive_clips(
    name: str, settings: Mapping[str, Any], made: Mapping[str, Sequence[LabelledClip]], seed: int
) -> list[LabelledClip]:
    """Return the clips of a set that is a part of another.

    ``subset_of`` names the set to take from, ``without`` a set whose clips are left out, ``clips`` how many to take:
    as many of every class, or one more of some. A smaller part is part of a larger one.

    Raises:
        ConfigError: More clips than there are, or none are left.
    """
    base = made[settings["subset_of"]]
    without = settings.get("without")
    excluded = {clip.id for clip in made[without]} if without else set()
    by_class: dict[str, list[LabelledClip]] = defaultdict(list)
    for clip in sorted(base, key=lambda clip: clip.id):
        by_class[clip.label].append(clip)
    rng = random.Random(f"{seed} subset {settings['subset_of']}")
    for label in sorted(by_class):
        rng.shuffle(by_class[label])
    labels = sorted(by_class)
    rng.shuffle(labels)
    turns = itertools.zip_longest(*(by_class[label] for label in labels))
    order = [clip for turn in turns for clip in turn if clip is not None and clip.id not in excluded]
    if not order:
        raise ConfigError(f"Set {name!r} would be empty: {without!r} holds all of {settings['subset_of']!r}.")
    wanted = settings.get("clips")
    if wanted is not None:
        order = order[: int(number(f"Set {name!r}: clips", wanted, 1, len(order)))]
    return sorted(order, key=lambda clip: clip.id)
