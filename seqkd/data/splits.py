"""Parts that share no speaker, recording or source: which key keeps items together, and who goes where.

A model that is tested on the voice, the scanner or the session that it was trained on has learned more about those
than it seems. So items are split by groups, the groups by the best key there is, and the split is kept in a file that
says which key that was:

    key = best_key({"speaker": speakers, "source": sources}, paths)
    parts = split_by_group(paths, labels, key.groups, {"train": 0.7, "dev": 0.1, "test": 0.2}, seed=0)
    assert_no_overlap({part: [group_of[path] for path in paths] for part, paths in parts.items()}, key.name)

What ``seqkd.corpora.own.splits`` does for transcribed speech, by hash, is not enough where every part needs every
class.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from seqkd.errors import ConfigError, DataError
from seqkd.files import write_json
from seqkd.settings import did_you_mean, number

Item = TypeVar("Item")

KEYS = ("group", "speaker", "recording", "source", "stem")
"""From the best on. ``group`` is the user's own; ``stem`` is the name of the file, which every item has."""

ITEM = "item"
"""Every item by itself, that is a random split: only where it is asked for."""

SPLIT = "split.json"

# What programs and people add to the name of a copy. Numbers after _ or - are not among it: they number recordings.
_COPY = re.compile(r"([\s_-]+(copy|kopie|copie|copia)[\s_-]*(\(?\d+\)?)?|~\d*|\.bak)$")
_COPY_OF = re.compile(r"^(copy|kopie|copie|copia)[\s_-]+(\(\d+\)[\s_-]+)?(of|von|de|di)[\s_-]+")
_NUMBER = re.compile(r"[\s_-]*\(\d+\)$")  # a copy's if there is a file without it, else of files that were numbered
_NOHASH = re.compile(r"_nohash_\d+$")  # Speech Commands: what is before it is the speaker


def stems_of(paths: Sequence[Path | str]) -> list[str]:
    """Return the name of every file without suffix and without what marks a copy; lower case, no folders.

    ``a.wav``, ``A (1).wav``, ``a_copy.wav`` and ``Copy of a.flac`` have one stem; ``b (1).wav`` and ``b (2).wav`` do
    not where there is no ``b``. So have files of one name in two folders, which may well be of one recording, and
    recordings of one speaker of Speech Commands.
    """
    names = [Path(path).stem.casefold().strip() for path in paths]
    there = set(names)
    stems = []
    for name in names:
        stem, previous = name, ""
        while stem != previous:
            previous = stem
            bare = _NUMBER.sub("", stem)
            stem = bare if bare in there else stem
            stem = _COPY_OF.sub("", _COPY.sub("", stem)).strip() or stem
        stems.append(_NOHASH.sub("", stem) or stem)
    return stems


@dataclass(frozen=True)
class GroupKey:
    """What keeps items together.

    Attributes:
        name: One of ``KEYS``, or ``item``.
        groups: Of every item.
        why: Why this one, in words.
    """

    name: str
    groups: tuple[str, ...]
    why: str


def best_key(
    known: Mapping[str, Sequence[str | None]], paths: Sequence[Path], wanted: str = "best", least: int = 3
) -> GroupKey:
    """Return the best key that tells items apart: the first of ``KEYS`` that all items have.

    Args:
        known: Values by key, one an item; None or empty where an item has none.
        paths: The file of every item.
        wanted: ``best``, or the name of a key; ``item`` for a random split.
        least: How many groups there must be, as many as there are parts.

    Raises:
        ConfigError: ``wanted`` is no key.
        DataError: The key that is wanted is missing for an item, or no key has enough groups.
    """
    if wanted not in ("best", *KEYS, ITEM):
        near = did_you_mean(wanted, ["best", *KEYS, ITEM])
        raise ConfigError(f"group_key is {wanted!r}; expected best, {', '.join(KEYS)} or {ITEM}{near}")
    if wanted == ITEM:
        return GroupKey(ITEM, tuple(map(str, paths)), "it was asked for: nothing is kept together")
    values = {**known, "stem": stems_of(paths)}
    passed: list[str] = []
    for name in KEYS if wanted == "best" else (wanted,):
        groups = values.get(name, [None] * len(paths))
        told = [group for group in groups if group]
        if len(told) == len(paths) and len(set(told)) >= least:
            why = "it was asked for" if wanted != "best" else "the best that all items have"
            return GroupKey(name, tuple(map(str, told)), "; ".join([why, *passed]))
        if not told:
            passed.append(f"{name} is missing")
        elif len(told) < len(paths):
            missing = paths[next(i for i, group in enumerate(groups) if not group)]
            passed.append(f"{name} is known for {len(told)} of {len(paths)} items only (not for {missing})")
        else:
            passed.append(f"{name} has {len(set(told))} values, fewer than {least} parts")
    raise DataError(
        f"The items cannot be split by {'any key' if wanted == 'best' else wanted}: {', '.join(passed)}; "
        "name the key of every item, or choose another group_key."
    )


