"""Whether an audio file is all there: the bytes that its header promises against those that it has.

libsndfile clips the length of a WAV, AIFF, AU, W64 or NIST file to what is there, and takes an Ogg or MP3 file to end
where its bytes do, so that half a file looks like a short one. What decoding finds by itself (FLAC, CAF) is left to it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_STREAMED = 0x7FFFF000  # sizes from here on stand where a program did not know how long a stream would become
_END = 1 << 17  # bytes from the end among which the last page of an Ogg file begins: it has at most 65,307
_MP3_SLACK = 0.01  # of the bytes that an MP3 file's Xing header states: editors of tags are not exact


def torn(path: Path) -> str | None:
    """Say how a file breaks off, as a predicate ("breaks off: ..."); None if it does not, or that cannot be told.

    Only headers are read, of an MP3 file those of all frames. A file that cannot be opened gives None: who reads it
    says why.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(12)
            check = _check_of(start)
            found = check(file, size) if check else None
    except (OSError, struct.error):  # no file, or a header that is itself cut: decoding says so
        return None
    if found is None:
        return None
    promised, there = found
    return f"breaks off: its header promises {promised:,} bytes of sound, and {there:,} are there"


def _check_of(start: bytes) -> Callable[[BinaryIO, int], tuple[int, int] | None] | None:
    """Return what checks a file that begins so: (bytes promised, bytes there) if it breaks off, else None."""
    if start[:4] in (b"RIFF", b"RIFX", b"RF64") and start[8:] == b"WAVE":
        return _wave
    if start[:4] == b"riff":
        return _w64
    if start[:4] == b"FORM":
        return _form
    if start[:4] in (b".snd", b"dns."):
        return _au
    if start[:7] == b"NIST_1A":
        return _nist
    if start[:4] == b"OggS":
        return _ogg
    if start[:3] == b"ID3" or _frame_bytes(start[:4]):
        return _mp3
    return None


def _short(promised: int, there: int) -> tuple[int, int] | None:
    return (promised, max(there, 0)) if promised > there else None


def _wave(file: BinaryIO, size: int) -> tuple[int, int] | None:
    file.seek(0)
    kind = file.read(12)[:4]
    order, large = (">" if kind == b"RIFX" else "<"), None
    position = 12
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        if name == b"ds64":
            _, large = struct.unpack("<QQ", file.read(16))
        if name == b"data":
            if large is not None and length == 0xFFFFFFFF:
                length = large
            elif length >= _STREAMED and length > size - position:
                return None
            return _short(length, size - position - 8)
        position += 8 + length + length % 2
    return None


def _w64(file: BinaryIO, size: int) -> tuple[int, int] | None:
    position = 40
    while position + 24 <= size:
        file.seek(position)
        name, length = struct.unpack("<16sQ", file.read(24))  # the length counts these 24 bytes
        if name[:4] == b"data":
            return _short(length - 24, size - position - 24)
        if length < 24:
            return None
        position += (length + 7) // 8 * 8
    return None


def _form(file: BinaryIO, size: int) -> tuple[int, int] | None:
    position = 12
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(">4sI", file.read(8))
        if name in (b"SSND", b"BODY"):
            return None if length >= _STREAMED else _short(length, size - position - 8)
        position += 8 + length + length % 2
    return None


def _au(file: BinaryIO, size: int) -> tuple[int, int] | None:
    file.seek(0)
    order = ">" if file.read(4) == b".snd" else "<"
    offset, length = struct.unpack(f"{order}II", file.read(8))
    return None if length >= _STREAMED else _short(length, size - offset)


def _nist(file: BinaryIO, size: int) -> tuple[int, int] | None:
    file.seek(8)
    offset = int(file.read(8))
    file.seek(0)
    header = file.read(min(offset, 1 << 16))
    counts = {
        name: int(value) for name, value in re.findall(rb"^(sample_\w+|channel_count) -i (\d+)", header, re.MULTILINE)
    }
    if b"shorten" in header or not {b"sample_count", b"sample_n_bytes"} <= counts.keys():
        return None
    promised = counts[b"sample_count"] * counts[b"sample_n_bytes"] * counts.get(b"channel_count", 1)
    return _short(promised, size - offset)


def _ogg(file: BinaryIO, size: int) -> tuple[int, int] | None:
    """Hold the last page against its own length. A missing mark of the end alone is no fault: recorders omit it."""
    begin = max(0, size - _END)
    file.seek(begin)
    tail = file.read()
    last = tail.rfind(b"OggS")
    while last > 0 and tail[last + 4 : last + 5] != b"\0":  # by chance within a packet
        last = tail.rfind(b"OggS", 0, last)
    if last < 0:
        return None
    header = tail[last : last + 27]
    table = tail[last + 27 : last + 27 + (header[26] if len(header) == 27 else 0)]
    if len(header) < 27 or len(table) < header[26]:
        return size + 1, size
    promised = begin + last + 27 + len(table) + sum(table)
    return _short(promised, size)


_BIT_RATES = {  # kbit/s by index from 1, of MPEG-1 (True) or 2 and 2.5, layer
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def _frame_bytes(header: bytes) -> int:
    """Return the bytes of an MPEG audio frame with this header of four bytes; 0 if it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate, frequency, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or rate in (0, 15) or frequency == 3:
        return 0
    first = version == 3
    bits = 1000 * _BIT_RATES[first, layer if first or layer == 1 else 2][rate - 1]
    hertz = (44100, 48000, 32000)[frequency] // {3: 1, 2: 2, 0: 4}[version]
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (144 if first or layer == 2 else 72) * bits // hertz + padding


def _mp3(file: BinaryIO, size: int) -> tuple[int, int] | None:
    """Follow the frames to the end, and look for the size that the first one, if it is a Xing header, states."""
    file.seek(0)
    start = file.read(10)
    position = 0
    if start[:3] == b"ID3":
        high, second, third, low = start[6:10]
        position = 10 + (high << 21 | second << 14 | third << 7 | low) + (10 if start[5] & 0x10 else 0)
    file.seek(position)
    content = file.read()
    at, begun = 0, False
    while length := _frame_bytes(content[at : at + 4]):
        if not begun:
            begun = True
            stated = _xing_bytes(content[at : at + length])
            if stated and len(content) < (1 - _MP3_SLACK) * stated:
                return stated, len(content)
        if at + length > len(content):
            return position + at + length, size
        at += length
    return None


def _xing_bytes(frame: bytes) -> int:
    """Return the bytes of a whole MP3 file by its first frame; 0 if that does not state them."""
    found = re.search(rb"Xing|Info", frame[:64])
    if not found or len(frame) < found.end() + 12:
        return 0
    flags, first, second = struct.unpack(">III", frame[found.end() : found.end() + 12])
    return (second if flags & 1 else first) if flags & 2 else 0
