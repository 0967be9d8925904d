"""What importing recorded corpora shares: headers of many audio files, and data directories written only if changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from seqkd.data.kaldi import Utterance, read_data_dir, write_data_dir
from seqkd.data.whole import torn
from seqkd.errors import DataError


@dataclass(frozen=True)
class Header:
    """What an audio file says of itself: length in seconds, samples a second, channels."""

    seconds: float
    sample_rate: int
    channels: int


def read_headers(files: Sequence[Path], nj: int, label: str, advice: str) -> dict[Path, Header]:
    """Read the headers of audio files, with a progress bar.

    Args:
        files: In any format that soundfile reads: WAV, FLAC, Ogg, MP3, ...
        nj: Files opened at the same time.
        label: For the progress bar.
        advice: What to do about a file that cannot be read, for the message.

    Raises:
        DataError: The first file that is not audio or has no samples, and how many more there are.
    """
    import soundfile

    from seqkd.progress import ProgressBar

    def read(file: Path) -> Header | str:
        try:
            found = soundfile.info(file)
        except (soundfile.SoundFileError, OSError) as error:
            reason = str(error).partition(": ")[2] or str(error)
            return f"{file} cannot be read as audio ({reason.rstrip('.')}); {advice}."
        if not found.frames:
            return f"{file} has no samples; {advice}."
        if fault := torn(file):
            return f"{file} {fault}; {advice}."
        return Header(found.duration, found.samplerate, found.channels)

    with ThreadPoolExecutor(max(nj, 1)) as pool:
        try:
            bar = ProgressBar(pool.map(read, files), desc=label, total=len(files), unit="file")
            outcomes = dict(zip(files, bar, strict=True))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    faults = [outcome for outcome in outcomes.values() if isinstance(outcome, str)]
    if faults:
        raise DataError(faults[0] + (f" ({len(faults)} files have faults in all.)" if len(faults) > 1 else ""))
    return outcomes


def update_data_dir(directory: Path, utterances: Iterable[Utterance]) -> bool:
    """Write a data directory unless it holds these very utterances; its features go with it. Returns whether it did."""

    def rows(given: Iterable[Utterance]) -> list[tuple]:
        return sorted((u.id, u.audio.resolve(), u.speaker, u.text, u.start, u.end) for u in given)

    utterances = list(utterances)
    try:
        if rows(read_data_dir(directory)) == rows(utterances):
            return False
    except DataError:  # there is none yet, or a broken one
        pass
    write_data_dir(directory, utterances)
    return True
