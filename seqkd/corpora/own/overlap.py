"""What sets that a user has named share: recordings, speakers, texts. A test is worth less for each of them."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqkd.data.kaldi import Utterance
from seqkd.data.sound import WholeSound
from seqkd.errors import DataError

_NAMED = 3  # of what is shared, as examples


@dataclass(frozen=True)
class Found:
    """An utterance and the line or file that names it."""

    utterance: Utterance
    where: str


def check_files(sets: Mapping[str, Sequence[Found]]) -> None:
    """Raise DataError if the same part of the same file is in two sets."""
    seen: dict[tuple, tuple[str, str]] = {}
    for name, found in sets.items():
        for one in found:
            key = (one.utterance.audio.resolve(), one.utterance.start, one.utterance.end)
            if key in seen and seen[key][0] != name:
                other, where = seen[key]
                raise DataError(
                    f"{one.utterance.audio} is in {other} ({where}) and in {name} ({one.where}); "
                    "one set must not know the other: take it out of one of them."
                )
            seen[key] = (name, one.where)


def check_overlap(
    sets: Mapping[str, Sequence[Found]],
    sounds: Mapping[Path, WholeSound],
    *,
    allow: bool = False,
    drawn: Collection[str] | None = None,
) -> dict[str, dict[str, int]]:
    """Count what sets share with dev and test: samples (of copies in other formats too), speakers, and texts.

    Args:
        sets: Those that the user named, by name; or all, when some are split off.
        sounds: Of all their files.
        allow: Only print it.
        drawn: Sets that were split off; then only pairs with one of them count, and of these, speakers and texts are
            only printed: which of them the sets share was not the user's choice.

    Returns:
        Counts by pair of sets, for example ``{"train, test": {"recordings": 2}}``; pairs that share nothing left out.

    Raises:
        DataError: Sets share something, which was not allowed.
    """
    names = [name for name in ("unlabelled", "train", "dev", "test") if name in sets]
    counts: dict[str, dict[str, int]] = {}
    said, wrong = [], []
    for index, left in enumerate(names):
        for right in names[index + 1 :]:
            if right == "train" or (drawn is not None and not {left, right} & set(drawn)):
                continue  # unlabelled audio is trained with
            shared = _shared(sets[left], sets[right], sounds)
            if not shared:
                continue
            counts[f"{left}, {right}"] = {what: len(which) for what, which in shared.items()}
            parts = [f"{len(which)} {what} ({_few(which)})" for what, which in shared.items()]
            said.append(f"{left} and {right} share {' and '.join(parts)}")
            if drawn is None or "recordings" in shared:
                wrong.append(said[-1])
    if wrong and not allow:
        raise DataError(
            f"{'; '.join(wrong)}: what is measured on such a set is better than it would be on others. Take them out "
            "of one of the sets, or set corpus.allow_overlap=true to go on."
        )
    for sentence in said:
        print(sentence, file=sys.stderr)
    return counts


def _shared(left: Sequence[Found], right: Sequence[Found], sounds: Mapping[Path, WholeSound]) -> dict[str, list[str]]:
    """What two sets share, by kind, in words."""
    parts: dict[str, list[Utterance]] = {}
    for one in left:
        parts.setdefault(sounds[one.utterance.audio].digest, []).append(one.utterance)
    recordings = []
    for one in right:
        twin = next((u for u in parts.get(sounds[one.utterance.audio].digest, ()) if _meet(u, one.utterance)), None)
        if twin is not None:
            recordings.append(f"{twin.audio} is {one.utterance.audio}")
    speakers = _speakers(left) & _speakers(right)
    texts = {one.utterance.text for one in left} & {one.utterance.text for one in right} - {None}
    shared = {"recordings": recordings, "speakers": sorted(speakers), "texts": [repr(text) for text in sorted(texts)]}
    return {what: which for what, which in shared.items() if which}


def _speakers(found: Sequence[Found]) -> set[str]:
    """Speakers that are given: those that are not only the utterance's own id."""
    return {one.utterance.speaker for one in found if one.utterance.speaker != one.utterance.id}


def _meet(left: Utterance, right: Utterance) -> bool:
    """Whether two parts of one recording have some of it in common."""
    return (right.end is None or left.start < right.end) and (left.end is None or right.start < left.end)


def _few(which: Sequence[str]) -> str:
    return ", ".join(which[:_NAMED]) + (", ..." if len(which) > _NAMED else "")
