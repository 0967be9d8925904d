"""Posteriors of made-up teachers, and small books of them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from seqkd.knowledge import Book, BookWriter, Dense, Manifest, Sampled, TeacherId, TopK

CLASSES = 6
FORMS = {"dense": Dense(), "top-k": TopK(3), "sampled": Sampled(50)}
FEATURES = {"sample_rate": 16000, "num_mel_bins": 80}


def manifest(**changes: object) -> Manifest:
    """A manifest of one CTC teacher."""
    settings = {
        "teachers": (TeacherId("large", "aa11"),),
        "units": "tok1",
        "classes": CLASSES,
        "blank": 0,
        "frame_shift_ms": 40.0,
        "features": FEATURES,
    }
    return Manifest(**settings | changes)


def posteriors(count: int = 10, seed: int = 0, classes: int = CLASSES, scale: float = 3.0) -> dict[str, Tensor]:
    """utt000 ... to (T, C) log-probabilities, T from 3 to 12."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 13, (count,), generator=generator).tolist()
    return {
        f"utt{number:03d}": (scale * torch.randn(length, classes, generator=generator)).log_softmax(-1)
        for number, length in enumerate(lengths)
    }


def write(directory: Path, entries: dict[str, Tensor], segment_bytes: int = 150, **changes: object) -> Book:
    """Write a book of several small segments."""
    with BookWriter(directory, manifest(**changes), segment_bytes=segment_bytes) as writer:
        for utterance, seed in writer.todo(entries):
            writer.add(utterance, entries[utterance], seed=seed)
    return Book.open(directory)
