"""Recordings to words with times and confidences, by an exported model: ``seqkd transcribe``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from seqkd.data.features import fbank
from seqkd.decoding.greedy import greedy_decode
from seqkd.decoding.inputs import penalised
from seqkd.decoding.prefix_beam import prefix_beam_search
from seqkd.deploy.audio import Piece, read_pieces
from seqkd.deploy.boundaries import Sound, widen
from seqkd.deploy.bundle import Bundle
from seqkd.deploy.words import Word, timed_words
from seqkd.errors import DataError


@dataclass(frozen=True)
class Transcript:
    """The transcript of recording ``file``, which lasts ``seconds``."""

    file: str
    seconds: float
    words: list[Word]

    @property
    def text(self) -> str:
        """The words in a line."""
        return " ".join(word.text for word in self.words)


def transcribe(
    bundle: Bundle,
    audio: Path,
    *,
    beam: int = 1,
    progress: Callable[[float], object] | None = None,
    channel: int | None = None,
) -> Transcript:
    """Recognise a recording piece by piece; memory does not grow with its length.

    Args:
        bundle: from `seqkd.deploy.bundle.open_bundle`.
        audio: a file of any rate and number of channels; see `seqkd.deploy.audio.read_pieces`.
        beam: 1 is greedy search; more, prefix beam search with that many prefixes.
        progress: called with the seconds that were read since the last call.
        channel: which channel to take, from 1, rather than their average.

    Raises:
        DataError: the file cannot be read, or is shorter than one window of the features.
    """
    words: list[Word] = []
    samples = 0
    for piece in read_pieces(audio, bundle.features.sample_rate, progress, channel):
        words += recognise(bundle, piece, beam)
        samples += len(piece.samples)
    seconds = samples / bundle.features.sample_rate
    if 1000 * seconds < bundle.features.frame_length_ms:
        raise DataError(
            f"{audio} lasts {1000 * seconds:g} ms, less than one frame of {bundle.features.frame_length_ms:g} ms; "
            "expected a recording of speech"
        )
    return Transcript(str(audio), seconds, words)


def recognise(bundle: Bundle, piece: Piece, beam: int = 1) -> list[Word]:
    """Words of one piece, with times of the recording; none if it is shorter than one window of the features."""
    settings = bundle.features
    if 1000 * len(piece.samples) < settings.frame_length_ms * settings.sample_rate:
        return []
    features = fbank(torch.from_numpy(piece.samples), settings)  # (T, F)
    output = bundle.network(features[None], torch.tensor([len(features)]))
    logits = penalised(output.logits, bundle.tokenizer.blank, bundle.blank_penalty)  # (1, T', C)
    if beam == 1:
        (tokens,) = greedy_decode(logits, output.lengths)
    else:
        (hypotheses,) = prefix_beam_search(logits, output.lengths, beam_size=beam)
        tokens = hypotheses[0].tokens
    logits = logits[0, : int(output.lengths)]
    words = timed_words(logits, tokens, bundle.tokenizer.decode, bundle.times)
    return [
        replace(word, start=piece.start + word.start, end=piece.start + word.end)
        for word in widen(words, Sound.of(features, settings.frame_shift_ms / 1000))
    ]
