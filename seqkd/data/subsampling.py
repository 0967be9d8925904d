"""How many frames an encoder gives for an utterance, which data, models and teachers must agree on."""

from __future__ import annotations


def subsampled_length(frames: int) -> int:
    """Encoder frames for ``frames`` feature frames (4x subsampling, rounded up twice)."""
    return ((frames + 1) // 2 + 1) // 2