def check_shares(shares: Mapping[str, Any], what: str = "shares") -> dict[str, float]:
    """Return shares that sum to 1, the first of them of train. Raises ConfigError if they are none."""
    if "train" not in shares or len(shares) < 2:
        raise ConfigError(f"{what} is {dict(shares)!r}; expected train and at least one other part.")
    checked = {name: float(number(f"{what}.{name}", share, 0.001, 0.999)) for name, share in shares.items()}
    if abs(sum(checked.values()) - 1) > 1e-6:
        raise ConfigError(f"{what} sum to {sum(checked.values()):g}; expected 1.")
    return {name: checked[name] for name in sorted(checked, key=lambda name: name != "train")}


@dataclass
class _Assignment:
    """Which part every group is in, and how many items of every class every part has."""

    shares: Mapping[str, float]
    counts: Mapping[str, Counter[str]]
    part_of: dict[str, str] = field(default_factory=dict)
    have: dict[str, Counter[str]] = field(init=False)
    total: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self.have = {part: Counter() for part in self.shares}
        self.total = sum(self.counts.values(), Counter())

    def put(self, group: str, part: str) -> None:
        if group in self.part_of:
            self.have[self.part_of[group]].subtract(self.counts[group])
        self.part_of[group] = part
        self.have[part].update(self.counts[group])

    def cost(self, group: str, part: str) -> tuple[float, float]:
        """How much farther from its share, squared, each class gets; then how much of everything the part has."""
        cost = 0.0
        for label, count in self.counts[group].items():
            more = count / self.total[label]
            cost += more * (more + 2 * (self.have[part][label] / self.total[label] - self.shares[part]))
        filled = sum(self.have[part].values()) / sum(self.total.values()) - self.shares[part]
        return round(cost, 12), round(filled, 12)


