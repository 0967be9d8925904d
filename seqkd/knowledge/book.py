"""Reading a book: entries by utterance id, checked against what the student needs and against damage.

Letters: B utterances, T frames (or target positions, or seconds), C classes, K kept classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqkd.errors import ConfigError, DataError
from seqkd.knowledge.augmentation import Transform, check_valid, plain
from seqkd.knowledge.ensemble import Uncertainty
from seqkd.knowledge.forms import Fields
from seqkd.knowledge.manifest import Manifest, mismatch, read_manifest
from seqkd.knowledge.segments import (
    BookSegment,
    IndexEntry,
    SegmentReader,
    check_contents,
    quoted,
    read_segment_index,
    segment_files,
)
from seqkd.knowledge.writer import check_belongs
from seqkd.losses.sparse import SparsePosteriors, densify
from seqkd.stages import again

_ANY: Any = object()  # a field that is not compared


@dataclass(frozen=True)
class BookEntry:
    """The outputs of the teachers for one utterance under one augmentation seed.

    Attributes:
        utterance: its id.
        seed: of the augmentation.
        manifest: of the book.
        fields: as they are stored.
        where: the book's directory, for messages.
    """

    utterance: str
    seed: int
    manifest: Manifest
    fields: Fields
    where: Path

    def __len__(self) -> int:
        """T."""
        return len(self.fields.get("entropy", self.fields.get("log_probs")))

    def probs(self, temperature: float | None = None) -> Tensor:
        """(T, C) float32; arguments and errors are those of :meth:`log_probs`."""
        return self.log_probs(temperature).exp()

    def log_probs(self, temperature: float | None = None) -> Tensor:
        """(T, C) float32 log-probabilities; a tail is spread evenly over the classes that were not kept.

        Args:
            temperature: τ; None is the book's own, τ₀. From a dense book, p^(τ₀/τ) normalised, which for one teacher
                is softmax(z / τ).

        Raises:
            ConfigError: another temperature than the book's, of a form that was truncated; or one that is not above 0.
        """
        log_probs = self.manifest.form.dense(self.fields, self.manifest.classes)
        if temperature in (None, self.manifest.temperature):
            return log_probs
        check_temperature(self.manifest, temperature, f"the book {self.where}")
        return (log_probs * (self.manifest.temperature / temperature)).log_softmax(-1)

    def sparse(self) -> SparsePosteriors:
        """The kept classes (T, K), at the book's temperature, for losses that make nothing of size C."""
        return self.manifest.form.sparse(self.fields, self.manifest.classes)

    @property
    def uncertainty(self) -> Uncertainty | None:
        """(T,) each, float32; None if the book has none."""
        if not self.manifest.uncertainty:
            return None
        return Uncertainty(*(torch.from_numpy(self.fields[name]).float() for name in ("aleatoric", "epistemic")))


