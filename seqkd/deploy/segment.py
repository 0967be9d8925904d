"""A long recording and its text, an audiobook or a meeting, to utterances: ``seqkd prepare segment``.

As in CTC segmentation (Kürzinger et al. 2020, arXiv:2007.09127), the text is aligned to the outputs of a CTC model, and
how well each part fits says whether it was spoken. So that memory and time grow with the length alone and not with its
square, what the model recognises is first aligned to the text, word by word; between places where both agree, the text
is forced onto the frames. A class that stands for anything (the star of Pratap et al. 2024) lies between utterances, so
that what nobody wrote down, a jingle or a remark, is part of none.

Letters: T frames of the model, C classes, S units.
"""

from __future__ import annotations

import itertools
import re
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch

from seqkd.data.features import fbank
from seqkd.decoding.greedy import greedy_decode
from seqkd.deploy.audio import read_pieces
from seqkd.deploy.bundle import Bundle
from seqkd.deploy.words import Word, timed_words, unit_spans
from seqkd.errors import DataError
from seqkd.scoring.align import align, number_words
from seqkd.scoring.words import INSERTION, MATCH, SUBSTITUTION

WORDS = 25  # of an utterance, at most
SCORE = -1.5  # below which a part does not fit: a word of five letters that is not there costs some -1.7
_UNKNOWN = 1
_STAR = -0.5  # log-probability of anything: less than a blank's in silence, more than that of units that do not fit
_RUN = 5  # words in a row that agree before they are relied on
_WINDOW = 30  # frames over which the fit of a part is averaged; its worst counts
_PAD = 0.2  # seconds around the units: CTC's spikes lie within them
_CELLS = 150_000_000  # of an alignment's table, a byte each


@dataclass(frozen=True)
class Part:
    """An utterance: its text, where it lies in seconds, and how well it fits.

    ``score`` is the mean log-probability of a frame on the alignment, over the worst third of a second or so; None
    where the text was not found at all.
    """

    text: str
    start: float
    end: float
    score: float | None


@dataclass(frozen=True)
class Frames:
    """What a model gives for a recording: ``log_probs`` (T, C) on disk, when each frame begins, and the words."""

    log_probs: np.ndarray
    starts: np.ndarray
    words: list[Word]
    seconds: float


