"""BookKd trusts a book that holds a part of each posterior as it trusts the teacher that the book was made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqkd.knowledge import TopK
from seqkd.losses import BookKd, Labels, Objective, Outputs
from tests.knowledge.books import write

CLASSES, FRAMES = 40, 6
LENGTHS = torch.tensor([FRAMES, FRAMES - 2])


def drawn(seed: int, passes: int = 1, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(passes, len(LENGTHS), FRAMES, CLASSES, generator=generator)


def from_book(folder: Path, teacher: torch.Tensor, temperature: float, kept: int) -> Outputs:
    """What a book of the teacher's ``kept`` greatest classes gives."""
    posteriors = (teacher[0] / temperature).log_softmax(-1)
    entries = {f"utt{n}": row[:length] for n, (row, length) in enumerate(zip(posteriors, LENGTHS, strict=True))}
    book = write(folder, entries, classes=CLASSES, form=TopK(kept), temperature=temperature)
    log_probs, lengths, entropy = book.collate_whole(list(entries))
    return Outputs(temperature * log_probs[None], lengths, entropy=entropy[None], entropy_temperature=temperature)


def weight_of(term: BookKd, teacher: Outputs, labels: Labels) -> float:
    """The mean w that the term notes."""
    student = Outputs(drawn(2, 2), LENGTHS)
    return float(Objective(kd=term)(student, {"teacher": teacher}, labels).notes["kd.weight"])


@pytest.mark.parametrize("regularisation", [0.0, 0.1])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_weight_is_that_of_the_live_teacher(tmp_path: Path, regularisation: float, temperature: float) -> None:
    logits = drawn(1, scale=1.5)
    term = BookKd(temperature=temperature, regularisation=regularisation)
    targets = logits[0].argmax(-1).masked_fill(torch.arange(FRAMES) == 1, -100)  # a kept class, and a position without
    labels, live = Labels(targets, LENGTHS), Outputs(logits, LENGTHS)
    stored = from_book(tmp_path / "book", logits, temperature, 8)
    wanted = weight_of(term, live, labels)
    assert weight_of(term, stored, labels) == pytest.approx(wanted, abs=1e-3)
    spread = Outputs(stored.logits, stored.lengths)  # the tail spread evenly is less sure than the teacher is
    assert weight_of(term, spread, labels) < 0.9 * wanted


def test_entropy_at_another_temperature_is_another(tmp_path: Path) -> None:
    logits = drawn(1, scale=1.5)
    stored = from_book(tmp_path / "book", logits, 1.0, CLASSES)
    labels = Labels(logits[0].argmax(-1), LENGTHS)
    for temperature in (1.0, 3.0):
        term = BookKd(temperature=temperature)
        wanted = weight_of(term, Outputs(logits, LENGTHS), labels)
        assert weight_of(term, stored, labels) == pytest.approx(wanted, abs=1e-3)


def test_it_travels_with_the_outputs() -> None:
    outputs = Outputs(drawn(1), LENGTHS, teachers=3, entropy=torch.ones(1, 2, FRAMES), entropy_temperature=2.0)
    copy = outputs.detached()
    assert copy.entropy.equal(outputs.entropy) and (copy.entropy_temperature, copy.teachers) == (2.0, 3)
