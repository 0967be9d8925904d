"""A corpus that needs no synthesiser: each word is a tone, so that tiny models learn it in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from seqkd.data.kaldi import Utterance, write_data_dir

TONES = {"do": 300.0, "re": 600.0, "mi": 1200.0, "fa": 2400.0}
RATE = 8000


def make_tone_set(data: Path, name: str, utterances: int, seed: int, *, transcripts: bool = True) -> None:
    """Write ``data/name`` with ``utterances`` utterances of 2 to 4 tones of 0.2 s each."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(utterances):
        words = [str(w) for w in rng.choice(list(TONES), size=rng.integers(2, 5))]
        gap = np.zeros(RATE // 10)
        time = np.arange(RATE // 5) / RATE
        pieces = [np.concatenate([0.3 * np.sin(2 * np.pi * TONES[w] * time), gap]) for w in words]
        samples = np.concatenate([gap, *pieces]) + 0.01 * rng.standard_normal(len(gap) + sum(map(len, pieces)))
        utterance = f"s{index % 3}-{name}{index:03d}"
        path = data / "audio" / f"{utterance}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, RATE, subtype="PCM_16")
        made.append(Utterance(utterance, path, f"s{index % 3}", " ".join(words) if transcripts else None))
    write_data_dir(data / name, made)
