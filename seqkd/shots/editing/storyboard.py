"""The storyboard: one HTML file with the song's waveform, sections, beats and shots, playing the song beside it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from seqkd.errors import DataError
from seqkd.shots.editing.export_text import as_data, relative
from seqkd.shots.editing.timeline import Timeline

TEMPLATE = Path(__file__).with_name("storyboard.html")
PEAKS = 4000  # of the waveform, at most: as many as a screen has columns, whatever the song's length
_BLOCK = 1 << 16  # samples a channel that are in memory at once


def to_html(drafts: Sequence[Timeline], waveform: Sequence[int], folder: Path) -> str:
    """The page.

    Args:
        drafts: Of one song.
        waveform: As by `peaks`.
        folder: Where the page will be, from which it finds the song.
    """
    data = as_data(drafts, folder)
    data["start_frame"] = drafts[0].start
    data["peaks"] = list(waveform)
    # "./" keeps a name with a colon from being read as an address.
    data["source"] = "./" + quote(os.fsencode(relative(drafts[0].audio, folder)))
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Within a script element only these could end it, or begin a comment.
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", text)


def peaks(audio: Path, duration: float, count: int = PEAKS) -> list[int]:
    """Greatest magnitudes, 0 to 255 relative to the loudest, of equal parts of a song; read in blocks.

    Args:
        audio: The song.
        duration: Its seconds, which the header of an MP3 file only estimates.
        count: How many parts, at most; of a short song there is one for each 20 ms.

    Raises:
        DataError: The file cannot be read.
    """
    import soundfile

    try:
        with soundfile.SoundFile(audio) as file:
            total = max(1, round(duration * file.samplerate))
            count = max(1, min(count, math.ceil(duration * 50), total))
            found = np.zeros(count, np.float32)
            edges = -(-np.arange(count) * total // count)  # the first sample of each part
            position = 0
            for block in file.blocks(_BLOCK, dtype="float32", always_2d=True):
                first = int(np.searchsorted(edges, position, side="right")) - 1  # the part that is going on
                last = int(np.searchsorted(edges, position + len(block), side="left"))
                starts = np.maximum(edges[first:last] - position, 0)
                high = np.maximum.reduceat(block, starts).max(axis=1)
                low = np.minimum.reduceat(block, starts).min(axis=1)
                found[first:last] = np.maximum(found[first:last], np.maximum(high, -low))
                position += len(block)
    except (OSError, soundfile.SoundFileError) as error:
        raise DataError(f"{audio} cannot be read as audio ({error}); expected wav, flac, ogg or mp3.") from error
    return np.rint(found / max(float(found.max()), 1e-9) * 255).astype(int).tolist()
