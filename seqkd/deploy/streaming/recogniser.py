"""Samples to words while someone speaks: partial results, and a final one at every silence.

Letters: N samples, T feature frames, T' encoder frames, F feature bins, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seqkd.data.incremental import IncrementalFbank
from seqkd.decoding.greedy import greedy_decode
from seqkd.decoding.inputs import penalised
from seqkd.deploy.boundaries import Sound, widen
from seqkd.deploy.streaming.network import StreamBundle
from seqkd.deploy.words import Word, timed_words
from seqkd.settings import more_than

SILENCE = 0.8  # seconds that end a segment
LONGEST = 30.0  # seconds of a segment
FACTOR = 4  # feature frames of an encoder frame


@dataclass(frozen=True)
class StreamResult:
    """What a segment holds so far, or, where ``final``, altogether.

    Attributes:
        start: of the segment, in seconds of the stream.
        end: up to where the stream was looked at.
        text: the words so far.
        stable: the beginning of ``text`` that no later result of the segment takes back.
        words: with times and confidences; of final results only.
        final: whether the segment has ended.
    """

    start: float
    end: float
    text: str
    stable: str
    words: tuple[Word, ...] = ()
    final: bool = False


class StreamRecogniser:
    """Recognises a stream; memory does not grow with its length.

    The best path is never revised: each step adds to it, because the network sees no more than its chunk and its
    look-ahead. So words are stable but for the last one, whose later units may still be to come. A segment ends after
    ``silence`` seconds in which the network writes nothing and the sound is quiet (or twice as long where it is not),
    and after `LONGEST` seconds at the latest. The network's state goes on from segment to segment.

    Args:
        bundle: from `seqkd.deploy.streaming.network.open_stream`.
        silence: seconds.

    Raises:
        ConfigError: ``silence`` is not above 0.
    """

    def __init__(self, bundle: StreamBundle, *, silence: float = SILENCE) -> None:
        self.bundle, self.silence = bundle, more_than(0, silence=silence)
        self._fbank = IncrementalFbank(bundle.features)
        self._state = bundle.network.state()
        self._waiting = torch.zeros(0, bundle.features.num_mel_bins)  # features of which no chunk is full
        self._late = bundle.delay  # outputs that are of no frame
        self._begin = 0  # encoder frame with which the segment begins
        self._features = self._waiting  # (T, F) of the segment, and of what is ahead of its logits
        self._logits: Tensor | None = None  # (T', C) of the segment
        self._shown = ""

    @property
    def seconds(self) -> float:
        """Up to where there are outputs."""
        frames = self._begin + (0 if self._logits is None else len(self._logits))
        return frames * self.bundle.times.shift

    def push(self, samples: Tensor) -> list[StreamResult]:
        """Take the next samples (N,) in [-1, 1] at the model's rate; return what is new, maybe nothing."""
        self._take(self._fbank.push(samples))
        results: list[StreamResult] = []
        while len(self._waiting) >= FACTOR * self.bundle.chunk:
            results += self._step()
        return results

    def finish(self) -> list[StreamResult]:
        """Return what is left when no more samples come."""
        self._take(self._fbank.finish())
        frames = -(-len(self._waiting) // FACTOR) + self.bundle.delay  # outputs that are still to come
        results: list[StreamResult] = []
        while frames > 0:
            results += self._step(frames)
            frames -= self.bundle.chunk
        if self._logits is not None and len(self._logits):
            results += self._end(len(self._logits))
        return results

    def _take(self, features: Tensor) -> None:
        self._waiting = torch.cat([self._waiting, features])
        self._features = torch.cat([self._features, features])

    def _step(self, most: int | None = None) -> Iterator[StreamResult]:
        """Run the network on the next chunk, padded at the end of the stream, where ``most`` outputs are of a frame."""
        size = FACTOR * self.bundle.chunk
        features, self._waiting = self._waiting[:size], self._waiting[size:]
        padded = torch.nn.functional.pad(features, (0, 0, 0, size - len(features)))
        logits, self._state = self.bundle.network(padded[None], torch.tensor([len(features)]), self._state)
        logits = logits[0, :most]
        skipped = min(self._late, len(logits))
        self._late -= skipped
        logits = penalised(logits[skipped:], self.bundle.tokenizer.blank, self.bundle.blank_penalty)
        self._logits = logits if self._logits is None else torch.cat([self._logits, logits])
        yield from self._look()

    def _look(self) -> Iterator[StreamResult]:
        """Give a partial result, or end the segment."""
        logits, shift = self._logits, self.bundle.times.shift
        emitted = (logits.argmax(-1) != self.bundle.tokenizer.blank).nonzero().flatten()
        if not len(emitted):
            # Nothing was spoken: as much as a silence is kept, so that a word's beginning is not lost.
            self._drop(max(0, len(logits) - round(self.silence / shift)))
            return
        nothing = len(logits) - 1 - int(emitted[-1])  # frames since
        if nothing * shift >= self.silence and (nothing * shift >= 2 * self.silence or self._quiet()):
            yield from self._end(len(logits))
        elif len(logits) * shift >= LONGEST:
            blanks = (logits.argmax(-1) == self.bundle.tokenizer.blank).nonzero().flatten()
            blanks = blanks[blanks > len(logits) // 2]
            yield from self._end(int(blanks[-1]) + 1 if len(blanks) else len(logits))
        else:
            text = self._text(logits)
            if text != self._shown:
                self._shown = text
                yield StreamResult(self._begin * shift, self.seconds, text, self._stable(text))

    def _quiet(self) -> bool:
        """Whether the segment's sound ends with a silence."""
        sound = self._sound(len(self._logits))
        pauses = sound.pauses()
        length = len(sound.level) * sound.shift
        return bool(pauses) and pauses[-1][1] >= length - 1e-9 and length - pauses[-1][0] >= self.silence - 1e-9

    def _end(self, frames: int) -> Iterator[StreamResult]:
        """Give the final result of the segment's first frames; the others begin the next one."""
        logits, offset = self._logits[:frames], self._begin * self.bundle.times.shift
        (tokens,) = greedy_decode(logits[None], torch.tensor([frames]))
        words = timed_words(logits, tokens, self.bundle.tokenizer.decode, self.bundle.times)
        words = widen(words, self._sound(frames)) if words else []
        moved = tuple(replace(word, start=offset + word.start, end=offset + word.end) for word in words)
        self._drop(frames)
        self._shown = ""
        if moved:
            text = " ".join(word.text for word in moved)
            yield StreamResult(offset, self._begin * self.bundle.times.shift, text, text, moved, final=True)

    def _sound(self, frames: int) -> Sound:
        return Sound.of(self._features[: FACTOR * frames], self.bundle.features.frame_shift_ms / 1000)

    def _drop(self, frames: int) -> None:
        """Forget the segment's first frames."""
        self._begin += frames
        self._features, self._logits = self._features[FACTOR * frames :], self._logits[frames:]

    def _text(self, logits: Tensor) -> str:
        (tokens,) = greedy_decode(logits[None], torch.tensor([len(logits)]))
        return self.bundle.tokenizer.decode(tokens)

    def _stable(self, text: str) -> str:
        """All words but the last one, to which units may be added; that, too, where every unit is a word."""
        whole = all(unit.startswith("▁") for unit in self.bundle.tokenizer.units[2:])
        return text if whole else text.rpartition(" ")[0]
