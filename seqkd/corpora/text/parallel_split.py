"""Splitting parallel text so that no group straddles two sets."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from seqkd.errors import DataError
from seqkd.files import write_json
from seqkd.uptodate import fingerprint


def split_groups(
    groups: Sequence[str], sizes: Mapping[str, int], seed: int, file: Path, largest: float = 1.0
) -> list[str]:
    """Return the set of every pair: one of ``sizes``, or ``train``.

    Groups are taken in an order drawn by ``seed``; each goes to the first set of ``sizes`` it fits into
    whole, so sets get at most their sizes. The groups outside train are kept in ``file``: with the same seed
    and sizes they stay where they are though the data grow, and new groups go to train.

    Args:
        groups: The group of every pair.
        sizes: Pairs wanted by set name; train gets the rest.
        seed: Decides the order.
        file: Where the split is kept.
        largest: The most part of a set that one group may be; larger ones go to train.

    Raises:
        DataError: A set would be empty, or nothing would be left for train.
    """
    wanted = {name: size for name, size in sizes.items() if size}
    print_ = fingerprint(wanted, seed, largest)
    count: dict[str, int] = {}
    for group in groups:
        count[group] = count.get(group, 0) + 1
    if sum(wanted.values()) >= len(groups):
        raise DataError(
            f"{' and '.join(wanted)} ask for {sum(wanted.values())} pairs, but there are only {len(groups)}, "
            "and some must be left for train; ask for fewer."
        )
    chosen = _known_split(file, print_, count)
    if chosen is None or set(chosen.values()) != set(wanted):
        chosen = {}
        room = dict(wanted)
        order = sorted(count)
        random.Random(f"{seed} split").shuffle(order)
        for group in order:
            fits = (name for name in wanted if count[group] <= min(room[name], largest * wanted[name]))
            name = next(fits, None)
            if name is not None:
                chosen[group] = name
                room[name] -= count[group]
        for name, size in wanted.items():
            if room[name] == size:
                raise DataError(
                    f"{name} would be empty: none of the {len(count)} groups (the smallest has {min(count.values())} "
                    f"pairs) is left for it that has at most {int(largest * size)}, which is {largest:.0%} of the "
                    f"{size} it asks for; ask for more, or split into smaller groups."
                )
    if len(chosen) == len(count):
        raise DataError(f"Nothing would be left for train: all {len(count)} groups go to {' and '.join(wanted)}.")
    write_json(file, {"settings": print_, "groups": dict(sorted(chosen.items()))})
    return [chosen.get(group, "train") for group in groups]


def _known_split(file: Path, print_: str, count: Mapping[str, int]) -> dict[str, str] | None:
    """Return the split that is kept, without groups that are no more; None if it was made otherwise."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        if known["settings"] != print_:
            return None
        return {group: name for group, name in known["groups"].items() if group in count}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none yet, or not ours
        return None