def utterances_of(text: str, longest: int = WORDS) -> list[str]:
    """Cut a text: at ends of lines; what has too many words at ends of sentences, then at commas, then anywhere."""
    parts = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    for ends in (r"(?<=[.!?…。！？])\s+", r"(?<=[;:])\s+", r"(?<=,)\s+"):
        parts = [
            piece
            for part in parts
            for piece in (_joined(re.split(ends, part), longest) if _long(part, longest) else [part])
        ]
    cut = []
    for part in parts:
        words = part.split()
        count = -(-len(words) // longest)
        edges = [len(words) * n // count for n in range(count + 1)]
        cut += [" ".join(words[a:b]) for a, b in itertools.pairwise(edges)]
    return cut


def _long(part: str, longest: int) -> bool:
    return len(part.split()) > longest


def _joined(pieces: Sequence[str], longest: int) -> list[str]:
    """Pieces, neighbours joined while they are short enough together."""
    joined: list[str] = []
    for piece in pieces:
        if joined and len(joined[-1].split()) + len(piece.split()) <= longest:
            joined[-1] += f" {piece}"
        else:
            joined.append(piece)
    return joined


def segment(
    bundle: Bundle, audio: Path, texts: Sequence[str], *, progress: Callable[[float], object] | None = None
) -> list[Part]:
    """Find every text in a recording that has them in this order. Memory: some 20 MB an hour, and the model's.

    Args:
        bundle: an exported recogniser; the better it is, the more is found.
        audio: the recording, of any length, rate and number of channels.
        texts: utterances, spelled as the model spells; characters that it has no units for are passed over.
        progress: called with the seconds that were read since the last call.

    Returns:
        A part for each text, in order.

    Raises:
        DataError: the recording is damaged, or no text has a unit of the model.
    """
    units = [[unit for unit in bundle.tokenizer.encode(text, unknown=True) if unit != _UNKNOWN] for text in texts]
    if not any(units):
        raise DataError(
            f"No character of the text has a unit of the model ({texts[0][:40]!r}); is one in upper case and the "
            "other in lower case? See --normalize"
        )
    with tempfile.TemporaryFile() as store:
        frames = log_probs_of(bundle, audio, store, progress)
        parts: list[Part] = []
        for first, last, begin, end in blocks(texts, frames):
            parts += _place(frames, texts[first:last], units[first:last], begin, end)
        return _padded(parts, frames.seconds)


def log_probs_of(
    bundle: Bundle, audio: Path, store: IO[bytes], progress: Callable[[float], object] | None = None
) -> Frames:
    """Run the model over a recording, piece by piece; its outputs go to ``store``, 16 bits a number."""
    settings = bundle.features
    starts: list[np.ndarray] = []
    words: list[Word] = []
    classes, samples = len(bundle.tokenizer), 0
    for piece in read_pieces(audio, settings.sample_rate, progress):
        samples += len(piece.samples)
        if 1000 * len(piece.samples) < settings.frame_length_ms * settings.sample_rate:
            continue
        features = fbank(torch.from_numpy(piece.samples), settings)  # (T, F)
        output = bundle.network(features[None], torch.tensor([len(features)]))
        logits = output.logits[0, : int(output.lengths)]
        store.write(logits.log_softmax(-1).half().numpy().tobytes())
        starts.append(piece.start + np.array([bundle.times.start(frame) for frame in range(len(logits))]))
        (tokens,) = greedy_decode(logits[None], output.lengths, blank_penalty=bundle.blank_penalty)
        for word in timed_words(logits, tokens, bundle.tokenizer.decode, bundle.times):
            words.append(Word(word.text, piece.start + word.start, piece.start + word.end, word.confidence))
    store.flush()
    if not starts:
        raise DataError(f"{audio} is shorter than a frame; expected a recording of speech")
    when = np.concatenate(starts)
    log_probs = np.memmap(store, np.float16, "r", shape=(len(when), classes))
    return Frames(log_probs, when, words, samples / settings.sample_rate)


def blocks(texts: Sequence[str], frames: Frames) -> list[tuple[int, int, int, int]]:
    """Cut texts and frames at the same places: (first text, the one after the last, first frame, one after the last).

    A cut is between two texts of which the model has recognised the last and the first words, in a run of words that
    all agree; so a block is short where the model is good, and all of it is one block where it recognises nothing.
    """
    said = [text.split() for text in texts]
    flat = [word for words in said for word in words]
    recognised = [word.text for word in frames.words]
    edges, total = [0], len(frames.starts)
    cuts = [0]
    if recognised and flat:
        (reference, hypothesis), _ = number_words([[" ".join(flat)], [" ".join(recognised)]])
        ops = align(reference, hypothesis)[0]
        partner = _partners(ops)
        place = 0
        for index, words in enumerate(said[:-1], start=1):
            place += len(words)
            left, right = partner.get(place - 1), partner.get(place)
            if left is None or right is None or right != left + 1:
                continue
            middle = (frames.words[left].end + frames.words[right].start) / 2
            frame = int(np.searchsorted(frames.starts, middle))
            if frame > cuts[-1]:
                edges.append(index)
                cuts.append(frame)
    edges.append(len(texts))
    cuts.append(total)
    return [
        (*texts_, *frames_) for texts_, frames_ in zip(itertools.pairwise(edges), itertools.pairwise(cuts), strict=True)
    ]


def _partners(ops: np.ndarray) -> dict[int, int]:
    """Recognised words by the words of the text that they are, where several in a row agree."""
    partners: dict[int, int] = {}
    i = j = 0
    run: list[tuple[int, int]] = []
    for op in [*ops.tolist(), -1]:
        if op == MATCH:
            run.append((i, j))
            i, j = i + 1, j + 1
            continue
        if len(run) >= _RUN:
            partners |= dict(run)
        run = []
        if op == INSERTION:
            j += 1
        elif op != -1:  # a substitution, or a deletion
            j += op == SUBSTITUTION
            i += 1
    return partners


def _place(frames: Frames, texts: Sequence[str], units: Sequence[Sequence[int]], begin: int, end: int) -> list[Part]:
    """Force texts onto the frames from ``begin`` to ``end``, with room for anything between them."""
    nowhere = [Part(text, 0.0, 0.0, None) for text in texts]
    there = [index for index, one in enumerate(units) if one]
    star = frames.log_probs.shape[1]
    targets = [star]
    for index in there:
        targets += [*units[index], star]
    repeats = sum(a == b for a, b in itertools.pairwise(targets))
    length = end - begin
    if not there or length < len(targets) + repeats or length * (2 * len(targets) + 1) > _CELLS:
        return nowhere
    log_probs = torch.from_numpy(np.asarray(frames.log_probs[begin:end], np.float32))
    log_probs = torch.cat([log_probs, torch.full((length, 1), _STAR)], 1)
    from torchaudio.functional import forced_align

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchaudio announces that it may move this function
        path, scores = forced_align(log_probs[None], torch.tensor([targets], dtype=torch.int32), blank=0)
    spans = unit_spans(path[0])
    parts, position = list(nowhere), 1
    for index in there:
        first = spans[position][0]
        last = spans[position + len(units[index]) - 1][1]
        position += len(units[index]) + 1
        fit = _worst(scores[0, first:last].numpy())
        stop = begin + last
        until = frames.starts[stop] if stop < len(frames.starts) else frames.seconds
        parts[index] = Part(texts[index], float(frames.starts[begin + first]), float(until), fit)
    return parts


def _worst(scores: np.ndarray) -> float:
    """The least mean of ``_WINDOW`` frames in a row."""
    if len(scores) <= _WINDOW:
        return float(scores.mean())
    sums = np.concatenate([[0.0], np.cumsum(scores, dtype=np.float64)])
    return float(((sums[_WINDOW:] - sums[:-_WINDOW]) / _WINDOW).min())


def _padded(parts: Sequence[Part], seconds: float) -> list[Part]:
    """Parts with some room around them, but never more than half of what lies between two."""
    found = [index for index, part in enumerate(parts) if part.score is not None]
    padded = list(parts)
    for number, index in enumerate(found):
        part = parts[index]
        before = parts[found[number - 1]].end if number else 0.0
        after = parts[found[number + 1]].start if number + 1 < len(found) else seconds
        start = part.start - min(_PAD, max(0.0, part.start - before) / (2 if number else 1))
        end = part.end + min(_PAD, max(0.0, after - part.end) / (2 if number + 1 < len(found) else 1))
        padded[index] = Part(part.text, max(0.0, start), min(seconds, end), part.score)
    return padded
