"""Which utterances are set aside for dev and test, and which characters transcripts have."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqkd.corpora.own.overlap import Found
from seqkd.data.kaldi import Utterance
from seqkd.data.sound import WholeSound
from seqkd.errors import DataError

_RARE = 5  # a character in fewer utterances is rare


def place(group: str, seed: int) -> float:
    """Return where a group lies between 0 and 1, whatever else there is."""
    digest = hashlib.sha256(f"{seed} {group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass(frozen=True)
class Split:
    """The set of each utterance, and sets that got a group only because they would have been empty."""

    sets: list[str]
    lent: dict[str, str]


def join_copies(found: Sequence[Found], sounds: Mapping[Path, WholeSound], groups: Sequence[str]) -> list[str]:
    """Return the group of every utterance, groups that share some audio made one, which has the first of their names.

    Copies of a recording have the same samples, whatever they are called; parts of one share audio where they overlap.

    Args:
        found: Utterances.
        sounds: Of all their files.
        groups: The group of every utterance: its speaker, or itself.
    """
    above: dict[str, str] = {}

    def top(group: str) -> str:
        while (next_ := above.get(group)) is not None:
            above[group] = above.get(next_, next_)  # halves the way for the next one
            group = next_
        return group

    parts: dict[str, list[tuple[float, float, str]]] = {}
    for one, group in zip(found, groups, strict=True):
        u, sound = one.utterance, sounds[one.utterance.audio]
        parts.setdefault(sound.digest, []).append((u.start, sound.seconds if u.end is None else u.end, group))
    for places in parts.values():
        places.sort()
        reach, holder = places[0][1], places[0][2]
        for start, end, group in places[1:]:
            if start < reach:
                first, last = sorted((top(holder), top(group)))
                if first != last:
                    above[last] = first
            if end > reach:
                reach, holder = end, group
    return [top(group) for group in groups]


def split_by_hash(groups: Sequence[str], shares: Mapping[str, float], seed: int) -> Split:
    """Set aside groups for the sets of ``shares``; the rest is train.

    A group's place, a number between 0 and 1, comes from its name and the seed alone: the first set of ``shares`` gets
    places from 0 up to its share, the next those after it. So every group stays where it is when others come, and
    sets get their shares on average. A set that would get nothing gets the group that lies nearest; that one alone may
    change when others come.

    Args:
        groups: The group of every utterance.
        shares: Share wanted, by set name.
        seed: Decides the places.

    Raises:
        DataError: There are too few groups for as many sets.
    """
    names = sorted(set(groups))
    if len(names) <= len(shares):
        raise DataError(
            f"{' and '.join(shares)} cannot be split off: {len(names)} groups (speakers or utterances) are too few for "
            f"{len(shares) + 1} sets; name sets of their own (corpus.dev, corpus.test), or set "
            "corpus.split_by=utterance."
        )
    places = {group: place(group, seed) for group in names}
    chosen: dict[str, str] = {}
    begin = 0.0
    for name, share in shares.items():
        chosen |= {group: name for group, at in places.items() if begin <= at < begin + share}
        begin += share
    lent: dict[str, str] = {}
    begin = 0.0
    for name, share in shares.items():
        if name not in chosen.values():
            free = [group for group in names if group not in chosen] or names
            nearest = min(free, key=lambda group: (abs(places[group] - begin - share / 2), group))
            chosen[nearest] = name
            lent[name] = nearest
        begin += share
    if len(chosen) == len(names):
        raise DataError(
            f"Nothing would be left for train: all {len(names)} groups fall to {' and '.join(shares)}; "
            "ask for smaller shares, or set corpus.split_by=utterance."
        )
    return Split([chosen.get(group, "train") for group in groups], lent)


@dataclass(frozen=True)
class Characters:
    """How many utterances each character occurs in, and one of them."""

    utterances: dict[str, int]
    example: dict[str, str]


def characters_of(utterances: Sequence[Utterance]) -> Characters:
    """Count, in labelled utterances, in how many every character is; spaces are left out."""
    count: Counter[str] = Counter()
    example: dict[str, str] = {}
    for utterance in utterances:
        for character in set(utterance.text or "") - {" "}:
            count[character] += 1
            example.setdefault(character, utterance.id)
    return Characters(dict(sorted(count.items())), example)


def describe_characters(utterances: Sequence[Utterance]) -> str:
    """Say which characters transcripts have, and how many utterances have rare ones."""
    found = characters_of(utterances)
    rare = [character for character, count in found.utterances.items() if count < _RARE]
    said = f"{len(found.utterances)} characters: {' '.join(found.utterances)}"
    if rare:
        affected = sum(bool(set(utterance.text or "") & set(rare)) for utterance in utterances)
        said += f"; in fewer than {_RARE} utterances: {' '.join(rare)} ({affected} utterances have such)"
    return said


def strangers(train: Sequence[Utterance], dev: Sequence[Utterance]) -> dict[str, str]:
    """Return the utterances of dev with a character that train lacks, so that no unit could stand for it."""
    known = characters_of(train).utterances
    lacking = ((u.id, set(u.text or "") - {" "} - set(known)) for u in dev)
    return {key: " ".join(sorted(characters)) for key, characters in lacking if characters}
