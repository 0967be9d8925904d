"""The description of a book: whose outputs it holds, of which units, at which rate, in which form."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from seqkd.errors import ConfigError, DataError
from seqkd.knowledge.augmentation import Transform, plain
from seqkd.knowledge.ensemble import check_weights
from seqkd.knowledge.forms import Dense, Form, form_from_json, form_to_json

VERSION = 1
NAME = "manifest.json"

# How a sentence calls a field, and what to do when it does not fit.
LABELS = {
    "teachers": ("teachers", "name the book of the teachers that are wanted, or make one"),
    "units": ("tokenizer", "make the book with the student's tokenizer"),
    "classes": ("output classes", "make the book with the student's units"),
    "blank": ("blank class", "give both the same blank"),
    "frame_shift_ms": ("frame shift in ms", "choose encoders with the same subsampling"),
    "features": ("features", "set features= to what the book was made with"),
    "temperature": ("temperature", "make the book at the temperature that is wanted"),
    "form": ("form", "keep one form a book"),
    "augmentation": ("augmentation", "keep one augmentation a book"),
    "seeds": ("augmentation seeds", "make the book with more seeds"),
    "regularisation": ("regularisation", "keep one amount"),
    "uncertainty": ("uncertainty fields", "make the book with uncertainty=True"),
    "rate_rule": ("rule for frame rates", "set teacher.rate_rule to what the book was made with"),
}
LATER = ("rate_rule",)  # fields that books of earlier versions do not state; None is not known, and fits all


@dataclass(frozen=True)
class TeacherId:
    """One of a book's teachers.

    Attributes:
        name: for people.
        hash: of its parameters.
        weight: its share of the posterior; those of all teachers add up to 1.
    """

    name: str
    hash: str
    weight: float = 1.0

    def __str__(self) -> str:
        return f"{self.name} ({self.hash})" + (f" with weight {self.weight:.3g}" if self.weight != 1 else "")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What must hold for every entry of a book; a student's own settings are compared with it.

    Attributes:
        teachers: all whose posteriors were averaged, with their weights.
        units: hash of the tokenizer, or of the list of classes.
        classes: C.
        blank: class of the CTC blank; None where there is no blank (target positions, seconds).
        frame_shift_ms: time between frames; None for target positions.
        features: what the teacher was given, a mapping or a dataclass such as ``FeatureSettings``; None for no matter.
        temperature: τ at which teachers' logits were made probabilities: softmax(z / τ).
        form: ``Dense()``, ``TopK(k)`` or ``Sampled(draws, seed)``.
        augmentation: what was done to the teacher's input, see :mod:`seqkd.knowledge.augmentation`.
        seeds: how many entries an utterance has, one for each augmentation seed 0, 1, ...
        regularisation: ε_b, the share of the one-hot target that is mixed in: b = (1 − ε_b) p + ε_b y.
        uncertainty: whether aleatoric and epistemic uncertainty stand beside every frame.
        rate_rule: how frames of teachers with another rate were brought to this one; None if not known, or no matter.

    Raises:
        ConfigError: a field that cannot be.
    """

    teachers: tuple[TeacherId, ...]
    units: str
    classes: int
    blank: int | None = None
    frame_shift_ms: float | None = None
    features: Any = None
    temperature: float = 1.0
    form: Form = field(default_factory=Dense)
    augmentation: tuple[Transform, ...] = ()
    seeds: int = 1
    regularisation: float = 0.0
    uncertainty: bool = False
    rate_rule: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", plain(self.features))
        if self.frame_shift_ms is not None:  # 1.25 * 32 and 40 are one rate
            object.__setattr__(self, "frame_shift_ms", round(float(self.frame_shift_ms), 6))
        object.__setattr__(self, "teachers", tuple(self.teachers))
        object.__setattr__(self, "augmentation", tuple(self.augmentation))
        if not self.teachers:
            raise ConfigError("a book has no teachers; name at least one")
        check_weights([teacher.weight for teacher in self.teachers], len(self.teachers))
        if self.classes < 2:
            raise ConfigError(f"a book has {self.classes} classes; expected at least 2")
        if self.blank is not None and not 0 <= self.blank < self.classes:
            raise ConfigError(f"the blank of a book is {self.blank}; expected a class from 0 to {self.classes - 1}")
        if self.frame_shift_ms is not None and not self.frame_shift_ms > 0:
            raise ConfigError(f"the frame shift of a book is {self.frame_shift_ms} ms; expected more than 0")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(f"the temperature of a book is {self.temperature}; expected a number above 0")
        if not 0 <= self.regularisation <= 1:
            raise ConfigError(f"the regularisation of a book is {self.regularisation}; expected from 0 to 1")
        if self.seeds < 1:
            raise ConfigError(f"a book has {self.seeds} seeds an utterance; expected at least 1")
        self.form.check(self.classes)

    @property
    def hash(self) -> str:
        """Short hash of every field: segments of one book have the same."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """As in manifest.json."""
        value = {item.name: getattr(self, item.name) for item in fields(self)}
        value = {name: one for name, one in value.items() if name not in LATER or one is not None}  # as it always was
        value["teachers"] = [asdict(teacher) for teacher in self.teachers]
        value["augmentation"] = [asdict(transform) for transform in self.augmentation]
        value["form"] = form_to_json(self.form)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Manifest:
        """Of ``to_json``; raises TypeError or ConfigError if it is something else."""
        value = dict(value)
        value["teachers"] = tuple(TeacherId(**teacher) for teacher in value["teachers"])
        value["augmentation"] = tuple(Transform(**transform) for transform in value["augmentation"])
        value["form"] = form_from_json(value["form"])
        return cls(**value)

    def require_same(self, other: Manifest, here: str, there: str, *, exact: bool = False) -> None:
        """Raise ConfigError, naming the first field that differs and both sides.

        Unless ``exact``, what one side does not state, since it is of an earlier version, does not differ.
        """
        for name in LABELS:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs and (exact or name not in LATER or None not in (mine, theirs)):
                raise ConfigError(mismatch(name, mine, theirs, here, there))


def mismatch(name: str, mine: Any, theirs: Any, here: str, there: str) -> str:
    """One sentence about a field that differs between two sides."""
    label, remedy = LABELS[name]
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):  # only what differs
        differing = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
        mine, theirs = ({key: side.get(key) for key in differing} for side in (mine, theirs))
    return f"{here} has {label} {_said(mine)} and {there} {_said(theirs)}; {remedy}"


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
    if isinstance(value, tuple):
        return " and ".join(str(item) for item in value) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a book; DataError if there is none or it is damaged."""
    path = directory / NAME
    if not path.is_file():
        raise DataError(f"{directory} is no book: it has no {NAME}; name the directory that a book was written to")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        version, stated = value.pop("version"), value.pop("hash")
        if version != VERSION:
            raise DataError(f"{path} is of version {version} and this seqkd reads version {VERSION}; update seqkd")
        manifest = Manifest.from_json(value)
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise DataError(f"{path} is damaged ({error}); restore it from a copy, or make the book again") from error
    if manifest.hash != stated:
        raise DataError(
            f"{path} has the hash {stated} and its content {manifest.hash}: it was changed by hand or is damaged; "
            "restore it, or make the book again"
        )
    return manifest


def write_manifest(directory: Path, manifest: Manifest) -> Manifest:
    """Write the manifest of a new book; of one that is there it must be the same, whoever comes first.

    Returns the one that is there then: one of an earlier version may state less.
    """
    path = directory / NAME
    if not path.is_file():
        text = json.dumps({"version": VERSION, "hash": manifest.hash, **manifest.to_json()}, indent=2)
        directory.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=directory, prefix=".tmp-", suffix=".json")
        temporary = Path(name)
        try:
            os.close(descriptor)
            temporary.write_text(text + "\n", encoding="utf-8")
            temporary.chmod(0o644)
            with contextlib.suppress(FileExistsError):  # another process was quicker; compared below
                os.link(temporary, path)
        finally:
            temporary.unlink()
    there = read_manifest(directory)
    there.require_same(manifest, f"the book {directory}", "what is to be written")
    return there
