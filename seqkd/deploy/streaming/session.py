"""What ``seqkd transcribe --stream`` prints of a stream: partial results, and segments as they end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from seqkd.deploy.formats import clock, ctm_lines, recording, word_object
from seqkd.deploy.streaming.recogniser import StreamRecogniser, StreamResult
from seqkd.errors import DataError


def results(recogniser: StreamRecogniser, blocks: Iterable[np.ndarray], name: str) -> Iterator[StreamResult]:
    """Results of a stream of blocks (N,), as they come, and of what is left at its end or when Ctrl-C ends it.

    Raises DataError, beginning with ``name``, when the stream holds less than one window of the features.
    """
    samples = 0
    try:
        for block in blocks:
            samples += len(block)
            yield from recogniser.push(torch.from_numpy(np.ascontiguousarray(block, np.float32)))
    except KeyboardInterrupt:
        pass
    settings = recogniser.bundle.features
    if 1000 * samples < settings.frame_length_ms * settings.sample_rate:
        raise DataError(
            f"{name} lasts {1000 * samples / settings.sample_rate:g} ms, less than one frame of "
            f"{settings.frame_length_ms:g} ms; expected a recording of speech"
        )
    yield from recogniser.finish()


@dataclass
class Writer:
    """Turns results into what is printed.

    Attributes:
        kind: "text": a line a segment; "json": an object a result, partial ones too; "ctm" and "srt" as without
            ``--stream``.
        name: of the stream, in a ctm.
        terminal: whether lines can be written over, so that partial results show in text, too.
    """

    kind: str
    name: str
    terminal: bool = False
    _segments: int = 0
    _shown: int = 0

    def __call__(self, one: StreamResult) -> str:
        """What to print of a result, or nothing."""
        self._segments += one.final
        return getattr(self, f"_{self.kind}")(one)

    def _text(self, one: StreamResult) -> str:
        if not (one.final or self.terminal):
            return ""
        before = "\r" + " " * self._shown + "\r" if self._shown else ""
        self._shown = 0 if one.final else len(one.text)
        return before + one.text + "\n" * one.final

    def _json(self, one: StreamResult) -> str:
        entry: dict[str, object] = {
            "final": one.final,
            "start": round(one.start, 3),
            "end": round(one.end, 3),
            "text": one.text,
        }
        if one.final:
            entry["words"] = list(map(word_object, one.words))
        else:
            entry["stable"] = one.stable
        return json.dumps(entry, ensure_ascii=False) + "\n"

    def _ctm(self, one: StreamResult) -> str:
        return ctm_lines(recording(self.name), one.words)

    def _srt(self, one: StreamResult) -> str:
        if not one.final:
            return ""
        begin, end = one.words[0].start, one.words[-1].end
        return f"{self._segments}\n{clock(begin)} --> {clock(end)}\n{one.text}\n\n"