class Book:
    """A stored set of teacher outputs, read by utterance id and augmentation seed.

    Open it with :meth:`open`; it can be pickled. :meth:`collate` gives (B, T, C) log-probabilities.
    """

    def __init__(self, directory: Path, manifest: Manifest, segments: Sequence[BookSegment]) -> None:
        """Index the entries of ``segments``; DataError if two of them disagree on one."""
        self.directory, self.manifest, self.segments = directory, manifest, tuple(segments)
        self._where: dict[tuple[str, int], tuple[int, IndexEntry]] = {}
        for number, segment in enumerate(segments):
            check_belongs(segment, manifest, directory)
            for entry in segment.entries:
                there = self._where.setdefault((entry.id, entry.seed), (number, entry))
                if there[1].digest != entry.digest:
                    raise DataError(
                        f"utterance {entry.id!r} with seed {entry.seed} stands in {segments[there[0]].path} and in "
                        f"{segment.path}, and they differ; delete one of the two segments"
                    )
        self._readers: dict[int, SegmentReader] = {}

    @classmethod
    def open(cls, directory: Path | str) -> Book:
        """Read the manifest and the index of a book.

        Raises:
            DataError: there is no book, or its manifest or an index is damaged.
        """
        directory = Path(directory)
        manifest = read_manifest(directory)
        return cls(directory, manifest, [read_segment_index(path) for path in segment_files(directory)])

    def __getstate__(self) -> dict[str, Any]:
        """Without memory maps, which do not travel."""
        return {**self.__dict__, "_readers": {}}

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._where)

    def __contains__(self, entry: str | tuple[str, int]) -> bool:
        """Whether there is an entry for an utterance (seed 0), or an utterance and a seed."""
        return (entry if isinstance(entry, tuple) else (entry, 0)) in self._where

    @cached_property
    def utterances(self) -> tuple[str, ...]:
        """Ids, sorted."""
        return tuple(sorted({utterance for utterance, _ in self._where}))

    def entries(self) -> list[IndexEntry]:
        """The index, sorted by utterance and seed."""
        return [self._where[entry][1] for entry in sorted(self._where)]

    def read(self, utterance: str, seed: int = 0) -> BookEntry:
        """The entry of an utterance.

        Raises:
            DataError: there is none (the nearest id is named), or it is damaged.
        """
        if (utterance, seed) not in self._where:
            raise DataError(self._unknown(utterance, seed))
        number, entry = self._where[utterance, seed]
        if number not in self._readers:
            self._readers[number] = SegmentReader(self.segments[number])
        fields = self._readers[number].read(entry, self.manifest.form.per_entry)
        return BookEntry(utterance, seed, self.manifest, fields, self.directory)

    def collate(
        self, utterances: Sequence[str], seeds: Sequence[int] | int = 0, temperature: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Entries of a batch, padded.

        Args:
            utterances: B ids.
            seeds: one for all, or B.
            temperature: as in :meth:`BookEntry.log_probs`.

        Returns:
            (B, T, C) float32 log-probabilities, uniform where padded, and (B,) lengths.
        """
        return self.collate_whole(utterances, seeds, temperature)[:2]

    def collate_whole(
        self,
        utterances: Sequence[str],
        seeds: Sequence[int] | int = 0,
        temperature: float | None = None,
        tail: str = "spread",
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What :meth:`collate` gives, and (B, T) entropies of the whole posteriors, where a part of them was kept, else
        None; ``tail`` is as of :func:`seqkd.losses.sparse.densify`.
        """
        classes = self.manifest.classes
        if self.manifest.form.truncated:  # filled in one go: C may be thousands
            if temperature is not None:
                check_temperature(self.manifest, temperature, f"the book {self.directory}")
            kept, lengths = self.collate_sparse(utterances, seeds)
            padded = torch.arange(kept.tail.shape[1]) >= lengths[:, None]
            whole = replace(kept, tail=kept.tail.masked_fill(padded, 1.0)) if tail == "spread" else kept
            return densify(whole, classes, tail, log=True), lengths, kept.entropy
        found = [entry.log_probs(temperature) for entry in self._entries(utterances, seeds)]
        batch = torch.full((len(found), max(map(len, found)), classes), float(torch.tensor(1 / classes).log()))
        for row, entry in zip(batch, found, strict=True):
            row[: len(entry)] = entry
        return batch, torch.tensor([len(entry) for entry in found]), None

    def collate_sparse(
        self, utterances: Sequence[str], seeds: Sequence[int] | int = 0
    ) -> tuple[SparsePosteriors, Tensor]:
        """What was kept of the entries of a batch, padded: classes (B, T, K), -1 where padded; and (B,) lengths."""
        found = [entry.sparse() for entry in self._entries(utterances, seeds)]
        lengths = torch.tensor([len(entry.tail) for entry in found])
        shape = (len(found), int(lengths.max()), max(entry.classes.shape[1] for entry in found))
        batch = SparsePosteriors(torch.full(shape, -1), torch.zeros(shape), torch.zeros(shape[:2]))
        known = torch.zeros(shape[:2]) if found[0].entropy is not None else None
        for number, entry in enumerate(found):
            frames, kept = entry.classes.shape
            batch.classes[number, :frames, :kept], batch.probs[number, :frames, :kept] = entry.classes, entry.probs
            batch.tail[number, :frames] = entry.tail
            if known is not None:
                known[number, :frames] = entry.entropy
        return SparsePosteriors(batch.classes, batch.probs, batch.tail, known), lengths

    def require(
        self,
        *,
        units: str = _ANY,
        classes: int = _ANY,
        blank: int | None = _ANY,
        frame_shift_ms: float | None = _ANY,
        features: Any = _ANY,
        temperature: float = _ANY,
        teachers: Iterable[str] = _ANY,
        augmentation: Iterable[Transform] = _ANY,
        seeds: int = _ANY,
        uncertainty: bool = _ANY,
        rate_rule: str | None = _ANY,
        utterances: Iterable[str] = _ANY,
        contents: Mapping[str, str] = _ANY,
    ) -> Book:
        """Refuse a book that does not fit the student; what is left out is not compared. Returns the book.

        Args:
            units: hash of the student's tokenizer.
            classes: C of the student.
            blank: its blank class.
            frame_shift_ms: time between its frames.
            features: its input, a mapping or dataclass.
            temperature: τ of its distillation.
            teachers: hashes of the teachers it is to learn from.
            augmentation: what is done to its input; see :mod:`seqkd.knowledge.augmentation`.
            seeds: how many augmentation seeds it replays, at most those of the book.
            uncertainty: True if it needs the uncertainty fields.
            rate_rule: how teachers' frames are brought to its own, if the book states that.
            utterances: ids it trains on, for each of which there must be an entry of every seed.
            contents: hashes of what teachers are given of utterances, as in :func:`seqkd.knowledge.write_book`.

        Raises:
            ConfigError: a mismatch; the sentence names both sides.
            DataError: an utterance without an entry.
        """
        here = f"the book {self.directory}"
        wanted = {"units": units, "classes": classes, "blank": blank, "frame_shift_ms": frame_shift_ms}
        if isinstance(frame_shift_ms, (int, float)):
            wanted["frame_shift_ms"] = round(float(frame_shift_ms), 6)
        wanted["features"] = features if features is _ANY else plain(features)
        for name, theirs in wanted.items():
            mine = getattr(self.manifest, name)
            if name == "features" and mine is None:  # no matter
                continue
            if theirs is not _ANY and mine != theirs:
                raise ConfigError(mismatch(name, mine, theirs, here, "the student"))
        if temperature is not _ANY:
            check_temperature(self.manifest, temperature, here, whole=True)
        hashes = {teacher.hash for teacher in self.manifest.teachers}
        if teachers is not _ANY and hashes != set(teachers):
            theirs = " and ".join(sorted(set(teachers))) or "none"
            raise ConfigError(mismatch("teachers", self.manifest.teachers, theirs, here, "the student"))
        if augmentation is not _ANY:
            check_valid(self.manifest.augmentation, augmentation, here)
        if seeds is not _ANY and seeds > self.manifest.seeds:
            raise ConfigError(mismatch("seeds", self.manifest.seeds, seeds, here, "the student"))
        if uncertainty not in (_ANY, False) and not self.manifest.uncertainty:
            raise ConfigError(mismatch("uncertainty", False, True, here, "the student"))
        if rate_rule not in (_ANY, None) and self.manifest.rate_rule not in (None, rate_rule):
            raise ConfigError(mismatch("rate_rule", self.manifest.rate_rule, rate_rule, here, "the student"))
        if contents is not _ANY:
            check_contents(here, ((entry.id, entry.content) for _, entry in self._where.values()), contents)
        if utterances is not _ANY:
            self._require_entries(utterances)
        return self

    def _require_entries(self, utterances: Iterable[str]) -> None:
        entries = ((utterance, seed) for utterance in utterances for seed in range(self.manifest.seeds))
        missing = [entry for entry in entries if entry not in self._where]
        if missing:
            raise DataError(f"entries are missing ({len(missing)}): {self._unknown(*missing[0])}")

    def _entries(self, utterances: Sequence[str], seeds: Sequence[int] | int) -> list[BookEntry]:
        seeds = [seeds] * len(utterances) if isinstance(seeds, int) else seeds
        return [self.read(utterance, seed) for utterance, seed in zip(utterances, seeds, strict=True)]

    def _unknown(self, utterance: str, seed: int) -> str:
        from rapidfuzz.process import extractOne

        if any((utterance, other) in self._where for other in range(self.manifest.seeds)):
            return (
                f"the book {self.directory} has utterance {utterance!r}, but not with seed {seed}; "
                f"its seeds are 0 to {self.manifest.seeds - 1}; {again('book')}"
            )
        near = extractOne(utterance, self.utterances, score_cutoff=60)
        found = (
            f"; the nearest is {near[0]!r}" if near else f"; it has {quoted(self.utterances)}" if self._where else ""
        )
        return (
            f"the book {self.directory} has no utterance {utterance!r}{found}; with the data that is trained on "
            f"{again('book')}"
        )


def check_temperature(manifest: Manifest, temperature: float, where: str, *, whole: bool = False) -> None:
    """Raise ConfigError unless entries can be read at ``temperature``, which must be above 0.

    Args:
        manifest: of the book.
        temperature: τ.
        where: the book, for the message.
        whole: also refuse what is another distribution than the teachers would give at τ: the mean of several
            teachers, or a regularised posterior, does not commute with a temperature.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"{where} is wanted at temperature {temperature}; expected a finite number above 0")
    if temperature == manifest.temperature:
        return
    said = f"{where} was made at temperature {manifest.temperature:g} and the student wants {temperature:g}"
    if manifest.form.truncated:
        raise ConfigError(
            f"{said}; its form ({manifest.form.name}) does not keep the small probabilities that another temperature "
            f"brings out: make it at temperature {temperature:g}, or dense"
        )
    if whole and (len(manifest.teachers) > 1 or manifest.regularisation):
        what = f"{len(manifest.teachers)} teachers" if len(manifest.teachers) > 1 else "teacher and target"
        raise ConfigError(
            f"{said}; the average of {what} at one temperature is not that at another: make the book anew"
        )