def split_by_group(
    items: Sequence[Item],
    labels: Sequence[str],
    groups: Sequence[Hashable],
    shares: Mapping[str, float],
    seed: int,
    fixed: Mapping[str, str] | None = None,
) -> dict[str, list[Item]]:
    """Split items so that no group is in two parts and every part has about its share of every class.

    Groups go, the largest first and equal ones in an order drawn by ``seed``, where they bring the classes nearest to
    their shares. Then groups are moved to parts that lack a class, train first, then test, if their own part does not
    come to lack one by it.

    Args:
        items: Anything.
        labels: The class of every item.
        groups: The group of every item.
        shares: By part, summing to 1.
        seed: Decides between equals.
        fixed: Parts of groups that are settled, from an earlier split; those of other parts are ignored.

    Returns:
        The items of every part, in their order. A part may lack a class that has too few groups, but train never does.

    Raises:
        DataError: There are fewer groups than parts, or a class cannot be in train.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for label, group in zip(labels, groups, strict=True):
        counts[str(group)][label] += 1
    if len(counts) < len(shares):
        raise DataError(f"There are {len(counts)} groups for {len(shares)} parts ({', '.join(shares)}); need as many.")
    state = _Assignment(shares, counts)
    settled = {group: part for group, part in (fixed or {}).items() if group in counts and part in shares}
    for group, part in settled.items():
        state.put(group, part)
    order = sorted(set(counts) - set(settled))
    random.Random(f"{seed} split").shuffle(order)
    for group in sorted(order, key=lambda group: -sum(counts[group].values())):
        state.put(group, min(shares, key=lambda part: state.cost(group, part)))
    for part in sorted(shares, key=_needs):
        for label in sorted(state.total):
            if state.have[part][label] == 0:
                _lend(state, part, label, settled)
    lacking = [label for label in sorted(state.total) if state.have["train"][label] == 0] if "train" in shares else []
    if lacking:
        raise DataError(f"No split gives train an item of class {lacking[0]!r} without taking another class from it.")
    parts: dict[str, list[Item]] = {part: [] for part in shares}
    for item, group in zip(items, groups, strict=True):
        parts[state.part_of[str(group)]].append(item)
    return parts


def _needs(part: str) -> int:
    """How much a part needs every class; what needs it most is served last, so that nobody takes it away again."""
    return {"train": 2, "test": 1}.get(part, 0)


def _lend(state: _Assignment, part: str, label: str, settled: Iterable[str]) -> None:
    """Move the group that costs least to a part that lacks its class, unless another part would come to lack one."""
    candidates = []
    for group, counts in state.counts.items():
        home = state.part_of[group]
        if not counts[label] or home == part or group in settled:
            continue
        # A part that needs classes more may leave one that needs them less without.
        if any(state.have[home][kind] == count for kind, count in counts.items()) and _needs(home) >= _needs(part):
            continue
        candidates.append((state.cost(group, part), sum(counts.values()), group))
    if candidates:
        state.put(min(candidates)[2], part)


def assert_no_overlap(parts: Mapping[str, Iterable[str]], key: str = "group") -> None:
    """Raise DataError if a group is in two parts.

    Args:
        parts: The groups of the items of every part.
        key: What a group is, for the message.
    """
    owner: dict[str, str] = {}
    for part, groups in parts.items():
        for group in sorted(set(groups)):
            if owner.setdefault(group, part) != part:
                raise DataError(
                    f"The {key} {group!r} is in {owner[group]} and in {part}: what is learned of it in one would count "
                    "in the other. Put all of its items into one part, or name their groups otherwise."
                )


@dataclass(frozen=True)
class SplitRecord:
    """``split.json``: which key was used and why, and what every part got.

    Attributes:
        key: Name of the key.
        why: Why this one.
        seed: Of the split.
        shares: What every part was to get; empty if nothing was split.
        groups: The groups of every part, sorted.
        classes: Items by class and part.
        lacking: Classes that a part has no item of.
        notes: What else is worth knowing, such as copies that were accepted.
    """

    key: str
    why: str
    seed: int
    shares: dict[str, float]
    groups: dict[str, list[str]]
    classes: dict[str, dict[str, int]]
    lacking: dict[str, list[str]]
    notes: dict[str, Any] = field(default_factory=dict)

    def write(self, data_dir: Path) -> None:
        """Write it to ``<data_dir>/split.json``."""
        write_json(data_dir / SPLIT, vars(self))

    @property
    def part_of(self) -> dict[str, str]:
        """The part of every group."""
        return {group: part for part, groups in self.groups.items() for group in groups}

    def describe(self) -> str:
        """Say in one line by what was split and what the parts have."""
        sizes = {part: sum(counts[part] for counts in self.classes.values()) for part in self.groups}
        said = ", ".join(f"{part} {size} of {len(self.groups[part])}" for part, size in sizes.items())
        lacking = "".join(f"; {part} lacks {', '.join(names)}" for part, names in self.lacking.items())
        return f"split by {self.key} ({self.why}): {said} groups{lacking}"


def record_split(
    key: GroupKey,
    parts: Mapping[str, Sequence[tuple[str, str]]],
    shares: Mapping[str, float],
    seed: int,
    notes: Mapping[str, Any] | None = None,
) -> SplitRecord:
    """Return the record of a split.

    Args:
        key: What it was split by.
        parts: (class, group) of every item, by part.
        shares: What every part was to get.
        seed: Of the split.
        notes: See ``SplitRecord``.
    """
    labels = sorted({label for items in parts.values() for label, _ in items})
    counts = {part: Counter(label for label, _ in items) for part, items in parts.items()}
    lacking = {part: [label for label in labels if not counts[part][label]] for part in parts}
    return SplitRecord(
        key.name,
        key.why,
        seed,
        dict(shares),
        {part: sorted({group for _, group in items}) for part, items in parts.items()},
        {label: {part: counts[part][label] for part in parts} for label in labels},
        {part: missing for part, missing in lacking.items() if missing},
        dict(notes or {}),
    )


def read_split(data_dir: Path) -> SplitRecord | None:
    """Return the record of ``<data_dir>/split.json``; None if there is none.

    Raises:
        DataError: It cannot be read.
    """
    file = data_dir / SPLIT
    if not file.is_file():
        return None
    try:
        return SplitRecord(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file} cannot be read ({error}); delete it to have the data split anew.") from error
