"""A miniature in LibriSpeech's layout: FLAC files and transcripts of tones that stand for words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
TONES = {"DO": 300.0, "RE": 600.0, "MI": 1200.0, "DON'T": 2400.0}
PARTS = {"train-clean-100": 24, "dev-clean": 4, "dev-other": 4, "test-clean": 6, "test-other": 6}
_READERS = (19, 26, 103)


def make_part(root: Path, part: str, utterances: int, seed: int) -> Path:
    """Write ``root/part`` with so many utterances, of three readers with a chapter each."""
    rng = np.random.default_rng(seed)
    time = np.arange(RATE // 6) / RATE
    for index in range(utterances):
        reader, chapter = _READERS[index % 3] + 1000 * seed, 198 + index % 3
        words = [str(word) for word in rng.choice(list(TONES), size=rng.integers(2, 5))]
        pieces = [np.concatenate([0.3 * np.sin(2 * np.pi * TONES[w] * time), np.zeros(RATE // 12)]) for w in words]
        samples = np.concatenate([np.zeros(RATE // 10), *pieces])
        folder = root / part / str(reader) / str(chapter)
        folder.mkdir(parents=True, exist_ok=True)
        key = f"{reader}-{chapter}-{index // 3:04d}"
        noise = 0.01 * rng.standard_normal(len(samples))
        soundfile.write(folder / f"{key}.flac", samples + noise, RATE, subtype="PCM_16")
        with (folder / f"{reader}-{chapter}.trans.txt").open("a", encoding="utf-8") as file:
            file.write(f"{key} {' '.join(words)}\n")
    return root / part


def make_libri(root: Path, **parts: int) -> Path:
    """Write the parts of ``PARTS``, with other numbers of utterances where ``parts`` (with ``_``) say so."""
    for seed, (part, utterances) in enumerate(PARTS.items(), start=1):
        make_part(root, part, parts.get(part.replace("-", "_"), utterances), seed)
    (root / "SPEAKERS.TXT").write_text("; not read\n", encoding="utf-8")
    return root
