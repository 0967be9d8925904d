"""The augmentation contract: which changes to the input leave stored targets valid, and which move them.

A book holds the outputs of the teacher for one input. Masks and noise leave every frame where it was, so that its
output for the clean input still is the right one for the changed input. Time-warp and speed perturbation move frames:
their targets are valid only for the very same move, so that a book has to hold them per seed and the student has to
replay that seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import TYPE_CHECKING, Any

from seqkd.errors import ConfigError

if TYPE_CHECKING:
    from seqkd.data.specaugment import SpecAugment


@dataclass(frozen=True)
class Transform:
    """One change to the input.

    Attributes:
        name: in words, for error messages.
        keeps_targets: whether frame t still is about what it was about before.
        settings: whatever decides what it does, for a moving transform must be the same on both sides.
    """

    name: str
    keeps_targets: bool
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", plain(self.settings))

    def __str__(self) -> str:
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        return f"{self.name} ({settings})" if settings else self.name


def plain(value: Any) -> Any:
    """A dataclass or mapping as JSON has it, so that what was written and what was read are equal."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    return json.loads(json.dumps(value))


def masks(**settings: Any) -> Transform:
    """SpecAugment's time and frequency masks."""
    return Transform("masks", True, settings)


def noise(**settings: Any) -> Transform:
    """Additive noise."""
    return Transform("noise", True, settings)


def voice(**settings: Any) -> Transform:
    """The mel axis stretched: another speaker."""
    return Transform("voice", True, settings)


def time_warp(**settings: Any) -> Transform:
    """Frames moved inside an utterance."""
    return Transform("time-warp", False, settings)


def speed(**settings: Any) -> Transform:
    """Speed perturbation: another number of frames."""
    return Transform("speed perturbation", False, settings)


def of_specaugment(augment: SpecAugment) -> tuple[Transform, ...]:
    """What a :class:`seqkd.data.specaugment.SpecAugment` does: masks, other voices and a time-warp, if any."""
    settings = asdict(augment)
    warp, mel_warp = settings.pop("warp"), settings.pop("mel_warp")
    found = (masks(**settings),) if augment.freq_masks or augment.time_masks else ()
    found = (*found, voice(mel_warp=mel_warp)) if mel_warp else found
    return (*found, time_warp(frames=warp)) if warp else found


def check_valid(book: Iterable[Transform], student: Iterable[Transform], where: str) -> None:
    """Raise ConfigError unless targets made under ``book``'s transforms are valid for a student under its own.

    Those that keep targets may differ; those that move them must be the same, and are replayed by the seed.
    """
    stored, wanted = ({t.name: t for t in side if not t.keeps_targets} for side in (book, student))
    for transform in wanted.values():
        if transform.name not in stored:
            raise ConfigError(
                f"{where} was made without {transform.name} and the student is trained with {transform}, which moves "
                "frames away from their stored targets; turn it off, or make a book that holds it per seed"
            )
        if dict(stored[transform.name].settings) != dict(transform.settings):
            raise ConfigError(
                f"{where} was made with {stored[transform.name]} and the student is trained with {transform}; stored "
                "targets of moved frames are valid for the very same move only: give both the same settings"
            )
    for transform in stored.values():
        if transform.name not in wanted:
            raise ConfigError(
                f"{where} was made with {transform}, which moves frames, and the student is trained without; apply it "
                "with the book's seeds, or make a book without it"
            )
